"""One simulated world with two controllers, sidecars and pools: what a seed decides at its start."""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from api.door import Door, Patience
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.types import AgentPool, RailwayRef, ReclaimPolicy, RepoSource, Source, Template
from api.waiters import Waiters
from controller.leading import Controller
from controller.railway.simulator.acts import Acts
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.faults import Faults
from controller.railway.simulator.habits import Pace
from controller.railway.simulator.house import AgentHouse
from controller.railway.simulator.inprocess import SimulatedAgents, SimulatedRailway
from controller.railway.simulator.state import Thing, TokenKind
from controller.railway.simulator.world import World
from controller.template import Recipe
from controller.term import Charge, Limits, Ports
from tests.builders import a_pool
from tests.storm import weather
from tests.storm.facts import Facts, SignedLog
from tests.storm.processes import Process, StormLoop
from tests.storm.story import History
from tests.storm.weather import HANDOVER_TIMEOUT_S, Weather
from tests.storm.wires import Network, StormRecords, WiredAgents, WiredRailway

EPOCH = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(tick_s=15.0, handover_timeout_s=HANDOVER_TIMEOUT_S)
PATIENCE = Patience(verdict_s=5.0, answer_s=30.0)
# An agent answers at once, or takes its time: less than is left of an attempt when a call may still begin.
ANSWERS_S = ((0.03, 0.15), (0.1, 4.0), (2.0, 7.0))
RESTART_S = (0.2, 8.0)
WIDE = timedelta(seconds=90)


class StormWorld(World):
    """A world whose things are not written down: this simulator never restarts."""

    def touch(self, thing: Thing) -> None:
        pass


class Sidecar:
    """One run of the door, without sockets."""

    def __init__(self, process: Process, records: MemoryRecords, rng: random.Random) -> None:
        self.process = process
        waiters = Waiters(records)
        self.door = Door(
            records,
            waiters,
            new_name=lambda: f"claim-{rng.getrandbits(32):08x}",
            namespace="default",
            patience=PATIENCE,
        )
        self.main = process.start(waiters.run())


class Stage:
    """`controllers` and `sidecars` are what runs now, by slot; a slot whose process died is filled again."""

    def __init__(self, seed: int, shape: Shape, loop: StormLoop) -> None:
        self.loop, self.shape = loop, shape
        self._seed = seed
        self.history = History(loop.time)
        self.weather = Weather(self.chance("weather"))
        self.store = MemoryStore(self._store_now, self.chance("store"))
        log = SignedLog()
        self.store.log = log
        self.store.arrivals = self.weather.arrivals
        self.facts = Facts(log, loop.time, self.history.say)
        self.network = Network(self.weather, self.facts, self.chance("network"))
        self._build_railway(self.chance("world"))
        self.controllers: dict[str, Process] = {}
        self.sidecars: dict[str, Sidecar] = {}
        self.mains: list[asyncio.Task[None]] = []  # None ends by itself.
        self._starts = 0

    def chance(self, what: str) -> random.Random:
        """Dice of their own for each part, so that one more throw here changes nothing there."""
        return random.Random(f"{self._seed}/{self.shape.name}/{what}")

    def _now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.now_s)

    def _store_now(self) -> datetime:
        """Kubernetes tells whole seconds."""
        return self._now() if self.shape is Shape.ONE else self._now().replace(microsecond=0)

    def _build_railway(self, rng: random.Random) -> None:
        faults = Faults.of(weather.plan(rng))
        pace = replace(Pace(), answer_s=rng.choice(ANSWERS_S))
        clock = lambda: self._now().timestamp()  # noqa: E731
        self.world = StormWorld(clock, rng, pace=pace, faults=faults)
        self.facts.world = self.world
        kind: TokenKind = rng.choice(("project", "workspace"))
        environment = self.world.found({kind: "token"})
        self.writer = Writer(self.world, self.facts)
        self.house = AgentHouse(self.world, self.writer)
        self.acts = Acts(self.world, self.house)
        self._railway = SimulatedRailway(
            self.world, self.world.tokens["token"], environment, self.writer
        )
        self._agents = SimulatedAgents(self.house, provision_timeout_s=HANDOVER_TIMEOUT_S)
        self.where = RailwayRef(
            endpoint=self._railway.endpoint,
            project_id=environment.project_id,
            environment_id=environment.id,
        )

    # ---------------------------------------------------------------- pools

    def pools(self, rng: random.Random) -> list[AgentPool]:
        """One pool or two, small enough to run empty."""
        return [self._pool(f"pool{n}", rng) for n in range(rng.choice((1, 1, 2)))]

    def _pool(self, name: str, rng: random.Random) -> AgentPool:
        min_idle = rng.randint(1, 3)
        repo = Source(repo=RepoSource(name="xmtplabs/agent"))
        source = rng.choice((Source(image="agents/convos:1"), repo))
        return a_pool(
            name=name,
            template=Template(source=source),
            min_idle=min_idle,
            max_total=min_idle + rng.choice((1, 2, 5, 8)),
            reclaim_policy=rng.choice((ReclaimPolicy.RETAIN, ReclaimPolicy.DELETE)),
            provision_timeout=timedelta(seconds=60),
            claim_timeout=WIDE,
            name_prefix="agent-",
        )

    # ---------------------------------------------------------------- processes

    def start(self, rng: random.Random) -> None:
        for slot in ("controller-a", "controller-b"):
            self._start_controller(slot)
        for slot in ("sidecar-a", "sidecar-b")[: rng.randint(1, 2)]:
            self._start_sidecar(slot)

    def processes(self) -> list[Process]:
        return [*self.controllers.values(), *(s.process for s in self.sidecars.values())]

    def _process(self, slot: str, again: Callable[[str], None]) -> Process:
        self._starts += 1

        def died() -> None:
            self.history.say(slot, (), f"{process.name} dies")
            after_s = self.chance(f"{process.name} dies").uniform(*RESTART_S)
            self.loop.call_later(after_s, self._again, again, slot, context=Context())

        process = Process(f"{slot}.{self._starts}", self.loop, died)
        self.history.say(slot, (), f"{process.name} starts")
        return process

    def _again(self, start: Callable[[str], None], slot: str) -> None:
        if not self.weather.ended:
            start(slot)

    def _start_controller(self, slot: str) -> None:
        process = self.controllers[slot] = self._process(slot, self._start_controller)
        dice = self.chance(process.name)
        begun = dice.uniform(0, 1000)  # Nobody's clock begins where another's does.
        installed = self.store.installation
        recipe = Recipe(
            owner_id=installed.owner_id,
            secrets=(installed.instance_secret,),
            instance_variables={"INSTANCE_ANTHROPIC_API_KEY": "key"},
        )
        ports = Ports(
            StormRecords(self.store, self.shape, self.weather),
            WiredRailway(self._railway, self.network),
            WiredAgents(self._agents, self.network),
            clock=lambda: begun + self.loop.now_s,
            chance=dice,
        )
        charge = Charge(process.name, recipe, self.where, LIMITS)
        self.mains.append(process.start(Controller(ports, charge).run()))

    def _start_sidecar(self, slot: str) -> None:
        process = self._process(slot, self._start_sidecar)
        records = StormRecords(self.store, self.shape, self.weather)
        sidecar = self.sidecars[slot] = Sidecar(process, records, self.chance(process.name))
        self.mains.append(sidecar.main)
