"""Runs one seed: storm, then calm, with the laws checked after each step. The same seed, the same history."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.records import RecordsError
from api.records.memory import Shape
from controller.railway import RailwayError
from controller.railway.simulator.faults import Plan
from tests.storm import calm
from tests.storm.laws import Broken, judge
from tests.storm.processes import StormLoop
from tests.storm.stage import Stage
from tests.storm.users import Users

STORM_S = 75.0
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
    crashes: int
    stops: int
    met: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class StormBroke(AssertionError):
    """A law was broken: which, on which seed, its story, and how to see it again."""

    def __init__(self, seed: int, shape: Shape, broken: BaseException, story: str) -> None:
        self.broken = broken
        super().__init__(
            f"seed {seed}, shape {shape.name}: {type(broken).__name__} {broken}\n\n{story}\n\n"
            f"again: python -m tests.storm --seed {seed} --shape {shape.name}"
        )


def simulate(seed: int, shape: Shape) -> Result:
    """Raises StormBroke."""
    return Simulation(seed, shape).run()


class Simulation:
    """One seed's world, kept after the run for whoever wants to read its history."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self._seed, self._shape = seed, shape
        self._loop = StormLoop(self._step)
        self.stage = Stage(seed, shape, self._loop)
        self._users = Users(self.stage)
        self._met: Counter[str] = Counter()

    def _step(self) -> None:
        facts = self.stage.facts
        if facts.pending:
            for event in facts.take():
                judge(facts, event, self._met)

    def run(self) -> Result:
        with _listening() as ear:
            try:
                self._loop.run_until_complete(self._storm_then_calm())
                assert ear.bugs == []
                assert not any(task.done() for task in self.stage.mains), (
                    "a process ended by itself"
                )
            except Exception as error:
                names = error.names if isinstance(error, Broken) else ()
                story = self.stage.history.story(names)
                raise StormBroke(self._seed, self._shape, error, story) from error
            finally:
                self.stage.weather.ended = True
                self._loop.run_until_complete(self._loop.dispose())
                self._loop.close()
        return self._result()

    async def _storm_then_calm(self) -> None:
        stage, users = self.stage, self._users
        await users.found()
        stage.start(stage.chance("start"))
        stage.weather.meddle = users.meddle
        users.start(STORM_S)
        await self._strike_until(STORM_S)
        stage.weather.clear_up()
        stage.world.faults.replace(Plan())
        users.apply_again()
        stage.history.say("weather", (), "calm")
        await calm.comes_to_rest(stage.facts, users.customers)

    async def _strike_until(self, end_s: float) -> None:
        """What happens to processes between their hooks: at any await of theirs."""
        stage, rng = self.stage, self.stage.chance("strikes")
        while self._loop.time() < end_s:
            await asyncio.sleep(min(rng.expovariate(1 / 15), end_s - self._loop.time()))
            process = rng.choice(stage.processes())
            if stage.weather.rates.crash and rng.random() < 0.5 and not process.dead:
                stage.weather.kill(process)
            elif stage.weather.rates.stop and process.runs:
                stage.weather.halt(process)
            self._users.meddle()

    def _result(self) -> Result:
        stage = self.stage
        return Result(
            seed=self._seed,
            digest=stage.history.digest,
            steps=self._loop.steps,
            simulated_s=self._loop.now_s,
            crashes=stage.weather.crashes,
            stops=stage.weather.stops,
            met=self._met,
            counts=Counter(stage.facts.counts),
        )


class _Ear(logging.Handler):
    """Hears of passes that failed, and of tasks that ended, by what is no trouble of the outside: bugs."""

    def __init__(self) -> None:
        super().__init__()
        self.bugs: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = record.getMessage()
        if record.levelno >= logging.ERROR or not any(name in told for name in TROUBLE):
            self.bugs.append(f"{record.name}: {told}")


@contextmanager
def _listening() -> Iterator[_Ear]:
    """The product logs every trouble that the storm makes; only a bug is worth telling."""
    ear, loggers = _Ear(), {name: logging.getLogger(name) for name in ("controller", "api", QUEUE)}
    before = {name: (logger.level, logger.propagate) for name, logger in loggers.items()}
    for name, logger in loggers.items():
        logger.setLevel(logging.WARNING if name == QUEUE else logging.ERROR)
        logger.propagate = False
        logger.addHandler(ear)
    try:
        yield ear
    finally:
        for name, logger in loggers.items():
            logger.setLevel(before[name][0])
            logger.propagate = before[name][1]
            logger.removeHandler(ear)
