"""What `up` needs of a store: the steps of its start, where it is, and what a person is told of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from api.settings import StoreSettings

Step = tuple[str, Callable[[], Awaitable[str]]]  # Its name, and what does it and says how it went.


class LocalStore(Protocol):
    """One store, started by its steps; the rest holds once they are done."""

    def steps(self) -> Sequence[Step]: ...

    def reached(self) -> StoreSettings:
        """For `up` itself, and for the commands of whoever owns the state folder."""
        ...

    def environ(self, part: str) -> Mapping[str, str]:
        """What that part is told of the store."""
        ...

    def lines(self) -> str:
        """Further lines to paste; each ends with a newline."""
        ...
