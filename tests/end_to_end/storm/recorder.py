"""Writes the history of a storm from what is seen outside: records, files, and what clients were told."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.end_to_end.storm.stage import Stage, Write
from tests.history.events import (
    Answered,
    Asked,
    Did,
    Event,
    Happened,
    Heard,
    Line,
    Said,
    Seen,
    Wrote,
    write,
)
from tests.history.laws import CANARIES

EVIDENCE_STEP_S = 0.001  # The simulator writes its times down to the millisecond, cut off.
KILLED_WITHIN_S = 0.5  # From our note of a kill until it has happened.
AT_WORK_S = 5.0  # An agent is at work for 0.15 s at most, and as long as it is stopped in between.


class Recorder:
    """`lines` is what the storm's own people and processes went through so far."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.counts: Counter[str] = Counter()
        self.released: set[str] = set()  # Claims that their clients gave back at a sidecar.

    def say(self, event: Event) -> float:
        """Down it goes, now; when that was."""
        at = time.time()
        self.lines.append(Line(at, event))
        return at

    def happened(self, actor: str, what: str, *names: str) -> None:
        self.counts[f"{what} {actor}"] += 1
        self.say(Happened(actor, what, names))

    def asked(self, actor: str, key: str, wish: str) -> float:
        self.counts["asked"] += 1
        return self.say(Asked(actor, key, wish))

    def releases(self, actor: str, claim: str) -> None:
        self.counts["releases"] += 1
        self.released.add(claim)
        self.say(Happened(actor, "releases", (claim,)))

    def answered(self, answer: Answered) -> None:
        self.counts[f"answered {answer.status}"] += 1
        self.say(answer)

    def total(self, what: str) -> dict[str, int]:
        """How often that happened, by whom."""
        found = {
            k.removeprefix(f"{what} "): n for k, n in self.counts.items() if k.startswith(what)
        }
        return dict(sorted(found.items()))

    def _deaths(self, actor: str) -> list[float]:
        dies = (line.at for line in self.lines if line.event[:2] == (actor, "dies"))
        return list(dies)

    async def keep(self, stage: Stage, path: Path) -> int:
        """Everything, in the order of time, into that file; how many lines."""
        calls = list(heard(stage.lines("heard.jsonl")))
        lines = [
            *written(await stage.writes(), self.released),
            *did(stage.lines("journal.jsonl")),
            *calls,
            *cut_off(calls, self._deaths("simulator")),
            *said(await texts(stage)),
            *self.lines,
        ]
        lines.sort(key=lambda line: line.at)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            write(lines, file)
        return len(lines)


def written(writes: Iterable[Write], released: Collection[str]) -> Iterator[Line]:
    """Writes after which something looks different to the laws."""
    seen: dict[tuple[str, str], Seen | None] = {}
    for at, who, kind, name, after in writes:
        if seen.get((kind, name)) != after:
            seen[kind, name] = after
            if after is None and name in released:
                who = "release"  # The sidecar's hand, and not its own will.
            yield Line(at, Wrote(who, kind, name, after))


def did(journal: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """What Railway did to services, and at whose request."""
    for line in journal:
        if "effect" in line and "service" in line:
            actor = line.get("by") or ("controller" if line["request"] else line["op"])
            yield Line(
                moment(line["at"]), Did(actor, line["effect"], line["service"], line["name"])
            )


def heard(lines: Iterable[dict[str, Any]]) -> Iterator[Line]:
    for line in lines:
        event = Heard(
            "agent",
            line["service"],
            line["instanceId"] or "?",
            line["instructionsSha256"],
            line["answered"],
            line["conversationId"],
            moment(line["reached"]),
        )
        yield Line(moment(line["at"]), event)


def cut_off(calls: Iterable[Line], deaths: Iterable[float]) -> Iterator[Line]:
    """The calls that agents were at work on when the simulator was killed: they ended there, undone."""
    at_work: dict[tuple[str, str | None], Line] = {}
    left: list[Line] = []
    for line in calls:
        assert isinstance(line.event, Heard)
        slot = line.event.service, line.event.wish
        if slot in at_work and line.event.code is None:
            left.append(at_work[slot])
        if line.event.code is None:
            at_work[slot] = line
        else:
            at_work.pop(slot, None)
    died = sorted(deaths)
    for line in (*left, *at_work.values()):
        assert isinstance(line.event, Heard)
        ends = [at for at in died if line.at - KILLED_WITHIN_S <= at <= line.at + AT_WORK_S]
        if ends and line.event.wish is not None:
            yield Line(max(line.at, ends[0]) + EVIDENCE_STEP_S, line.event._replace(code=0))


async def texts(stage: Stage) -> dict[str, str]:
    """What the product said to anybody who may read along: its logs and its events."""
    found = {path.name: path.read_text(errors="replace") for path in stage.logs.glob("*.log*")}
    return {**found, "events": await stage.events()}


def said(found: dict[str, str]) -> Iterator[Line]:
    """One line for each, with what is secret in it; the rest is too much to keep."""
    now = time.time()
    for name, text in found.items():
        yield Line(now, Said(name, " ".join(c for c in CANARIES if c in text)))


def moment(text: str) -> float:
    """The middle of that millisecond: what led to it, and what came of it, took longer than half of one."""
    return datetime.fromisoformat(text).timestamp() + EVIDENCE_STEP_S / 2
