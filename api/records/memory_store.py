"""The truth that memory records share: three dicts, the refusals of the database, versions and doorbells.

Everything here is one synchronous step, so nothing can come between a condition and its write; what
happens between steps is the business of `memory.py`. Models are frozen, hence never copied on a look.
"""

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from api.records import (
    AlreadyExists,
    Bell,
    Bind,
    Conflict,
    Event,
    Installation,
    Invalid,
    Lease,
    NotFound,
    Outcome,
    Thing,
    bound_status,
    marked,
)
from api.records.memory_bells import Door, at_once, bell_of
from api.records.memory_tables import (
    Change,
    Tables,
    counted,
    found,
    may_become,
    obeys_its_kind,
    offerable,
    promisable,
    serves,
)
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimRef,
    ClaimStatus,
    InstancePhase,
    Key,
    key_of,
    pool_key,
)

EVENTS_MAX = 1_000
EVENT_WINDOW = timedelta(minutes=10)
ABANDONED = timedelta(minutes=1)  # Between an intent and its count lies one round trip.

Pause = Callable[[str], Awaitable[None]]


async def no_pause(op: str) -> None:
    """Let the others run, as a round trip to a store would."""
    await asyncio.sleep(0)


@dataclass(slots=True)
class Noted:
    """An event, how often it was told, and when last."""

    event: Event
    last: datetime
    count: int = 1


# ---------------------------------------------------------------- the store


class MemoryStore:
    """What is true, shared by all `MemoryRecords` of one simulated installation.

    Three seams for storms and tests, each an attribute to be replaced:
    `pause(op)` is awaited before and after each step of a client, and may raise or cancel there;
    `arrivals(bell)` says in how many seconds each copy of a bell arrives: () loses it, (0, 0) doubles it;
    `sever()` breaks every listener's connection.
    """

    def __init__(self, clock: Callable[[], datetime], rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.pause: Pause = no_pause
        self.arrivals: Callable[[Bell], Sequence[float]] = at_once
        self.tables = Tables()
        self.log: list[Change] = []  # Entry n is the write that made version n + 1.
        self.leases: dict[str, Lease] = {}
        self.renewed: dict[str, datetime] = {}  # When each of them was last written.
        self.events: deque[Noted] = deque(maxlen=EVENTS_MAX)
        self.doors: list[Door] = []
        self.installation = Installation(f"{rng.getrandbits(64):016x}", rng.randbytes(32))

    # ---- bells
    def ring(self, bell: Bell) -> None:
        for door in self.doors:
            for after_s in self.arrivals(bell):
                if after_s:
                    loop = asyncio.get_running_loop()
                    loop.call_later(after_s, door.ring, bell, len(self.log))
                else:
                    door.ring(bell, len(self.log))

    def sever(self) -> None:
        for door in self.doors:
            door.sever()

    # ---- every write ends here
    def _put(self, thing: Thing, *, rings: bool = True) -> Thing:
        version = {"resource_version": str(len(self.log) + 1)}
        thing = thing.model_copy(update={"metadata": thing.metadata.model_copy(update=version)})
        self._record(Change(thing.kind, key_of(thing), thing))
        if rings:
            self.ring(bell_of(thing, deleted=False))
        return thing

    def _record(self, change: Change) -> None:
        self.log.append(change)
        self.tables.apply(change)

    def _put_spec(self, thing: Thing, changes: dict[str, Any], *, rings: bool = True) -> Thing:
        """A change of the spec moves the generation."""
        generation = {"generation": thing.metadata.generation + 1}
        meta = thing.metadata.model_copy(update=generation)
        return self._put(thing.model_copy(update={"metadata": meta, **changes}), rings=rings)

    def as_read(self, now: Thing, read: Thing) -> bool:
        """The compare of every compare-and-set: the same record at the same version."""
        mine, yours = now.metadata, read.metadata
        return mine.uid == yours.uid and mine.resource_version == yours.resource_version

    # ---- a backup
    def backup(self) -> Tables:
        """The records as they stand; what is written later does not change it."""
        kept = Tables()
        for kind, table in self.tables.by_kind.items():
            kept.by_kind[kind].update(table)
        return kept

    def restore(self, kept: Tables) -> None:
        """All records as they were. Versions go on; whoever led must win its lease again."""
        for kind, now in self.tables.by_kind.items():
            then = kept.by_kind[kind]
            for key in sorted({*now, *then}):
                if key not in then:
                    self._record(Change(kind, key, None))
                elif then[key] is not now.get(key):
                    self._put(then[key], rings=False)
        for name, lease in self.leases.items():
            self.leases[name] = replace(lease, holder="", version=lease.version + 1)
        self.sever()

    # ---- what users write
    def create(self, thing: Thing, *, ordered: bool) -> Thing:
        """Raises AlreadyExists, Invalid. `ordered`: with a `seq`, as rows have."""
        obeys_its_kind(thing)
        key = key_of(thing)
        if key in self.tables.by_kind[thing.kind]:
            raise AlreadyExists(f"{thing.kind} {key} exists")
        made = {
            "uid": str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
            "generation": 1,
            "creation_timestamp": self.clock(),
            "seq": len(self.log) + 1 if ordered else 0,
        }
        meta = thing.metadata.model_copy(update=made)
        return self._put(
            thing.model_copy(update={"metadata": meta, "status": type(thing.status)()})
        )

    def replace_pool(self, pool: AgentPool) -> AgentPool:
        """Raises Conflict, NotFound, Invalid."""
        now = self._same_pool(pool)
        obeys_its_kind(pool)
        if pool.spec.railway != now.spec.railway:
            raise Invalid("spec.railway: is immutable; make another pool")
        mine, yours = now.metadata, pool.metadata
        notes = {"labels": yours.labels, "annotations": yours.annotations}
        changed = now.model_copy(update={"metadata": mine.model_copy(update=notes)})
        if pool.spec != now.spec:
            return self._put_spec(changed, {"spec": pool.spec})
        return now if changed == now else self._put(changed)

    def write_pool_status(self, pool: AgentPool) -> AgentPool:
        """Raises Conflict, NotFound. It rings nothing: a pool rings for what its user changed."""
        now = self._same_pool(pool)
        if pool.status == now.status:
            return now
        return self._put(now.model_copy(update={"status": pool.status}), rings=False)

    def _same_pool(self, pool: AgentPool) -> AgentPool:
        now = self._still(pool)
        if not self.as_read(now, pool):
            raise Conflict(f"AgentPool {key_of(pool)} has changed")
        return now

    def _still(self, thing: Thing) -> Thing:
        """The record of this key and uid as it is now. Raises NotFound."""
        now: Thing = found(self.tables.by_kind[thing.kind], key_of(thing))
        if now.metadata.uid != thing.metadata.uid:
            raise NotFound(f"{thing.kind} {key_of(thing)} is another one now")
        return now

    def delete(self, thing: Thing, *, unchanged: bool) -> None:
        """By uid, and only at the version read where `unchanged`. Raises NotFound, Conflict."""
        now = self._still(thing)
        if unchanged and not self.as_read(now, thing):
            raise Conflict(f"{thing.kind} {key_of(thing)} has changed")
        self._record(Change(thing.kind, key_of(thing), None))
        self.ring(bell_of(now, deleted=True))

    # ---- what the controller writes
    def settle(self, outcome: Outcome) -> AgentClaim | None:
        """The claim's side of an outcome; None where its condition does not hold or a rule refuses."""
        now = self.tables.claims.get(key_of(outcome.read))
        if now is None or not self.unsettled(now, outcome.read):
            return None
        if outcome.status == now.status:
            return now
        if now.ended:
            return None
        return self._put(now.model_copy(update={"status": outcome.status}))

    def unsettled(self, now: AgentClaim, read: AgentClaim) -> bool:
        """Whether uid, phase, instance and attempt are still as in `read`."""
        mine, yours = now.status, read.status
        return (
            now.metadata.uid == read.metadata.uid
            and mine.phase is yours.phase
            and mine.instance == yours.instance
            and mine.attempt == yours.attempt
        )

    def named_by_another(self, claim: AgentClaim, status: ClaimStatus) -> bool:
        """Whether the instance of `status` is named by another claim: the rows' unique constraint."""
        if status.instance is None or status.instance == claim.status.instance:
            return False
        return any(
            c.metadata.uid != claim.metadata.uid
            and c.metadata.namespace == claim.metadata.namespace
            and c.status.instance is not None
            and c.status.instance.name == status.instance.name
            for c in self.tables.claims.values()
        )

    def mark(self, outcome: Outcome) -> None:
        """The instance's side of an outcome: only of one that serves the claim."""
        named = outcome.read.status.instance
        if outcome.mark is None or named is None:
            return
        now = self.tables.instances.get(Key(outcome.read.metadata.namespace, named.name))
        if now is None or not serves(now, outcome.read):
            return
        new = marked(now, outcome.mark, self.clock())
        if new.status != now.status:
            self._put(new)

    def bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        """Both sides in one step, which rings nobody: who makes a promise knows."""
        claim = self.tables.claims.get(key_of(bind.claim))
        instance = self.tables.instances.get(key_of(bind.instance))
        if claim is None or claim.metadata.uid != bind.claim.metadata.uid or instance is None:
            return None
        if instance.metadata.uid != bind.instance.metadata.uid:
            return None
        if not (promisable(claim, instance) and offerable(instance)):
            return None
        status = bound_status(claim, instance, attempt)
        if self.named_by_another(claim, status):
            return None
        claim = self._put(claim.model_copy(update={"status": status}), rings=False)
        shown = instance.status.model_copy(update={"phase": InstancePhase.CLAIMED})
        return Bind(claim, self._reserve(instance, claim, {"status": shown}, rings=False))

    def promise(self, bind: Bind, attempt: Attempt) -> AgentClaim | None:
        """The claim's side alone, over the version read."""
        now = self.tables.claims.get(key_of(bind.claim))
        if now is None or not self.as_read(now, bind.claim):
            return None
        status = bound_status(now, bind.instance, attempt)
        return self._put(now.model_copy(update={"status": status}))

    def reserve(self, bind: Bind) -> AgentInstance | None:
        """The instance's side alone, over the version read."""
        now = self.tables.instances.get(key_of(bind.instance))
        if now is None or not self.as_read(now, bind.instance) or not offerable(now):
            return None
        return self._reserve(now, bind.claim, {}, rings=True)

    def _reserve(
        self, instance: AgentInstance, claim: AgentClaim, shown: dict[str, Any], *, rings: bool
    ) -> AgentInstance:
        ref = ClaimRef(
            name=claim.metadata.name,
            uid=claim.metadata.uid,
            reclaim_policy=claim.spec.reclaim_policy,
        )
        spec = instance.spec.model_copy(update={"claim_ref": ref})
        return self._put_spec(instance, {"spec": spec, **shown}, rings=rings)

    def as_it_stands(self, bind: Bind) -> Bind | None:
        """The promise as both sides have it now; None where they do not agree."""
        claim = self.tables.claims.get(key_of(bind.claim))
        instance = self.tables.instances.get(key_of(bind.instance))
        if claim is None or instance is None or claim.metadata.uid != bind.claim.metadata.uid:
            return None
        agreed = serves(instance, claim) and promisable(claim, instance)
        return Bind(claim, instance) if agreed else None

    def room(self, pool: AgentPool, orphans: int) -> int:
        """How many more instances the live pool may have; less than 0 where it was deleted."""
        live = self.tables.pools.get(key_of(pool))
        if live is None or live.metadata.uid != pool.metadata.uid:
            return -1
        living = sum(
            pool_key(i) == key_of(pool) and i.status.phase is not InstancePhase.GONE
            for i in self.tables.instances.values()
        )
        return live.spec.max_total - living - orphans

    def count(self, intent: AgentInstance) -> AgentInstance | None:
        """It fits: from now on it is an instance like any other."""
        now = self.tables.instances.get(key_of(intent))
        if now is None or not self.as_read(now, intent):
            return None
        meta = now.metadata.model_copy(update={"annotations": {}})
        return self._put(now.model_copy(update={"metadata": meta}))

    def abandoned(self, pool: Key) -> list[AgentInstance]:
        """Intents of this pool that nobody counted: whoever wrote them died in between."""
        return [
            i
            for i in self.tables.instances.values()
            if pool_key(i) == pool
            and not counted(i)
            and self.clock() - (i.metadata.creation_timestamp or self.clock()) > ABANDONED
        ]

    def write_instance(self, changed: AgentInstance) -> AgentInstance | None:
        """Its status over the version read; None where it has changed, or may not become that."""
        now = self.tables.instances.get(key_of(changed))
        if now is None or not self.as_read(now, changed):
            return None
        made_of = {"template_hash": changed.spec.template_hash, "key_id": changed.spec.key_id}
        spec = now.spec.model_copy(update=made_of)
        if changed.status == now.status and spec == now.spec:
            return now
        being_made = now.status.phase is InstancePhase.PROVISIONING
        if not may_become(now.status.phase, changed.status.phase) or not (
            being_made or spec == now.spec
        ):
            return None
        if spec != now.spec:
            return self._put_spec(now, {"spec": spec, "status": changed.status})
        return self._put(now.model_copy(update={"status": changed.status}))

    def delete_instance(self, instance: AgentInstance) -> None:
        """Raises Conflict, NotFound, Invalid."""
        if self._still(instance).status.phase is not InstancePhase.GONE:
            raise Invalid("status.phase: only an instance that is Gone may be deleted")
        self.delete(instance, unchanged=True)

    def note(self, events: Sequence[Event]) -> None:
        now = self.clock()
        for event in events:
            fresh = (n for n in self.events if n.event == event and now - n.last < EVENT_WINDOW)
            noted = next(fresh, None)
            if noted is None:
                self.events.append(Noted(event, now))
            else:
                noted.count += 1
                noted.last = now

    # ---- who may act
    def lease(self, name: str) -> Lease:
        return self.leases.get(name, Lease(name))

    def write_lease(self, read: Lease, holder: str) -> Lease:
        """Raises Conflict."""
        if self.lease(read.name) != read:
            raise Conflict(f"lease {read.name} has changed")
        self.renewed[read.name] = self.clock()
        new = self.leases[read.name] = replace(read, holder=holder, version=read.version + 1)
        return new
