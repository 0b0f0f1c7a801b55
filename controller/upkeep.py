"""The instances of a pool: what was seen goes on record, what was let go retires, what is due is rung for.

Most of them are at rest: nothing of theirs has changed since a pass found that nothing was to be done, and
nothing will by time alone. A pass knows them again (the very same objects) and goes on, so that a pass over
ten thousand costs little more than reading them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from api.conditions import condition
from api.records import Fate, Records, RecordsError, View
from api.types import (
    AgentInstance,
    AgentPool,
    InstancePhase,
    InstanceStatus,
    Key,
    PoolSpec,
    RailwayRef,
    key_of,
    pool_key,
)
from controller import lifecycle
from controller.acting import Actor
from controller.course import Course, own_course
from controller.environment import Environment
from controller.lifecycle import Probe
from controller.looking import Looking
from controller.news import News
from controller.probing import Prober
from controller.railway import Service

log = logging.getLogger(__name__)

# So many are judged, or known again, before others may run: claims wait no longer than these take.
BREATH, STRIDE = 100, 1_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the passes ring for one another: each puts a key into a queue, at the latest in so long."""

    bind: Callable[[Key], None]
    resize: Callable[[Key, float], None]
    act: Callable[[Key], None]


# All that is known of an instance at a pass, beside its pool and the time.
Known = tuple[AgentInstance, Service | None, Probe | None, Fate | None]


@dataclass(slots=True)
class _Rest:
    """The instances of one pool that rest, by uid, under these circumstances."""

    spec: PoolSpec | None
    course: Course | None
    known: dict[str, Known] = field(default_factory=dict)


class Upkeep:
    """`see_to` the instances of a pass, then `ring` for what is to be done. `railway`: where ours live."""

    def __init__(
        self,
        records: Records,
        environment: Environment,
        prober: Prober,
        actor: Actor,
        looking: Looking,
        news: News,
        wishes: Wishes,
        railway: RailwayRef,
    ) -> None:
        self._records = records
        self._environment = environment
        self._prober = prober
        self._actor = actor
        self._looking = looking
        self._news = news
        self._wishes = wishes
        self._railway = railway
        self._rests: dict[Key, _Rest] = {}

    async def see_to(self, key: Key, view: View, course: Course | None) -> list[AgentInstance]:
        """What was seen goes on record; released services retire; Gone ones nobody names go."""
        rest = self._rest_of(key, view.pool, course)
        before, rest.known = rest.known, {}
        kept: list[AgentInstance] = []
        changes: list[tuple[AgentInstance, InstanceStatus]] = []
        for n, instance in enumerate(view.instances, 1):
            uid, known = instance.metadata.uid, self._known(instance, view)
            if _same(before.get(uid), known):
                rest.known[uid] = known
                kept.append(instance)
                if n % STRIDE == 0:
                    await asyncio.sleep(0)
                continue
            if await self._forgotten(instance, known[3]):
                continue
            kept.append(instance)
            if n % BREATH == 0:
                await asyncio.sleep(0)
            status = await self._judged(known, view, course)
            if status != instance.status:
                changes.append((instance, status))
        return await self.write(kept, changes)

    def ring(
        self, key: Key, view: View, instances: Sequence[AgentInstance], course: Course | None
    ) -> None:
        """Ring for each instance that has something to be done; note whether anything moves."""
        resting = self._rest_of(key, view.pool, course).known
        uids: set[str] = set()
        moving = False
        for instance in instances:
            uid = instance.metadata.uid
            uids.add(uid)
            if uid in resting and resting[uid][0] is instance:
                continue
            self._prober.watch(instance)
            if instance.spec.railway != self._railway:
                continue
            known = self._known(instance, view)
            acts = self._ring_for(known, view, course)
            moving = moving or lifecycle.is_moving(instance, course)
            if not acts and lifecycle.rests(*known):
                resting[uid] = known
        self._prober.forget(uids, key)
        self._looking.note(key, moving)
        if not instances:
            self._rests.pop(key, None)

    async def write(
        self,
        instances: Iterable[AgentInstance],
        changes: Sequence[tuple[AgentInstance, InstanceStatus]],
    ) -> list[AgentInstance]:
        """The instances as they stand now; one that somebody else changed is left for the next look."""
        new = [i.model_copy(update={"status": status}) for i, status in changes]
        written = await self._records.write_instances(new) if new else []
        now = {i.metadata.name: w for (i, _), w in zip(changes, written, strict=True)}
        for (before, _), after in zip(changes, written, strict=True):
            if after is not None:
                self._tell(before, after)
        return [now.get(i.metadata.name) or i for i in instances]

    # ---------------------------------------------------------------- one instance

    def _known(self, instance: AgentInstance, view: View) -> Known:
        service = self._environment.sight.service(instance)
        fate = view.fates.get(instance.metadata.name)
        return instance, service, self._prober.heard(instance), fate

    def _rest_of(self, key: Key, pool: AgentPool | None, course: Course | None) -> _Rest:
        """Who rests in this pool. Its spec has changed, or what may be created: everybody is looked at."""
        spec = pool.spec if pool else None
        rest = self._rests.get(key)
        if rest is None or rest.spec != spec or rest.course != course:
            rest = self._rests[key] = _Rest(spec, course)
        return rest

    async def _judged(self, known: Known, view: View, course: Course | None) -> InstanceStatus:
        """Its status now. One that is not in our environment is not there to be seen: that says nothing."""
        instance, service, probe, fate = known
        if instance.spec.railway != self._railway:
            return instance.status
        own = own_course(course, instance, service)
        status = lifecycle.seen(instance, self._environment.sight, probe, view.now, own)
        if (why := await self._let_go(instance, fate, view.pool)) is not None:
            status = lifecycle.retiring(instance, why, view.now)
        return status

    async def _forgotten(self, instance: AgentInstance, fate: Fate | None) -> bool:
        if not lifecycle.may_forget(instance, fate):
            return False
        if fate is not None and await self._records.fate(instance) is Fate.KEPT:
            return False
        try:
            await self._records.delete_instance(instance)
        except RecordsError:
            return False
        return True

    async def _let_go(
        self, instance: AgentInstance, fate: Fate | None, pool: AgentPool | None
    ) -> str | None:
        """Why this claimed service is to be deleted, confirmed by a live read of its claim."""
        policy = pool.spec.reclaim_policy if pool and not pool.spec.paused else None
        if lifecycle.should_retire(instance, fate, policy) is None:
            return None
        return lifecycle.should_retire(instance, await self._records.fate(instance), policy)

    def _ring_for(self, known: Known, view: View, course: Course | None) -> bool:
        """Whether there is something to be done for it."""
        instance, service, _, _ = known
        own = own_course(course, instance, service)
        verb = lifecycle.next_act(instance, self._environment.sight, own, view.now)
        acts = verb is not None or self._actor.wants_name(instance)
        if acts:
            self._wishes.act(key_of(instance))
        return acts

    def _tell(self, before: AgentInstance, after: AgentInstance) -> None:
        if before.status.phase is after.status.phase:
            return
        ready = condition(after.status.conditions, "Ready")
        reason = ready.reason if ready else str(after.status.phase)
        extra = {"instance": after.metadata.name, "pool": after.spec.pool_ref.name}
        if after.spec.claim_ref is not None:
            extra["claim"] = after.spec.claim_ref.name
        bad = after.status.phase is InstancePhase.FAILED or reason == "WrongKey"
        level = logging.WARNING if bad else logging.INFO
        log.log(level, "instance is %s: %s", after.status.phase, reason, extra=extra)
        self._news.tell(after, reason, f"is {after.status.phase}", "Warning" if bad else "Normal")
        if after.status.phase is InstancePhase.IDLE:
            self._wishes.bind(pool_key(after))


def _same(before: Known | None, now: Known) -> bool:
    """Whether these are the very same objects; what is frozen cannot have changed."""
    return before is not None and all(a is b for a, b in zip(before, now, strict=True))
