"""One simulated world with two controllers, sidecars and pools: what a seed decides at its start."""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from api.door import Door, Patience
from api.records import Lease
from api.records.memory import LAG_MAX, MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.replenish import Replenish
from api.types import AgentPool, RailwayRef, ReclaimPolicy, RepoSource, Source, Template
from api.waiters import Waiters
from controller.leading import Controller
from controller.railway import Railway
from controller.railway.client import RailwayClient
from controller.railway.simulator import deploys
from controller.railway.simulator.acts import Acts
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.front import Front
from controller.railway.simulator.habits import Pace
from controller.railway.simulator.house import AgentHouse
from controller.railway.simulator.inprocess import SimulatedAgents, SimulatedRailway
from controller.railway.simulator.ratelimit import Budget, Edge
from controller.railway.simulator.state import Thing, TokenKind
from controller.railway.simulator.world import World
from controller.template import Recipe
from controller.term import Charge, Limits, Ports
from tests.builders import a_pool
from tests.history.events import Serves
from tests.storm import weather
from tests.storm.fate import Fate
from tests.storm.processes import Process, StormLoop
from tests.storm.weather import CLOCK_JUMP_S, HANDOVER_TIMEOUT_S, FatedFaults, Weather
from tests.storm.wires import Network, StormRecords, WiredAgents, WiredHttp, WiredRailway
from tests.storm.witness import Witness, WitnessedLog

EPOCH = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(
    tick_s=15.0,
    probe_idle_every_s=15.0,
    handover_timeout_s=HANDOVER_TIMEOUT_S,
    calls_at_once=2,  # So few that some wait in line.
    creates_at_once=2,
)
PATIENCE = Patience(verdict_s=5.0, answer_s=30.0)
# An agent answers at once, or takes its time: less than is left of an attempt when a call may still begin.
# In some seeds it is done just about when its attempt is.
ANSWERS_S = ((0.03, 0.15), (0.1, 4.0), (2.0, 7.0), (5.0, 8.0), (5.0, 16.0))
RESTART_S = (0.2, 8.0)
CLOCK_PACE = (0.98, 1.02)
GRAPHQL_SHARE = 0.08
LAGS = (LAG_MAX, LAG_MAX, 60)  # Writes of others that a look of a process may miss, in shape TWO.
ENDPOINT = "https://railway.simulated/graphql/v2"
TOKEN = "token-canary-1"
REPO = "xmtplabs/agent"
WIDE = timedelta(seconds=90)


class StormWorld(World):
    """A world whose things are not written down: this simulator never restarts."""

    def touch(self, thing: Thing) -> None:
        pass


class StormStore(MemoryStore):
    """A store that says aloud who leads."""

    witness: Witness

    def write_lease(self, read: Lease, holder: str) -> Lease:
        new = super().write_lease(read, holder)
        if holder != read.holder:
            self.witness.happened("leads", actor=holder)
        return new


class StormController(Controller):
    """A controller that says aloud when it begins to lead, with nothing in mind but the records."""

    def __init__(self, ports: Ports, charge: Charge, witness: Witness) -> None:
        super().__init__(ports, charge)
        self._witness = witness

    async def _lead(self) -> None:
        self._witness.happened("begins a term")
        await super()._lead()


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
        self.replenish = Replenish(records, waiters, "default")
        self.main = process.start(waiters.run())

    async def close(self) -> None:
        """Whoever waits is answered; then nothing is watched any more."""
        await self.door.close()
        self.main.cancel()


class Stage:
    """`controllers` and `sidecars` are what runs now, by slot; a slot whose process died is filled again."""

    def __init__(self, seed: int, shape: Shape, loop: StormLoop, fate: Fate) -> None:
        self.loop, self.shape, self.fate = loop, shape, fate
        self.seed = seed
        self.witness = Witness(loop.time)
        self.weather = Weather(self.chance("weather"), fate)
        self._clocks = self.chance("clocks")
        self._skew_s = 0.0
        self.store = StormStore(self._store_now, self.chance("store"))
        self.store.witness = self.witness
        self.store.log = WitnessedLog(self.witness)
        self.store.arrivals = self.weather.arrivals
        self._lag = self.chance("watches").choice(LAGS)
        self.weather.slow_watches = self._lag > LAG_MAX
        secret = f"-canary-{self.store.rng.getrandbits(128):032x}".encode()
        self.store.installation = replace(self.store.installation, instance_secret=secret)
        self.network = Network(self.weather, self.witness, self.chance("network"))
        self._build_railway(self.chance("world"))
        self.controllers: dict[str, Process] = {}
        self.sidecars: dict[str, Sidecar] = {}
        self.mains: list[tuple[Process, asyncio.Task[None]]] = []  # None ends by itself.
        self._starts = 0

    def chance(self, what: str) -> random.Random:
        """Dice of their own for each part, so that one more throw here changes nothing there."""
        return random.Random(f"{self.seed}/{self.shape.name}/{what}")

    def _now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.now_s)

    def _store_now(self) -> datetime:
        """Kubernetes tells whole seconds."""
        now = self._now() + timedelta(seconds=self._skew_s)
        return now if self.shape is Shape.ONE else now.replace(microsecond=0)

    def set_the_clock(self) -> None:
        """Somebody sets the clock of the store's machine."""
        self._skew_s += self._clocks.uniform(*CLOCK_JUMP_S)
        self.witness.happened("the store's clock jumps")

    def _build_railway(self, rng: random.Random) -> None:
        faults = FatedFaults.of(weather.plan(rng))
        faults.fate = self.fate
        pace = replace(Pace(), answer_s=rng.choice(ANSWERS_S))
        clock = lambda: self._now().timestamp()  # noqa: E731
        self.world = StormWorld(clock, rng, pace=pace, faults=faults)
        kind: TokenKind = rng.choice(("project", "workspace"))
        environment = self.world.found({kind: TOKEN})
        self.writer = Writer(self.world, self.witness)
        self.house = AgentHouse(self.world, self.writer)
        self.acts = Acts(self.world, self.house)
        token = self.world.tokens[TOKEN]
        simulated = SimulatedRailway(self.world, token, environment, self.writer)
        self.where = RailwayRef(
            endpoint=ENDPOINT,
            project_id=environment.project_id,
            environment_id=environment.id,
        )
        # The product's own client over the simulator's GraphQL is dear: some seeds have it, most do not.
        self._by_graphql = rng.random() < GRAPHQL_SHARE
        if (
            self._by_graphql
        ):  # Half a list can only be told in full there: often, so that it is believed.
            faults.plan.rates["halfPage"] = weather.LOOK_RATE
        front = Front(self.world, self.writer, Budget(clock), Edge(clock))
        self._railway: Callable[[], Railway] = lambda: (
            self._client(front) if self._by_graphql else simulated
        )
        self._agents = SimulatedAgents(self.house, provision_timeout_s=HANDOVER_TIMEOUT_S)

    def _client(self, front: Front) -> Railway:
        """One process's own."""
        return RailwayClient(
            self.where.endpoint,
            TOKEN,
            self.where.project_id,
            self.where.environment_id,
            clock=self._now,
            transport=WiredHttp(front, self.network),
        )

    def take_census(self) -> None:
        """Ask every agent from outside what it says of itself."""
        world = self.world
        for service in list(world.services.values()):
            if service.gone_at is not None:
                continue
            for instance in world.instances_of(service.id):
                served = deploys.serving(instance, world.now)
                run = served[0].process if served and served[1] in deploys.UP else None
                ready = run is not None and run.ready_at is not None and run.ready_at <= world.now
                used = run is not None and run.provisioned
                said = run.conversation_id if run else None
                name = instance.variables.get("POOL_INSTANCE_ID", service.name)
                self.witness.say(Serves("agent", service.id, name, ready, used, said))

    # ---------------------------------------------------------------- pools

    def pools(self, rng: random.Random) -> list[AgentPool]:
        """One pool or two, small enough to run empty."""
        return [self._pool(f"pool{n}", rng) for n in range(rng.choice((1, 1, 2)))]

    def _pool(self, name: str, rng: random.Random) -> AgentPool:
        min_idle = rng.choice((1, 2, 3, 5))
        repo = Source(repo=RepoSource(name=REPO))
        source = rng.choice((Source(image="agents/convos:1"), repo))
        path = rng.choice((None, None, "/setup/healthz"))
        return a_pool(
            name=name,
            template=Template(source=source, healthcheck_path=path),
            min_idle=min_idle,
            max_total=min_idle + rng.choice((1, 2, 5, 8, 16)),
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

    def kill(self, process: Process, steps: int) -> None:
        """As SIGKILL, when the world has taken so many steps more."""
        if process.dead or self.weather.ended:
            return
        if steps:
            self.loop.call_soon(self.kill, process, steps - 1, context=Context())
        else:
            self.weather.kill(process)

    def end(self, process: Process) -> None:
        """As SIGTERM: it ends by itself, unless it is killed on its way."""
        sidecar = next((s for s in self.sidecars.values() if s.process is process), None)
        main = next(m for of, m in self.mains if of is process)
        if sidecar is not None:
            self.weather.ends += 1
            ending = process.start(sidecar.close())
        else:
            self.weather.ends += 1
            main.cancel()
            ending = main
        ending.add_done_callback(lambda _: self._ended(process), context=Context())
        self.witness.happened("ends", actor=process.name)

    def _ended(self, process: Process) -> None:
        if not (process.dead or self.weather.ended):
            process.die()

    def _process(self, slot: str, again: Callable[[str], None]) -> Process:
        self._starts += 1

        def died() -> None:
            self.witness.happened("dies", actor=process.name)
            after_s = self.chance(f"{process.name} dies").uniform(*RESTART_S)
            self.loop.call_later(after_s, self._again, again, slot, context=Context())

        process = Process(f"{slot}.{self._starts}", self.loop, died)
        self.witness.happened("starts", actor=process.name)
        return process

    def _again(self, start: Callable[[str], None], slot: str) -> None:
        if not self.weather.ended:
            start(slot)

    def _start_controller(self, slot: str) -> None:
        process = self.controllers[slot] = self._process(slot, self._start_controller)
        dice = self.chance(process.name)
        # Nobody's clock begins where another's does, or goes as fast.
        begun, pace = dice.uniform(0, 1000), dice.uniform(*CLOCK_PACE)
        installed = self.store.installation
        recipe = Recipe(
            owner_id=installed.owner_id,
            secrets=(installed.instance_secret,),
            instance_variables={"INSTANCE_ANTHROPIC_API_KEY": "model-canary-key"},
        )
        ports = Ports(
            StormRecords(self.store, self.shape, self.weather, self._lag),
            WiredRailway(self._railway(), self.network, straight=self._by_graphql),
            WiredAgents(self._agents, self.network),
            clock=lambda: begun + self.loop.now_s * pace,
            chance=dice,
        )
        charge = Charge(process.name, recipe, self.where, LIMITS)
        self.mains.append(
            (process, process.start(StormController(ports, charge, self.witness).run()))
        )

    def _start_sidecar(self, slot: str) -> None:
        process = self._process(slot, self._start_sidecar)
        records = StormRecords(self.store, self.shape, self.weather, self._lag)
        sidecar = self.sidecars[slot] = Sidecar(process, records, self.chance(process.name))
        self.mains.append((process, sidecar.main))
