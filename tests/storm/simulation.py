"""Runs one seed: storm, then calm, with the laws checked after each step. The same seed, the same history."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.records import RecordsError
from api.records.memory import Shape
from controller.railway import RailwayError
from controller.railway.simulator.faults import Plan
from tests.history.checker import LAWS, Checker
from tests.history.facts import Facts
from tests.history.laws import Broken, Law
from tests.history.story import story
from tests.storm import calm
from tests.storm.awaits import Site, crash_of
from tests.storm.fate import Fate, Mute
from tests.storm.hands import Hands
from tests.storm.processes import ACTOR, Process, StormLoop
from tests.storm.stage import Stage
from tests.storm.users import Users
from tests.storm.weather import HANDOVER_TIMEOUT_S

STORM_S = 75.0
STEPS_TO_DIE = 20
NOTHING = Mute()
QUEUE = "controller.workqueue"  # Says at WARNING of what a pass has died.
TROUBLE = tuple(
    kind.__name__
    for base in (RecordsError, RailwayError)
    for kind in (base, *base.__subclasses__())
)


@dataclass(slots=True)
class Result:
    """What one seed came to. `met`: how often each law was put to the test."""

    seed: int
    digest: str
    steps: int
    simulated_s: float
    met: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    crashed_at: Counter[Site] = field(default_factory=Counter)


class StormBroke(AssertionError):
    """A law was broken: which, on which seed, and its story."""

    def __init__(self, seed: int, shape: Shape, broken: BaseException, told: str) -> None:
        self.seed, self.shape, self.broken, self.story = seed, shape, broken, told
        super().__init__(f"seed {seed}, shape {shape.name}: {type(broken).__name__} {broken}")

    @property
    def law(self) -> str:
        """The law's name; of a bug, the kind of its error."""
        return self.broken.law if isinstance(self.broken, Broken) else type(self.broken).__name__


def shape_of(seed: int) -> Shape:
    """Both in turn."""
    return list(Shape)[seed % 2]


def simulate(seed: int, shape: Shape | None = None) -> Result:
    """Raises StormBroke."""
    return Simulation(seed, shape or shape_of(seed)).run()


class Simulation:
    """One seed's world, kept after the run for whoever wants to read its history."""

    def __init__(
        self, seed: int, shape: Shape, mute: Mute = NOTHING, laws: Sequence[Law] = LAWS
    ) -> None:
        self._seed, self._shape = seed, shape
        self.fate = Fate(mute)
        self._loop = StormLoop(self._step, random.Random(f"{seed}/{shape.name}/schedule"))
        self.stage = Stage(seed, shape, self._loop, self.fate)
        self._users = Users(self.stage)
        self._hands = Hands(self.stage, self._users.pools)
        self.checker = Checker(Facts(HANDOVER_TIMEOUT_S), laws)
        self._judged = 0
        self.stage.weather.killing = self._killing
        self._crashed_at: Counter[Site] = Counter()
        self._between = 0

    def _step(self) -> None:
        lines = self.stage.witness.lines
        if self.stage.weather.ended:  # Judged already; what is torn down breaks what it likes.
            return
        while self._judged < len(lines):
            self._judged += 1
            self.checker.see(lines[self._judged - 1])

    def _killing(self, process: Process) -> None:
        crash = crash_of(process)
        self._crashed_at.update(crash.sites)
        self._between += crash.between

    def run(self) -> Result:
        """Raises StormBroke."""
        with _listening(self.stage) as ear:
            try:
                self._loop.run_until_complete(self._storm_then_calm())
                assert ear.bugs == []
                ended = [
                    process.name for process, main in self.stage.mains if _ended(process, main)
                ]
                assert ended == [], "a process ended by itself"
            except Exception as error:
                names = error.names if isinstance(error, Broken) else ()
                told = story(self.stage.witness.lines, names)
                raise StormBroke(self._seed, self._shape, error, told) from error
            finally:
                self.stage.weather.ended = True
                self._loop.run_until_complete(self._loop.dispose())
                self._loop.close()
        return self._result()

    async def _storm_then_calm(self) -> None:
        stage, users = self.stage, self._users
        await users.found()
        stage.start(stage.chance("start"))
        stage.weather.meddle = self._hands.meddle
        users.start(STORM_S)
        await self._strike_until(STORM_S)
        stage.weather.clear_up()
        stage.world.faults.replace(Plan())
        self._hands.apply_again()
        stage.witness.happened("calm")
        await calm.comes_to_rest(self.checker.facts, users.customers)
        if self._hands.visit_late():
            await calm.comes_to_rest(self.checker.facts, users.customers)
        stage.take_census()
        stage.witness.happened("rest")
        self._step()

    async def _strike_until(self, end_s: float) -> None:
        """What happens to processes between their hooks: at any await of theirs."""
        stage, rng = self.stage, self.stage.chance("strikes")
        while self._loop.time() < end_s:
            await asyncio.sleep(min(rng.expovariate(1 / 15), end_s - self._loop.time()))
            process, luck = rng.choice(stage.processes()), rng.random()
            if self.fate.befalls("strike"):
                steps = rng.randrange(STEPS_TO_DIE)
                if stage.weather.rates.crash and luck < 0.4:
                    stage.kill(process, steps)
                elif luck < 0.6 and process.runs:
                    stage.end(process)
                    if stage.weather.rates.crash and luck < 0.5:
                        stage.kill(process, steps)
                elif stage.weather.rates.stop and process.runs:
                    stage.weather.halt(process)
            if self.fate.befalls("meddle"):
                self._hands.meddle()

    def _result(self) -> Result:
        weather = self.stage.weather
        counts = Counter(self.checker.facts.counts)
        counts += Counter(
            crashes=weather.crashes,
            stops=weather.stops,
            ends=weather.ends,
            crashes_between=self._between,
            misfortunes=len(self.fate.happened),
        )
        return Result(
            seed=self._seed,
            digest=self.stage.witness.digest,
            steps=self._loop.steps,
            simulated_s=self._loop.now_s,
            met=self.checker.met,
            counts=counts,
            crashed_at=self._crashed_at,
        )


def _ended(process: Process, main: "asyncio.Task[None]") -> bool:
    return main.done() and not process.dead


class _Ear(logging.Handler):
    """Hears all that is logged, for law 10; and of passes that failed, and tasks that ended, by what is no
    trouble of the outside: bugs."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.bugs: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = record.getMessage()
        self._stage.witness.said(ACTOR.get(), told)
        loud = record.levelno >= logging.ERROR or (
            record.name == QUEUE and record.levelno >= logging.WARNING
        )
        if loud and (record.levelno >= logging.ERROR or not any(name in told for name in TROUBLE)):
            self.bugs.append(f"{record.name}: {told}")


@contextmanager
def _listening(stage: Stage) -> Iterator[_Ear]:
    """The product's logs go to us alone."""
    ear, loggers = _Ear(stage), [logging.getLogger(name) for name in ("controller", "api")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(ear)
    try:
        yield ear
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
            logger.removeHandler(ear)
