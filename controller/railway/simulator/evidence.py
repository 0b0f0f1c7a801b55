"""Where it is written down what the world went through and what agents heard, before anybody is answered."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from controller.railway.simulator.holdings import Change, Holdings
from controller.railway.simulator.state import iso

HEARD_SHOWN = 10_000  # Lines that `GET /_world` shows; the file has all.


class Evidence(Protocol):
    """A place to write to; its files in the state folder, or lists for a storm."""

    heard: deque[Mapping[str, Any]]

    def write(self, change: Change, lines: Sequence[Mapping[str, Any]]) -> None: ...

    def hear(self, line: Mapping[str, Any]) -> None: ...


class Memory:
    """Evidence as plain lists, for one process."""

    def __init__(self) -> None:
        self.journal: list[Mapping[str, Any]] = []
        self.heard: deque[Mapping[str, Any]] = deque()

    def write(self, change: Change, lines: Sequence[Mapping[str, Any]]) -> None:
        self.journal.extend(lines)

    def hear(self, line: Mapping[str, Any]) -> None:
        self.heard.append(line)


class Writer:
    """Takes what changed in a world and writes it down, as one entry."""

    def __init__(self, world: Holdings, evidence: Evidence) -> None:
        self.world, self.evidence = world, evidence

    def commit(self, request: str = "", op: str = "", **more: Any) -> None:
        """`op`: the GraphQL operation (then a line for the request itself comes first), or who acted."""
        change = self.world.take()
        who = {"at": iso(self.world.now), "op": op, "request": request}
        lines = [{**who, "effect": "request", **more}] if request else []
        lines += [{**who, **effect} for effect in change.effects]
        if lines or change.put or change.drop:
            self.evidence.write(change, lines)
