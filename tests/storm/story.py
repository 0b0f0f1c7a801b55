"""The history of one storm: its lines, its digest, and what of it concerns one claim."""

from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import NamedTuple

LINES_TOLD = 60


class Line(NamedTuple):
    """`names`: the records it speaks of."""

    at: float
    actor: str
    names: tuple[str, ...]
    text: str


class History:
    """Grows by `say`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lines: list[Line] = []

    def say(self, actor: str, names: Sequence[str], text: str) -> None:
        self.lines.append(Line(self._now(), actor, tuple(names), text))

    @property
    def digest(self) -> str:
        """The same for the same history, byte for byte."""
        told = "\n".join(f"{at:.6f} {actor} {text}" for at, actor, _, text in self.lines)
        return sha256(told.encode()).hexdigest()

    def story(self, names: Collection[str]) -> str:
        """The last lines about these and what they had to do with; about everything, without names."""
        near = set(names).union(
            *(line.names for line in self.lines if set(line.names) & set(names))
        )
        told = [
            line for line in self.lines if not names or near & set(line.names) or not line.names
        ]
        return "\n".join(
            f"{at:9.3f}  {actor:24} {text}" for at, actor, _, text in told[-LINES_TOLD:]
        )
