"""Memory stores that are broken in what only two writes and lagging looks can break."""

from collections.abc import Sequence
from functools import partial

from api.records import Bind, Fate, bound_status
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.records.memory_tables import Tables, found
from api.types import AgentClaim, AgentInstance, AgentPool, Attempt, Key, key_of
from tests.records.broken import harness


class PromisesOverAnyVersion(MemoryStore):
    def promise(self, bind: Bind, attempt: Attempt) -> AgentClaim | None:
        now = self.tables.claims.get(key_of(bind.claim))
        status = bound_status(bind.claim, bind.instance, attempt)
        return now and self._put(now.model_copy(update={"status": status}))


class ReservesWhatIsTaken(MemoryStore):
    def reserve(self, bind: Bind) -> AgentInstance | None:
        return self._reserve(
            self.tables.instances[key_of(bind.instance)], bind.claim, {}, rings=True
        )


class ReservesWhatMayNotBeOffered(MemoryStore):
    def reserve(self, bind: Bind) -> AgentInstance | None:
        now = self.tables.instances[key_of(bind.instance)]
        return None if now.spec.claim_ref else self._reserve(now, bind.claim, {}, rings=True)


class HoldsWhatOneSideWrote(MemoryRecords):
    async def _bind_in_two(self, bind: Bind, attempt: Attempt) -> Bind | None:
        await super()._bind_in_two(bind, attempt)
        return Bind(await self.claim(key_of(bind.claim)), bind.instance)


class LeavesHalfBindsHalf(MemoryRecords):
    async def _bind_in_two(self, bind: Bind, attempt: Attempt) -> Bind | None:
        half = bind.claim.status.instance is not None
        return None if half else await super()._bind_in_two(bind, attempt)


class TakesNoIntentBack(MemoryRecords):
    async def _intend_in_two(
        self, pool: AgentPool, intent: AgentInstance, orphans: int
    ) -> AgentInstance | None:
        return await self._write("intend", lambda: self._intent(intent))


class CountsBeforeItIntends(MemoryRecords):
    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        room = max(0, self.store.room(pool, orphans))
        made = [await self._write("intend", partial(self._intent, i)) for i in instances[:room]]
        return [intent for intent in made if intent is not None]


class NeverCatchesUp(MemoryRecords):
    async def _look(self, op: str) -> Tables:
        return self._cache.tables


class ForgetsItsOwnWrites(MemoryRecords):
    async def _look(self, op: str) -> Tables:
        seen = Tables()
        for change in self.store.log[:-1]:
            seen.apply(change)
        return seen


class CountsByItsCache(MemoryRecords):
    async def before(self, instance: AgentInstance) -> int:
        return (await self._look("before")).before(instance)


class FindsClaimsInItsCache(MemoryRecords):
    async def claim(self, key: Key) -> AgentClaim:
        return found((await self._look("claim")).claims, key)


class TellsFatesByItsCache(MemoryRecords):
    async def fate(self, instance: AgentInstance) -> Fate:
        return (await self._look("fate")).fate(instance)


IN_TWO = {
    broken.__name__: harness(broken, Shape.TWO)
    for broken in (
        PromisesOverAnyVersion,
        ReservesWhatIsTaken,
        ReservesWhatMayNotBeOffered,
        HoldsWhatOneSideWrote,
        LeavesHalfBindsHalf,
        TakesNoIntentBack,
        CountsBeforeItIntends,
        NeverCatchesUp,
        ForgetsItsOwnWrites,
        CountsByItsCache,
        FindsClaimsInItsCache,
        TellsFatesByItsCache,
    )
}
