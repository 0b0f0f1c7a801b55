"""Holds a history against the laws, line by line, and counts how often each was put to the test."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.history.events import Line
from tests.history.facts import Facts
from tests.history.laws import SAFETY, Law
from tests.history.rest import REST
from tests.history.rules import RULES

LAWS = (*SAFETY, *RULES, *REST)


class Checker:
    """`see(line)` raises Broken at the first line after which a law does not hold."""

    def __init__(self, facts: Facts, laws: Sequence[Law] = LAWS) -> None:
        self.facts, self._laws = facts, laws
        self.met: Counter[str] = Counter()

    def see(self, line: Line) -> None:
        for event in self.facts.learn(line):
            for law in self._laws:
                if times := law(self.facts, event):
                    self.met[law.__name__] += times


def judge(lines: Iterable[Line], handover_s: float) -> Checker:
    """The whole history. Raises Broken."""
    checker = Checker(Facts(handover_s))
    for line in lines:
        checker.see(line)
    return checker
