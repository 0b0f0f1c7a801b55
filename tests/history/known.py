"""What the laws are told of a history, and the small records that `Facts` keeps of it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.history.events import ClaimSeen, Event, InstanceSeen, Seen


class Changed(NamedTuple):
    """A record as it was and as it is; None where there is none."""

    actor: str
    name: str
    before: Seen | None
    after: Seen | None


class Agreed(NamedTuple):
    """Both sides of a bind are on record, by each of which the other is meant, for the first time."""

    actor: str
    name: str
    claim: ClaimSeen
    instance_name: str
    instance: InstanceSeen


Known = Changed | Agreed | Event


@dataclass(slots=True)
class ServiceSeen:
    """A service, by the name it was made with. `heard`: wishes of claims, in order."""

    name: str
    actor: str
    pool: str | None
    alive: bool = True
    heard: list[str] = field(default_factory=list)
    conversation: str | None = None  # What its agent serves; None where it may have forgotten.
    waiting: str | None = None  # The wish that it waits for a group's admin with.
    # Two of its calls overlapped for longer than anybody respects an attempt, or a backup forgot one.
    blurred: bool = False
    # Patched by a process that led no longer: it was stopped between its look at the clock and that request.
    overtaken: bool = False


@dataclass(slots=True)
class End:
    """A claim that became Ready, until it was released."""

    name: str
    wish: str
    instance: str
    conversation: str | None
    released_at: float | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """A claim that was promised an agent, by which attempt; `pool` and `made_at` are the claim's."""

    at: float
    name: str
    pool: str
    made_at: float
    attempt: str | None


@dataclass(slots=True)
class Wait:
    """A claim in its pool's queue. `since`: when it came to wait (again)."""

    pool: str
    made_at: float
    since: float
    until: float  # Its deadline: after it nobody is bound to it.


class Timeline:
    """Values, each from when on it held."""

    def __init__(self) -> None:
        self._changes: list[tuple[float, Any]] = []

    def add(self, at: float, value: Any) -> None:
        self._changes.append((at, value))

    def since(self, at: float) -> list[Any]:
        """All that held at some time from then until now."""
        later = [value for when, value in self._changes if when >= at]
        before = [value for when, value in self._changes if when < at]
        return before[-1:] + later
