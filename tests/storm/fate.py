"""Every misfortune and every visit of a storm, numbered: some may be muted, so that a storm can be shrunk."""

from dataclasses import dataclass
from itertools import groupby
from typing import Self

NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Mute:
    """What does not happen: these numbers, and all from `beyond` on. As text: `3,7-9,40-`."""

    numbers: frozenset[int] = frozenset()
    beyond: int = NEVER

    def hides(self, number: int) -> bool:
        return number >= self.beyond or number in self.numbers

    def __str__(self) -> str:
        ranked = enumerate(sorted(n for n in self.numbers if n < self.beyond))
        runs = [[n for _, n in run] for _, run in groupby(ranked, lambda pair: pair[1] - pair[0])]
        parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
        return ",".join([*parts, f"{self.beyond}-"] if self.beyond < NEVER else parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        numbers: set[int] = set()
        beyond = NEVER
        for part in filter(None, text.split(",")):
            first, dash, last = part.partition("-")
            if dash and not last:
                beyond = min(beyond, int(first))
            else:
                numbers.update(range(int(first), int(last or first) + 1))
        return cls(frozenset(numbers), beyond)


class Fate:
    """`befalls(what)` whenever the dice want something to happen. False: it is muted, and does not."""

    def __init__(self, mute: Mute) -> None:
        self._mute = mute
        self.count = 0  # Of all that the dice wanted.
        self.happened: list[tuple[int, str]] = []

    def befalls(self, what: str) -> bool:
        self.count += 1
        if self._mute.hides(self.count):
            return False
        self.happened.append((self.count, what))
        return True
