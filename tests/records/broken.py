"""Memory stores that are each broken in one way; the suite must notice every one of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial

from api.records import Bell, Bind, Event, Fate, Lease, Outcome, RecordsError, Thing, View
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore, Noted
from api.records.memory_tables import Tables, found
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    InstancePhase,
    Key,
    key_of,
)
from tests.records.harness import MemoryHarness

# ---------------------------------------------------------------- lost comparisons


class SettlesOverAnything(MemoryStore):
    def unsettled(self, now: AgentClaim, read: AgentClaim) -> bool:
        return now.metadata.uid == read.metadata.uid


class ForgetsTheAttempt(MemoryStore):
    def unsettled(self, now: AgentClaim, read: AgentClaim) -> bool:
        same = read.status.model_copy(update={"attempt": now.status.attempt})
        return super().unsettled(now, read.model_copy(update={"status": same}))


class ForgetsTheInstanceThatWasRead(MemoryStore):
    def unsettled(self, now: AgentClaim, read: AgentClaim) -> bool:
        same = read.status.model_copy(update={"instance": now.status.instance})
        return super().unsettled(now, read.model_copy(update={"status": same}))


class WritesOverAnyVersion(MemoryStore):
    def as_read(self, now: Thing, read: Thing) -> bool:
        return now.metadata.uid == read.metadata.uid


class ForgetsUids(MemoryStore):
    def _still(self, thing: Thing) -> Thing:
        now: Thing = found(self.tables.by_kind[thing.kind], key_of(thing))
        return now


class WithdrawsWhatHasChanged(MemoryStore):
    def delete(self, thing: Thing, *, unchanged: bool) -> None:
        super().delete(thing, unchanged=False)


class TakesAnyLease(MemoryStore):
    def write_lease(self, read: Lease, holder: str) -> Lease:
        return super().write_lease(self.lease(read.name), holder)


class RenewsNothing(MemoryStore):
    def write_lease(self, read: Lease, holder: str) -> Lease:
        return read if read.holder == holder else super().write_lease(read, holder)


# ---------------------------------------------------------------- broken promises


class BindsWhatIsTaken(MemoryStore):
    def bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        now = self.tables.instances[key_of(bind.instance)]
        spec = now.spec.model_copy(update={"claim_ref": None})
        self.tables.instances[key_of(now)] = now.model_copy(update={"spec": spec})
        return super().bind(bind, attempt)


class BindsOneSideOnly(MemoryStore):
    def _reserve(
        self, instance: AgentInstance, claim: AgentClaim, shown: dict[str, object], *, rings: bool
    ) -> AgentInstance:
        return instance


class BindsAClaimAgain(MemoryStore):
    def bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        now = self.tables.claims.get(key_of(bind.claim))
        if now is not None and not now.ended:
            free = now.status.model_copy(update={"phase": ClaimPhase.PENDING, "instance": None})
            self.tables.claims[key_of(now)] = now.model_copy(update={"status": free})
        return super().bind(bind, attempt)


class PromisesTheBarred(MemoryStore):
    def bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        now = self.tables.instances[key_of(bind.instance)]
        status = now.status.model_copy(update={"barred": None})
        self.tables.instances[key_of(now)] = now.model_copy(update={"status": status})
        return super().bind(bind, attempt)


class NeverCompletesAHalfBind(MemoryStore):
    def bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        return None if bind.claim.status.instance else super().bind(bind, attempt)


class ClearsClaimRefs(MemoryStore):
    def settle(self, outcome: Outcome) -> AgentClaim | None:
        settled = super().settle(outcome)
        named = outcome.read.status.instance
        if settled is not None and named is not None and settled.status.instance is None:
            now = self.tables.instances[Key(settled.metadata.namespace, named.name)]
            self._put_spec(now, {"spec": now.spec.model_copy(update={"claim_ref": None})})
        return settled


class WritesSpecsWithStatuses(MemoryStore):
    def write_instance(self, changed: AgentInstance) -> AgentInstance | None:
        now = super().write_instance(changed)
        return now and self._put(now.model_copy(update={"spec": changed.spec}))


class ForgetsTheLockOfIntents(MemoryRecords):
    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        room = max(0, self.store.room(pool, orphans))
        await asyncio.sleep(0)
        made = [self._intent(intent) for intent in instances[:room]]
        return [intent for intent in made if intent is not None]


class CountsByThePoolThatWasRead(MemoryStore):
    def room(self, pool: AgentPool, orphans: int) -> int:
        return max(super().room(pool, orphans), 1)


class ForgetsMarks(MemoryStore):
    def mark(self, outcome: Outcome) -> None:
        return


class MarksWhatDidNotHold(MemoryRecords):
    def _settle_in_one(self, outcome: Outcome) -> AgentClaim | None:
        self.store.mark(outcome)
        return super()._settle_in_one(outcome)


# ---------------------------------------------------------------- what ended, and what is final


class ChangesWhatEnded(MemoryStore):
    def settle(self, outcome: Outcome) -> AgentClaim | None:
        now = self.tables.claims.get(key_of(outcome.read))
        if now is None or not self.unsettled(now, outcome.read):
            return None
        return self._put(now.model_copy(update={"status": outcome.status}))


class LeavesRetiring(MemoryStore):
    def write_instance(self, changed: AgentInstance) -> AgentInstance | None:
        now = self.tables.instances.get(key_of(changed))
        if now is None or not self.as_read(now, changed) or now.status == changed.status:
            return now and super().write_instance(changed)
        return self._put(now.model_copy(update={"status": changed.status}))


class DeletesTheLiving(MemoryStore):
    def delete_instance(self, instance: AgentInstance) -> None:
        self.delete(instance, unchanged=True)


class DeletesInstancesWithTheirPool(MemoryStore):
    def delete(self, thing: Thing, *, unchanged: bool) -> None:
        super().delete(thing, unchanged=unchanged)
        if isinstance(thing, AgentPool):
            for instance in self.tables.of_pool(key_of(thing)):
                super().delete(instance, unchanged=False)


class WritesWhatIsThere(MemoryStore):
    def write_instance(self, changed: AgentInstance) -> AgentInstance | None:
        now = self.tables.instances.get(key_of(changed))
        if now is not None and self.as_read(now, changed) and now.status == changed.status:
            return self._put(now)
        return super().write_instance(changed)


class NeverMovesTheGeneration(MemoryStore):
    def _put_spec(self, thing: Thing, changes: dict[str, object], *, rings: bool = True) -> Thing:
        return self._put(thing.model_copy(update=changes), rings=rings)


# ---------------------------------------------------------------- wrong looks


class _Looks(MemoryStore):
    """A store whose tables look in another way."""

    looks: type[Tables] = Tables

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.tables = self.looks()


class ShowsTheNewestFirst(_Looks):
    class looks(Tables):  # noqa: N801
        def open_claims(self, pool: Key) -> tuple[AgentClaim, ...]:
            return super().open_claims(pool)[::-1]


class KeepsTheReleased(_Looks):
    class looks(Tables):  # noqa: N801
        def fate(self, instance: AgentInstance) -> Fate:
            fate = super().fate(instance)
            return Fate.KEPT if fate is Fate.RELEASED else fate


class KnowsClaimsByNameAlone(_Looks):
    class looks(Tables):  # noqa: N801
        def fate(self, instance: AgentInstance) -> Fate:
            ref = instance.spec.claim_ref
            claim = ref and self.claims.get(Key(instance.metadata.namespace, ref.name))
            return Fate.MOVED if claim else super().fate(instance)


class OffersTheBarred(_Looks):
    class looks(Tables):  # noqa: N801
        def of_pool(self, pool: Key) -> tuple[AgentInstance, ...]:
            every = super().of_pool(pool)
            freed = [i.status.model_copy(update={"barred": None}) for i in every]
            return tuple(
                i.model_copy(update={"status": s}) for i, s in zip(every, freed, strict=True)
            )


class CountsTheQueueFromZero(_Looks):
    class looks(Tables):  # noqa: N801
        def queue_position(self, claim: AgentClaim) -> int:
            return max(0, super().queue_position(claim) - 1)


class ForgetsDeletedPools(_Looks):
    class looks(Tables):  # noqa: N801
        def pool_keys(self) -> list[Key]:
            return sorted(self.pools)


class ForgetsGoneOnes(_Looks):
    class looks(Tables):  # noqa: N801
        def view(self, pool: Key, now: object) -> View:
            view = super().view(pool, now)  # type: ignore[arg-type]
            living = (i for i in view.instances if i.status.phase is not InstancePhase.GONE)
            return replace(view, instances=tuple(living))


# ---------------------------------------------------------------- bells, events, batches


class DropsEveryBell(MemoryStore):
    def ring(self, bell: Bell) -> None:
        return


class RingsForClaimsOnly(MemoryStore):
    def ring(self, bell: Bell) -> None:
        if bell.kind != "instance":
            super().ring(bell)


class SaysNothingOfABreak(MemoryStore):
    def sever(self) -> None:
        return


class ForgetsTheFirstResync(MemoryRecords):
    async def bells(self) -> AsyncIterator[Bell]:
        bells = super().bells()
        await anext(bells)
        async for bell in bells:
            yield bell


class RepeatsEvents(MemoryStore):
    def note(self, events: Sequence[Event]) -> None:
        self.events.extend(Noted(event, self.clock()) for event in events)


class CountsEventsForEver(MemoryStore):
    def note(self, events: Sequence[Event]) -> None:
        for noted in self.events:
            noted.last = self.clock()
        super().note(events)


class OneBadClaimCostsTheBatch(MemoryRecords):
    async def create_claims(self, claims: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
        made = await super().create_claims(claims)
        bad = next((m for m in made if isinstance(m, RecordsError)), None)
        return list(made) if bad is None else [bad] * len(made)


class OverwritesWhatExists(MemoryStore):
    def create(self, thing: Thing, *, ordered: bool) -> Thing:
        self.tables.by_kind[thing.kind].pop(key_of(thing), None)
        return super().create(thing, ordered=ordered)


def harness(
    broken: type[MemoryStore] | type[MemoryRecords], shape: Shape
) -> Callable[[], MemoryHarness]:
    """How to make a store, or clients, of this class."""
    if issubclass(broken, MemoryStore):
        return partial(MemoryHarness, shape, store=broken)
    return partial(MemoryHarness, shape, client=broken)


BROKEN = {
    broken.__name__: harness(broken, Shape.ONE)
    for broken in list(globals().values())
    if isinstance(broken, type)
    and issubclass(broken, MemoryStore | MemoryRecords)
    and broken.__module__ == __name__
    and not broken.__name__.startswith("_")
}
