"""Asks agents that nobody has claimed whether they are ready: soon and often at first, slower later.

What was heard last stays here, in memory: it changes every few seconds. What follows from it goes on
record by the pool's pass (`lifecycle.seen`).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from api.conditions import condition
from api.types import AgentInstance, InstancePhase, Key, pool_key
from controller.agents import Agents
from controller.lifecycle import Probe
from controller.storetime import StoreTime
from controller.workqueue import Jitter, WorkQueue

# Seconds between questions to an agent that is starting, by how long ago it was deployed.
STARTING_EVERY_S = ((60.0, 1.0), (300.0, 3.0))
STARTING_LATER_S = 10.0
SCATTER = 0.7  # Of that, by chance: those that began together must not come together for ever.
FAILED_EVERY_S = 60.0  # Failed, later ready, never provisioned: Idle again.


class Prober:
    """`watch(instance)` at each pass; `heard(instance)` gives the newest answer; `changed` is told."""

    def __init__(
        self,
        agents: Agents,
        *,
        keys: Callable[[AgentInstance], tuple[str, ...]],
        time: StoreTime,
        clock: Callable[[], float],
        jitter: Jitter,
        at_once: int,
        idle_every_s: float,
        changed: Callable[[Key], None],
        may_act: Callable[[], bool],
    ) -> None:
        self._agents = agents
        self._keys = keys
        self._time = time
        self._jitter = jitter
        self._idle_every_s = idle_every_s
        self._changed = changed
        self._watched: dict[str, AgentInstance] = {}  # By uid, as all here.
        self._heard: dict[str, Probe] = {}
        self.queue: WorkQueue[str] = WorkQueue(
            self._probe, clock=clock, jitter=jitter, workers=at_once, may_run=may_act
        )

    def watch(self, instance: AgentInstance) -> None:
        """Ask this one from now on, or no longer: claimed ones are left alone."""
        uid = instance.metadata.uid
        if not _asks(instance):
            self._watched.pop(uid, None)
            self._heard.pop(uid, None)
            return
        self._watched[uid] = instance
        if not self.queue.known(uid):
            self.queue.add(uid)

    def forget(self, uids: set[str], pool: Key) -> None:
        """Of this pool, watch only these any longer."""
        for uid in self._watched.keys() - uids:
            if pool_key(self._watched[uid]) == pool:
                del self._watched[uid]
                self._heard.pop(uid, None)

    def ask_all(self) -> None:
        """Ask everyone now."""
        for uid in self._watched:
            self.queue.add(uid)

    def heard(self, instance: AgentInstance) -> Probe | None:
        return self._heard.get(instance.metadata.uid)

    async def _probe(self, uid: str) -> float | None:
        if (instance := self._watched.get(uid)) is None:
            return None
        said = await self._agents.status(instance.status.url or "", self._keys(instance))
        before = self._heard.get(uid)
        misses = 0 if said.reached else (before.misses if before else 0) + 1
        probe = Probe(said, misses)
        if probe == before:
            probe = before  # The same object: who rests is known by it.
        if uid in self._watched:
            self._heard[uid] = probe
        if before is None or _tells_more(before, probe, instance):
            self._changed(pool_key(instance))
        again_s = _again_in_s(instance, self._time.now(), self._idle_every_s)
        return self._jitter.uniform(SCATTER * again_s, again_s)


def _asks(instance: AgentInstance) -> bool:
    phases = (InstancePhase.PROVISIONING, InstancePhase.IDLE, InstancePhase.FAILED)
    free = instance.spec.claim_ref is None and instance.status.barred is None
    return free and instance.status.url is not None and instance.status.phase in phases


def _tells_more(before: Probe, probe: Probe, instance: AgentInstance) -> bool:
    """Whether the pool's pass could decide otherwise than after the last answer."""
    if before.status != probe.status:
        return True
    ready = instance.status.phase is InstancePhase.IDLE
    turned = probe.status.reached and probe.status.ready != ready
    return turned or (ready and probe.misses > 0)


def _again_in_s(instance: AgentInstance, now: datetime, idle_every_s: float) -> float:
    if instance.status.phase is InstancePhase.IDLE:
        return idle_every_s
    if instance.status.phase is InstancePhase.FAILED:
        return FAILED_EVERY_S
    deployed = condition(instance.status.conditions, "Deployed")
    age = now - deployed.last_transition_time if deployed else timedelta()
    for up_to_s, every_s in STARTING_EVERY_S:
        if age.total_seconds() < up_to_s:
            return every_s
    return STARTING_LATER_S
