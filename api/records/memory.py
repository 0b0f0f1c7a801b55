"""Records in memory: one process's client of a `MemoryStore`, in the shape of rows or of Kubernetes.

The storms run on it, so it is as strict as the stores it stands in for, and held to the same tests.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from enum import Enum
from functools import partial
from typing import TypeVar

from api.records import (
    AlreadyExists,
    Bell,
    Bind,
    Bindable,
    Conflict,
    Event,
    Fate,
    Installation,
    Invalid,
    KindName,
    Lease,
    NotFound,
    Outcome,
    RecordsError,
    View,
)
from api.records.memory_bells import Door
from api.records.memory_store import MemoryStore, Pause
from api.records.memory_tables import (
    UNCOUNTED,
    Change,
    Tables,
    counted,
    found,
    offerable,
    promisable,
)
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    Key,
    key_of,
    oldest_first,
)

Result = TypeVar("Result")

LAG_MAX = 8  # Writes of others that a look may miss: a few round trips of a busy watch.


class Shape(Enum):
    """How writes reach the store.

    ONE: as rows. A bind, a settled claim with its mark, and an intent are one step each; looks are live.
    TWO: as Kubernetes. Each record is a write of its own, and looks come from a cache that lags.
    """

    ONE = 1
    TWO = 2


class _Cache:
    """What one client has seen: the store's log up to some entry, for each kind its own, as each kind has a
    watch of its own; and its own writes at once."""

    def __init__(self, log: list[Change]) -> None:
        self.tables = Tables()
        self._log = log
        self._seen: dict[KindName, int] = dict.fromkeys(self.tables.by_kind, 0)
        self._own: dict[tuple[str, Key], int] = {}  # Own writes past what was seen, by version.

    def catch_up(self, version: Callable[[], int]) -> None:
        """See each kind up to a version; an own write that is newer stays."""
        until = {kind: max(seen, version()) for kind, seen in self._seen.items()}
        since = min(self._seen.values())
        for number, change in enumerate(self._log[since : max(until.values())], since + 1):
            if self._seen[change.kind] < number <= until[change.kind]:
                slot = (change.kind, change.key)
                if self._own.get(slot, 0) <= number:
                    self._own.pop(slot, None)
                    self.tables.apply(change)
        self._seen = until

    def wrote(self, since: int) -> None:
        """See the entries past `since`: they are this client's own."""
        for version, change in enumerate(self._log[since:], since + 1):
            self._own[change.kind, change.key] = version
            self.tables.apply(change)


class MemoryRecords:
    """One process's `Records`. Several share a store, each with a cache of its own.

    `pause` stands before the store's own: a storm gives each process another. It is called with the step,
    `"bind before"` or `"bind after"`; in shape TWO a bind is `bind claim`, then `bind instance`, a mark
    follows its `settle`, and an intent is followed by `intend count`, or taken back by `intend undo`.
    """

    together = 200

    def __init__(
        self,
        store: MemoryStore,
        shape: Shape = Shape.ONE,
        *,
        lag: int = LAG_MAX,
        pause: Pause | None = None,
    ) -> None:
        self.store = store
        self.shape = shape
        self.lag = lag
        self.pause = pause
        self._cache = _Cache(store.log)

    # ---- how a step is taken
    async def _pause(self, op: str) -> None:
        await (self.pause or self.store.pause)(op)

    async def _write(self, op: str, effect: Callable[[], Result]) -> Result:
        """One atomic step, with a moment before and after it in which anything may happen."""
        await self._pause(f"{op} before")
        since = len(self.store.log)
        try:
            result = effect()
        finally:
            if self.shape is Shape.TWO:
                self._cache.wrote(since)
        await self._pause(f"{op} after")
        return result

    async def _write_all(self, op: str, effects: Sequence[Callable[[], Result]]) -> list[Result]:
        """Rows: all in one step. Kubernetes: each for itself."""
        if self.shape is Shape.ONE:
            return await self._write(op, lambda: [effect() for effect in effects])
        return [await self._write(op, effect) for effect in effects]

    async def _live(self, op: str) -> Tables:
        await self._pause(f"{op} before")
        return self.store.tables

    async def _look(self, op: str) -> Tables:
        """What this client sees: everything, or what its cache has caught up with."""
        await self._pause(f"{op} before")
        if self.shape is Shape.ONE:
            return self.store.tables
        log, dice = self.store.log, self.store.rng
        self._cache.catch_up(lambda: max(0, len(log) - dice.randint(0, self.lag)))
        return self._cache.tables

    # ---- looks
    async def now(self) -> datetime:
        return self.store.clock()

    async def installation(self) -> Installation:
        return self.store.installation

    async def view(self, pool: Key) -> View:
        return (await self._look("view")).view(pool, self.store.clock())

    async def bindable(self, pool: Key, limit: int) -> Bindable:
        return (await self._look("bindable")).bindable(pool, limit, self.store.clock())

    async def pools(self) -> list[AgentPool]:
        return sorted((await self._look("pools")).pools.values(), key=key_of)

    async def pool_keys(self) -> list[Key]:
        return (await self._look("pool_keys")).pool_keys()

    async def instances(self) -> list[AgentInstance]:
        seen = filter(counted, (await self._look("instances")).instances.values())
        return sorted(seen, key=oldest_first, reverse=True)

    async def claims(self, keys: Sequence[Key]) -> list[AgentClaim]:
        seen = (await self._look("claims")).claims
        return [seen[key] for key in keys if key in seen]

    async def list_claims(self, namespace: str, limit: int = 500) -> list[AgentClaim]:
        seen = (await self._look("list_claims")).claims.values()
        mine = [c for c in seen if c.metadata.namespace == namespace]
        return sorted(mine, key=oldest_first, reverse=True)[:limit]

    async def queue_position(self, claim: AgentClaim) -> int:
        return (await self._look("queue_position")).queue_position(claim)

    async def before(self, instance: AgentInstance) -> int:
        return (await self._live("before")).before(instance)

    async def pool(self, key: Key) -> AgentPool:
        return found((await self._live("pool")).pools, key)

    async def claim(self, key: Key) -> AgentClaim:
        return found((await self._live("claim")).claims, key)

    async def instance(self, key: Key) -> AgentInstance:
        instance = found((await self._live("instance")).instances, key)
        if not counted(instance):
            raise NotFound(f"{key} is not counted yet")
        return instance

    async def secret(self, name: Key, key: str) -> str:
        raise Invalid("secretKeyRef: Kubernetes only; use valueFrom.env")

    async def fate(self, instance: AgentInstance) -> Fate:
        return (await self._live("fate")).fate(instance)

    # ---- what users write
    async def create_pool(self, pool: AgentPool) -> AgentPool:
        ordered = self.shape is Shape.ONE
        return await self._write("create_pool", lambda: self.store.create(pool, ordered=ordered))

    async def create_claims(self, claims: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
        return await self._write_all("create_claims", [partial(self._create, c) for c in claims])

    def _create(self, claim: AgentClaim) -> AgentClaim | RecordsError:
        try:
            return self.store.create(claim, ordered=self.shape is Shape.ONE)
        except (AlreadyExists, Invalid) as refused:
            return refused

    async def replace_pool(self, pool: AgentPool) -> AgentPool:
        return await self._write("replace_pool", lambda: self.store.replace_pool(pool))

    async def delete_pool(self, pool: AgentPool) -> None:
        await self._write("delete_pool", lambda: self.store.delete(pool, unchanged=False))

    async def delete_claim(self, claim: AgentClaim, *, unchanged: bool = False) -> None:
        await self._write("delete_claim", lambda: self.store.delete(claim, unchanged=unchanged))

    # ---- what the controller writes
    async def bind(self, binds: Sequence[Bind], attempt: Attempt) -> list[Bind]:
        if self.shape is Shape.ONE:
            made = await self._write(
                "bind", lambda: [self.store.bind(bind, attempt) for bind in binds]
            )
        else:
            made = [await self._bind_in_two(bind, attempt) for bind in binds]
        return [bind for bind in made if bind is not None]

    async def _bind_in_two(self, bind: Bind, attempt: Attempt) -> Bind | None:
        """The claim's side, then the instance's: between them anything may happen.

        A half bind is completed by the instance's side alone and keeps its attempt: he who began it may
        be about to finish it, and must not find that he speaks under another's name.
        """
        claim, instance = bind.claim, bind.instance
        if not (promisable(claim, instance) and offerable(instance)):
            return None
        if claim.status.phase is ClaimPhase.PENDING:
            promised = await self._write("bind claim", lambda: self.store.promise(bind, attempt))
            if promised is None:
                return None
        if await self._write("bind instance", lambda: self.store.reserve(bind)) is None:
            return None
        return self.store.as_it_stands(bind)

    async def settle(self, outcomes: Sequence[Outcome]) -> list[AgentClaim | None]:
        if self.shape is Shape.ONE:
            return await self._write("settle", lambda: [self._settle_in_one(o) for o in outcomes])
        return [await self._settle_in_two(outcome) for outcome in outcomes]

    def _settle_in_one(self, outcome: Outcome) -> AgentClaim | None:
        if self.store.named_by_another(outcome.read, outcome.status):
            return None
        settled = self.store.settle(outcome)
        if settled is not None:
            self.store.mark(outcome)
        return settled

    async def _settle_in_two(self, outcome: Outcome) -> AgentClaim | None:
        settled = await self._write("settle", lambda: self.store.settle(outcome))
        if settled is not None and outcome.mark is not None:
            await self._write("mark", lambda: self.store.mark(outcome))
        return settled

    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        if self.shape is Shape.ONE:
            made = await self._write(
                "intend",
                lambda: [self._intend_in_one(pool, intent, orphans) for intent in instances],
            )
        else:
            made = [await self._intend_in_two(pool, intent, orphans) for intent in instances]
        return [intent for intent in made if intent is not None]

    def _intend_in_one(
        self, pool: AgentPool, intent: AgentInstance, orphans: int
    ) -> AgentInstance | None:
        if self.store.room(pool, orphans) < 1:
            return None
        return self._intent(intent)

    async def _intend_in_two(
        self, pool: AgentPool, intent: AgentInstance, orphans: int
    ) -> AgentInstance | None:
        """Write it, then count: of two who write at once both may give way, and none goes over.

        Until it is counted nobody sees it: another process would create its service.
        """
        marked = intent.metadata.model_copy(update={"annotations": {UNCOUNTED: "true"}})
        tried = intent.model_copy(update={"metadata": marked})
        made = await self._write("intend", lambda: self._intent(tried))
        if made and self.store.room(pool, orphans) >= 0:
            return await self._write("intend count", lambda: self.store.count(made))
        if made is not None:
            await self._undo(made)
        return None

    async def tidy(self, pool: Key) -> None:
        for left in self.store.abandoned(pool):
            await self._undo(left)

    async def _undo(self, made: AgentInstance) -> None:
        with suppress(Conflict, NotFound):  # Somebody else was quicker.
            await self._write("intend undo", lambda: self.store.delete(made, unchanged=True))

    def _intent(self, intent: AgentInstance) -> AgentInstance | None:
        try:
            return self.store.create(intent, ordered=self.shape is Shape.ONE)
        except AlreadyExists:
            return None

    async def write_instances(self, changed: Sequence[AgentInstance]) -> list[AgentInstance | None]:
        return await self._write_all(
            "write_instances", [partial(self.store.write_instance, i) for i in changed]
        )

    async def write_pool_status(self, pool: AgentPool) -> AgentPool:
        return await self._write("write_pool_status", lambda: self.store.write_pool_status(pool))

    async def delete_instance(self, instance: AgentInstance) -> None:
        await self._write("delete_instance", lambda: self.store.delete_instance(instance))

    async def note(self, events: Sequence[Event]) -> None:
        await self._write("note", lambda: self.store.note(events))

    # ---- who may act
    async def lease(self, name: str) -> Lease:
        await self._pause("lease before")
        return self.store.lease(name)

    async def write_lease(self, read: Lease, holder: str) -> Lease:
        return await self._write("write_lease", lambda: self.store.write_lease(read, holder))

    # ---- doorbells
    async def bells(self) -> AsyncIterator[Bell]:
        """What a ring speaks of is seen by then, as with a watch; a `resync` comes with a fresh list."""
        door = Door()
        self.store.doors.append(door)
        try:
            while True:
                bell, version = await door.hear()
                if self.shape is Shape.TWO:
                    until = len(self.store.log) if bell.kind == "resync" else version
                    self._cache.catch_up(partial(int, until))
                yield bell
        finally:
            self.store.doors.remove(door)

    async def ring(self, bell: Bell) -> None:
        self.store.ring(bell)

    async def close(self) -> None:
        """Nothing is held open."""
