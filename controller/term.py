"""One term of leadership: the queues, the passes and who rings whom. Starts with nothing but the records.

Everything that touches the outside (records, Railway, agents, clock, chance) comes in as an argument,
so a storm can run the very same controller in a simulated world.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from api.records import Records
from api.types import AgentInstance, Key, RailwayRef
from controller import template
from controller.acting import Actor
from controller.agents import Agents
from controller.delivery import Deliveries
from controller.environment import Environment
from controller.handover import Rules
from controller.looking import Looking
from controller.news import News
from controller.probing import Prober
from controller.railway import Railway
from controller.reconcile import Chance, Reconciler
from controller.storetime import StoreTime
from controller.template import Recipe
from controller.upkeep import Upkeep, Wishes
from controller.watch import Doors, watch
from controller.workqueue import WorkQueue

log = logging.getLogger(__name__)

LOOK = "railway"  # The one key of the queue of looks,
EVERY_POOL = "pools"  # and of the queue of sweeps.
# Full passes of a pool take a fifth of the time at most, however many claims come.
POOLS_REST = 4.0
Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ports:
    """All that leads outside. `clock`: this process's monotonic seconds."""

    records: Records
    railway: Railway
    agents: Agents
    clock: Callable[[], float]
    chance: Chance


@dataclass(frozen=True, slots=True)
class Limits:
    """How often, and how much at once. Seconds."""

    tick_s: float = 30.0
    probe_idle_every_s: float = 30.0
    handover_timeout_s: float = 60.0
    calls_at_once: int = 100
    creates_at_once: int = 5
    probes_at_once: int = 20  # Few, so that claims find the loop free.


@dataclass(frozen=True, slots=True)
class Charge:
    """Who this process is, and what it is in charge of. `me`: made anew at each start."""

    me: str
    recipe: Recipe
    where: RailwayRef
    limits: Limits = Limits()
    scheme: str = "https"  # http only for agents of a simulator.


class Term:
    """`run()` until cancelled; then every call is cut and every pass ended."""

    def __init__(self, ports: Ports, charge: Charge, may_act: Callable[[], bool]) -> None:
        self._ports = ports
        self._charge = charge
        self._may_act = may_act
        self._time = StoreTime(ports.clock)
        self.news = News(ports.records)
        self.environment = Environment(
            ports.railway,
            owner_id=charge.recipe.owner_id,
            time=self._time,
            clock=ports.clock,
            scheme=charge.scheme,
            may_act=may_act,
        )
        self.deliveries = self._deliveries()
        self.prober = self._prober()
        self.looking = self._looking()
        self.reconciler = self._reconciler()
        self.binds = self._queue(self.reconciler.bind_pass, workers=4)
        self.pools = self._queue(self.reconciler.pool_pass, workers=2, rest=POOLS_REST)
        self.looks = self._queue(self.looking.look_pass, workers=1)
        self.sweeps = self._queue(self.looking.sweep, workers=1)
        self.acts = self._queue(self._actor.act, workers=charge.limits.creates_at_once)

    async def run(self) -> None:
        doors = Doors(
            bind=self.binds.add,
            resize=self.pools.add,
            look=self._look_now,
            everything=self._everything,
        )
        queues = (
            self.binds,
            self.pools,
            self.looks,
            self.sweeps,
            self.acts,
            self.prober.queue,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for queue in queues:
                    group.create_task(queue.run())
                group.create_task(self.news.run())
                group.create_task(watch(self._ports.records, doors))
        finally:
            await self.deliveries.stop()

    def _everything(self) -> None:
        """At the start, and when bells may have been lost: look at Railway and at every pool."""
        self.sweeps.add(EVERY_POOL)
        self.looks.add(LOOK)

    def _look_now(self, key: Key) -> None:
        self.prober.ask_all()
        self.looking.ask(key)

    # ---------------------------------------------------------------- the parts

    def _deliveries(self) -> Deliveries:
        limits = self._charge.limits
        return Deliveries(
            self._ports.records,
            self._ports.agents,
            keys=self._keys,
            rules=Rules(self._charge.me, limits.handover_timeout_s),
            time=self._time,
            clock=self._ports.clock,
            may_act=self._may_act,
            calls_at_once=limits.calls_at_once,
        )

    def _prober(self) -> Prober:
        return Prober(
            self._ports.agents,
            keys=self._keys,
            time=self._time,
            clock=self._ports.clock,
            jitter=self._ports.chance,
            at_once=self._charge.limits.probes_at_once,
            idle_every_s=self._charge.limits.probe_idle_every_s,
            changed=lambda pool: self.pools.add(pool),
            may_act=self._may_act,
        )

    def _looking(self) -> Looking:
        return Looking(
            self._ports.records,
            self.environment,
            time=self._time,
            chance=self._ports.chance,
            tick_s=self._charge.limits.tick_s,
            look=lambda after_s: self.looks.add(LOOK, after_s),
            resize=lambda key, after_s: self.pools.add(key, after_s),
        )

    def _reconciler(self) -> Reconciler:
        wishes = Wishes(
            bind=lambda key: self.binds.add(key),
            resize=lambda key, after_s: self.pools.add(key, after_s),
            act=lambda key: self.acts.add(key),
        )
        return Reconciler(
            self._ports.records,
            self.environment,
            self.deliveries,
            self._upkeep(wishes),
            self.looking,
            recipe=self._charge.recipe,
            railway=self._charge.where,
            me=self._charge.me,
            tick_s=self._charge.limits.tick_s,
            time=self._time,
            clock=self._ports.clock,
            chance=self._ports.chance,
            wishes=wishes,
            news=self.news,
        )

    def _upkeep(self, wishes: Wishes) -> Upkeep:
        self._actor = Actor(
            self._ports.records,
            self.environment,
            self._charge.recipe,
            time=self._time,
            course_of=lambda pool: self.reconciler.course_of(pool),
            is_urgent=lambda key: self.reconciler.is_urgent(key),
        )
        return Upkeep(
            self._ports.records,
            self.environment,
            self.prober,
            self._actor,
            self.looking,
            self.news,
            wishes,
            self._charge.where,
        )

    def _keys(self, instance: AgentInstance) -> tuple[str, ...]:
        return template.agent_keys(instance, self._charge.recipe.secrets)

    def _queue(
        self, handle: Callable[[Item], Awaitable[float | None]], workers: int, rest: float = 0.0
    ) -> WorkQueue[Item]:
        return WorkQueue(
            handle,
            clock=self._ports.clock,
            jitter=self._ports.chance,
            workers=workers,
            may_run=self._may_act,
            rest=rest,
        )
