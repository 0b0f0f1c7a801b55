"""Runs one seed: storm, then calm, with the laws checked after each step. The same seed, the same history."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.records.memory import Shape
from controller.railway.simulator.faults import Plan
from tests.storm import calm
from tests.storm.laws import Broken, judge
from tests.storm.processes import StormLoop
from tests.storm.stage import Stage
from tests.storm.users import Users

STORM_S = 75.0


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
        with _quiet_logs():
            try:
                self._loop.run_until_complete(self._storm_then_calm())
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


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """The product logs every failure that the storm makes; the story tells what matters."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
