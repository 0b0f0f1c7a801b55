"""Sees what the outside sees of a storm, in order: it writes the history that the laws are held against."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from api.conditions import condition, is_true
from api.records.memory_tables import Change, counted
from api.types import AgentClaim, AgentInstance, AgentPool, Kind, OnEmpty
from controller.railway.simulator import holdings
from tests.history.events import (
    ClaimSeen,
    Did,
    Event,
    Happened,
    Heard,
    InstanceSeen,
    Line,
    PoolSeen,
    Replied,
    Requested,
    Said,
    Seen,
    Told,
    Wrote,
    wish_of,
)
from tests.storm.processes import ACTOR

NAMES = {"AgentPool": "pool", "AgentClaim": "claim", "AgentInstance": "instance"}
wish = lru_cache(1000)(wish_of)


class Witness:
    """`lines` is the history so far. It stands where the simulator puts its evidence."""

    heard: deque[Mapping[str, Any]]  # As the simulator's port for evidence wants it.

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.heard = deque()
        self.lines: list[Line] = []
        self.copies: dict[str, str] = {}  # Services that bear the mark of a pool by hand: its name.
        self._seen: dict[tuple[str, str], Seen | None] = {}

    def say(self, event: Event) -> None:
        self.lines.append(Line(self._now(), event))

    def happened(self, what: str, *names: str, actor: str = "") -> None:
        self.say(Happened(actor or ACTOR.get(), what, names))

    def told(self, instructions: str, url: str, over: bool) -> None:
        """A process sends instructions, or is done with that."""
        self.say(Told(ACTOR.get(), wish(instructions), url, over))

    def replied(self, instructions: str, url: str, heard: str) -> None:
        """A process has an agent's answer, or knows that none came."""
        self.say(Replied(ACTOR.get(), wish(instructions), url, heard))

    def requested(self, what: str, target: str, outcome: str) -> None:
        """A process's request to Railway, or what it learnt of it."""
        self.say(Requested(ACTOR.get(), what, target, outcome))

    def said(self, actor: str, text: str) -> None:
        """Something that leaves the product as text."""
        self.say(Said(actor, text))

    def wrote(self, change: Change) -> None:
        """A record as it stands after a write, where that can be seen from outside."""
        after = None if change.thing is None else seen_of(change.thing)
        slot = (change.kind, change.key.name)
        if self._seen.get(slot) != after:
            self._seen[slot] = after
            self.say(Wrote(ACTOR.get(), NAMES[change.kind], change.key.name, after))

    def hear(self, line: Mapping[str, Any]) -> None:
        """The simulator's evidence: a call to an agent."""
        name = line["instanceId"] or "?"
        told, code = line["instructionsSha256"], line["answered"]
        self.say(Heard("agent", line["service"], name, told, code, line["conversationId"]))

    def write(self, _: holdings.Change, lines: Sequence[Mapping[str, Any]]) -> None:
        """The simulator's evidence: what Railway did."""
        for line in lines:
            if (service := line.get("service")) is not None:
                actor = line.get("by") or ACTOR.get()
                pool = self.copies.get(line["name"])
                effect = "push" if line.get("trigger") == "push" else line["effect"]
                self.say(Did(actor, effect, service, line["name"], pool))

    @property
    def digest(self) -> str:
        """The same for the same history, byte for byte."""
        told = sha256()
        for line in self.lines:
            told.update(repr(line).encode())
        return told.hexdigest()


class WitnessedLog(list[Change]):
    """A store's log whose every entry is seen by a witness, with whose doing it was."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def append(self, change: Change) -> None:
        super().append(change)
        self._witness.wrote(change)


def seen_of(thing: Kind) -> Seen:
    """A record, reduced to what the laws need."""
    if isinstance(thing, AgentPool):
        return _pool(thing)
    return _claim(thing) if isinstance(thing, AgentClaim) else _instance(thing)


def _pool(pool: AgentPool) -> PoolSeen:
    spec, status = pool.spec, pool.status
    return PoolSeen(
        generation=pool.metadata.generation,
        observed=status.observed_generation,
        min_idle=spec.min_idle,
        max_total=spec.max_total,
        policy=str(spec.reclaim_policy),
        paused=spec.paused,
        claim_timeout_s=spec.claim_timeout.total_seconds(),
        total=status.total,
        stalled=is_true(status.conditions, "Stalled"),
        full=is_true(status.conditions, "AtCapacity"),
    )


def _claim(claim: AgentClaim) -> ClaimSeen:
    spec, status = claim.spec, claim.status
    ready, bound = condition(status.conditions, "Ready"), condition(status.conditions, "Bound")
    return ClaimSeen(
        uid=claim.metadata.uid,
        pool=spec.pool_ref.name,
        wish=wish(spec.instructions),
        timeout_s=spec.timeout.total_seconds() if spec.timeout else None,
        phase=str(status.phase),
        instance=status.instance.name if status.instance else None,
        attempt=f"{status.attempt.by} {status.attempt.at}" if status.attempt else None,
        conversation=status.conversation_id,
        joined=bool(status.joined),
        reason=ready.reason if ready else "",
        left=bound.reason if bound and bound.status == "False" else "",
        waits=spec.on_empty is OnEmpty.WAIT,
    )


def _instance(instance: AgentInstance) -> InstanceSeen:
    spec, status, ref = instance.spec, instance.status, instance.spec.claim_ref
    return InstanceSeen(
        uid=instance.metadata.uid,
        pool=spec.pool_ref.name,
        service_name=spec.service_name,
        service=status.service_id,
        url=status.url,
        phase=str(status.phase),
        claim=ref.name if ref else None,
        claim_uid=ref.uid if ref else None,
        claim_policy=str(ref.reclaim_policy) if ref else None,
        barred=status.barred,
        counted=counted(instance),
    )
