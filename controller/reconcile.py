"""Look, decide, act, look again: the passes, and the only place where the order of effects is written.

A claim's way:   bind_pass (on record) -> Deliveries (the agent) -> settle (on record)
An instance's:   intend (on record) -> Actor (Railway) -> write_instances (on record)
Every effect is preceded by the record that says so, and may be cut off there: the next look goes on.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from api.conditions import is_true
from api.records import NotFound, Outcome, Records, RecordsError, View
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    Key,
    OnEmpty,
    PoolStatus,
    RailwayRef,
    key_of,
    pool_key,
)
from controller import handover, lifecycle, sizing, template
from controller.arriving import arrived, still_arriving
from controller.binding import Binding
from controller.course import Course, course_of
from controller.delivery import Deliveries, Promise, reason_of
from controller.environment import Environment
from controller.fitness import unfit
from controller.halfbinds import mend
from controller.intents import intents
from controller.looking import Looking
from controller.naming import Chooser
from controller.news import News
from controller.sizing import Stall
from controller.storetime import StoreTime
from controller.template import Recipe
from controller.upkeep import Upkeep, Wishes
from controller.watch import RESIZE_SOON_S
from controller.workqueue import Jitter

log = logging.getLogger(__name__)

# So many agents in a row that no call got through to: then it is our network, and binding at full speed
# would use up every idle instance. One at a time, each so many seconds, until one is reached.
CUT_OFF_AFTER = 3
CUT_OFF = timedelta(seconds=5)
BIND_AGAIN_S = 0.02  # Somebody else held a row of ours for a moment.


class Chance(Chooser, Jitter, Protocol):
    """Randomness as `random.Random` has it."""


class Reconciler:
    """The pools of one Railway environment. Every pass may be repeated, cut off, or run twice."""

    def __init__(
        self,
        records: Records,
        environment: Environment,
        deliveries: Deliveries,
        upkeep: Upkeep,
        looking: Looking,
        *,
        recipe: Recipe,
        railway: RailwayRef,
        me: str,
        tick_s: float,
        time: StoreTime,
        clock: Callable[[], float],
        chance: Chance,
        wishes: Wishes,
        news: News,
    ) -> None:
        self._records = records
        self._environment = environment
        self._deliveries = deliveries
        self._upkeep = upkeep
        self._looking = looking
        self._recipe = recipe
        self._hashes = template.Hashes(recipe)
        self._railway = railway
        self._me = me
        self._tick_s = tick_s
        self._time = time
        self._clock = clock
        self._chance = chance
        self._wishes = wishes
        self._news = news
        self._binding = Binding(records, clock)
        self._urgent: set[Key] = set()  # Pools where claims wait for what is created.
        self._bind_after = time.now()  # While agents cannot be reached: the next bind.
        self.reported: dict[Key, PoolStatus] = {}  # What each pool's status said last, for metrics.

    # ---------------------------------------------------------------- the hot path

    async def bind_pass(self, key: Key) -> float | None:
        """Those who wait to those who are free, oldest first: on record, then to the agents."""
        cut_off = self._deliveries.unreached >= CUT_OFF_AFTER
        if cut_off and (wait := self._bind_after - self._time.now()) > timedelta():
            return wait.total_seconds()
        self._bind_after = self._time.now() + CUT_OFF
        at_most = 1 if cut_off else self._records.together
        there = arrived(await self._records.bindable(key, at_most))
        self._time.saw(there.now)
        pool = there.pool
        if not there.claims or pool is None:
            return None
        match = sizing.match(there, pool, at_most)
        attempt, began = Attempt(by=self._me, at=there.now), self._clock()
        try:
            held = await self._binding.write(match.binds, attempt, began)
        except RecordsError:
            self._wishes.resize(
                key, RESIZE_SOON_S
            )  # A full pass finds what is on record all the same.
            raise
        for bind in held:
            self._promise(bind.claim, bind.instance, pool, bound_at=began)
            extra = {"claim": bind.claim.metadata.name, "instance": bind.instance.metadata.name}
            log.info("claim is Bound", extra=extra)
        await self._refuse(match.refused)
        if held or match.refused:
            self._wishes.resize(key, RESIZE_SOON_S)
        if len(held) < len(match.binds):
            return BIND_AGAIN_S
        more = len(there.claims) == at_most and (held or match.refused)
        return 0.0 if more else None  # Where nobody is idle, an instance that becomes so rings.

    async def _refuse(self, claims: Sequence[AgentClaim]) -> None:
        now, said = self._time.now(), "no agent is idle"
        await self._fail(
            [Outcome(c, sizing.failed_claim(c, "NoneIdle", said, now)) for c in claims]
        )

    async def _fail(self, ends: Sequence[Outcome]) -> None:
        for claim in await self._records.settle(ends) if ends else ():
            if claim is not None:
                extra = {"claim": claim.metadata.name}
                log.info("claim is %s%s", claim.status.phase, reason_of(claim), extra=extra)

    def _promise(
        self,
        claim: AgentClaim,
        instance: AgentInstance,
        pool: AgentPool | None,
        bound_at: float | None = None,
    ) -> None:
        """`bound_at`: of a bind that was just answered; also one that was not may be ours."""
        if bound_at is None and self._binding.was_unanswered(claim):
            bound_at = handover.LONG_AGO
        promise = Promise(claim, instance, sizing.deadline(claim, pool))
        self._deliveries.start(promise, bound_at=bound_at)

    # ---------------------------------------------------------------- one pool, in full

    async def pool_pass(self, key: Key) -> float | None:
        """Everything but the hot path: claims, instances, size, status; in this order."""
        asked = self._looking.owes(key)
        await self._records.tidy(key)
        view = await self._records.view(key)
        self._time.saw(view.now)
        if still_arriving(view):
            log.info("pool is being moved in: left alone", extra={"pool": key.name})
            return self._tick_s
        await self._see_to_claims(view)
        course = self.course_of(view.pool) if view.pool else None
        instances = await self._upkeep.see_to(key, view, course)
        if view.pool is not None:
            instances = await self._resize(view.pool, view, instances)
            await self._report(view.pool, view, instances)
        else:
            self.reported.pop(key, None)
        self._upkeep.ring(key, view, instances, course)
        if asked:
            await self._looking.answer(key)
        return self._again_s(view) if view.pool or instances or view.claims else None

    def _again_s(self, view: View) -> float:
        """A tick from now, or when the next claim's time is over."""
        pending = (c for c in view.claims if c.status.phase is ClaimPhase.PENDING)
        left = (sizing.deadline(c, view.pool) - view.now for c in pending)
        soonest_s = min((each.total_seconds() for each in left), default=self._tick_s)
        return min(max(soonest_s, RESIZE_SOON_S), self._tick_s)

    async def _see_to_claims(self, view: View) -> None:
        """Deadlines of those that wait; a carrier for each that is bound."""
        there = {i.metadata.name: i for i in view.instances}
        late = [(c, sizing.timed_out(c, view.pool, view.now)) for c in view.claims]
        ends = [Outcome(c, status) for c, status in late if status is not None]
        await self._fail(ends)
        for claim in view.claims:
            if claim.status.phase is ClaimPhase.BOUND and not self._binding.is_under_way(claim):
                await self._see_to_bound(claim, there, view.pool)
        if len(ends) < sum(c.status.phase is ClaimPhase.PENDING for c in view.claims):
            self._wishes.bind(pool_key(view.claims[0]))

    async def _see_to_bound(
        self, claim: AgentClaim, there: dict[str, AgentInstance], pool: AgentPool | None
    ) -> None:
        """Both sides agree: carry it. A half bind is completed, or else replaced; never acted on."""
        name = claim.status.instance.name if claim.status.instance else ""
        instance = there.get(name)
        if not handover.agree(claim, instance):
            instance = await self._instance(Key(claim.metadata.namespace, name))
        if instance is not None and handover.agree(claim, instance):
            self._promise(claim, instance, pool)
        else:
            for bind in await mend(self._records, claim, instance, self._time.now()):
                self._promise(bind.claim, bind.instance, pool)

    async def _instance(self, key: Key) -> AgentInstance | None:
        try:
            return await self._records.instance(key)
        except NotFound:
            return None

    # ---------------------------------------------------------------- its size

    async def _resize(
        self, pool: AgentPool, view: View, instances: list[AgentInstance]
    ) -> list[AgentInstance]:
        """Retire what is not needed, intend what is missing: both on record before Railway hears."""
        orphans, waiting = self._orphans(pool), self._waiting(view)
        (self._urgent.add if waiting else self._urgent.discard)(key_of(pool))
        current = self._hashes.of(pool)
        stall = self._stall(pool, instances, current)
        plan = sizing.plan(pool, instances, waiting, orphans, stall, current, view.now)
        retire = [(i, lifecycle.retiring(i, why, view.now)) for i, why in plan.retire]
        instances = await self._upkeep.write(instances, retire)
        look = self._environment.sight.latest
        if plan.make == 0 or look is None or self._environment.access is None:
            return instances
        new = intents(pool, plan.make, look, self._recipe, self._railway, self._chance)
        made = await self._records.intend(pool, new, orphans)
        return [*instances, *made]

    def course_of(self, pool: AgentPool) -> Course | None:
        """How instances of this pool come to be; None while nothing may be created for it."""
        access = self._environment.access
        if access is None or pool.spec.paused or self._unfit(pool) is not None:
            return None
        spec, current = pool.spec, self._hashes.of(pool)
        return course_of(spec.template, access, spec.provision_timeout, current)

    def is_urgent(self, key: Key) -> bool:
        return key in self._urgent

    def _stall(
        self, pool: AgentPool, instances: Sequence[AgentInstance], current: str
    ) -> Stall | None:
        return self._unfit(pool) or sizing.failing(pool, instances, current)

    def _unfit(self, pool: AgentPool) -> Stall | None:
        return unfit(pool, self._recipe, self._environment.access, self._railway)

    def _orphans(self, pool: AgentPool) -> int:
        return len(self._environment.orphans(key_of(pool), pool.spec.name_prefix))

    def _waiting(self, view: View) -> int:
        waits = (c for c in view.claims if c.spec.on_empty is OnEmpty.WAIT)
        return sum(c.status.phase is ClaimPhase.PENDING for c in waits)

    # ---------------------------------------------------------------- what it says, and Railway

    async def _report(
        self, pool: AgentPool, view: View, instances: Sequence[AgentInstance]
    ) -> None:
        """The status, once a pass, and only when it changed. Before a look nothing new is known."""
        if self._environment.weather.reachable is None:
            return
        current = self._hashes.of(pool)
        stall = self._stall(pool, instances, current)
        status = sizing.pool_status(
            pool,
            instances,
            waiting=sum(c.status.phase is ClaimPhase.PENDING for c in view.claims),
            orphans=self._orphans(pool),
            template_hash=current,
            stall=stall,
            weather=self._environment.weather,
            now=view.now,
        )
        self.reported[key_of(pool)] = status
        if status == pool.status:
            return
        if stall and not is_true(pool.status.conditions, "Stalled"):
            log.warning("pool is stalled: %s", stall.message, extra={"pool": pool.metadata.name})
            self._news.tell(pool, stall.reason, stall.message, "Warning")
        await self._records.write_pool_status(pool.model_copy(update={"status": status}))
