"""One storm from start to verdict: everything up, claims and misfortunes, calm, rest, and a history."""

import asyncio
import contextlib
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.storm.chaos import Chaos
from tests.end_to_end.storm.clients import Clients
from tests.end_to_end.storm.people import People
from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.rest import census, until_rest
from tests.end_to_end.storm.stage import Stage

HANDOVER_TIMEOUT_S = 3
MOST = (
    0.75  # Of the clients are answered in the storm itself; the others show that calm serves all.
)
ANSWERED_WITHIN_S = (
    300.0  # Of calm: how long anybody may still wait. Generous: the machine is busy.
)
REST_WITHIN_S = 300.0
MORE = ("is compacted", "gets a new token", "has its old token rejected")
BUILD = Path("build")  # Histories stay there, and logs for who asks what a broken one was.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How large a storm is. `warm`: agents that are idle before it begins."""

    claims: int = 1000
    seed: int = 1
    warm: int = 60
    every_s: float = 4.0  # A misfortune, on average.
    misfortunes: int = 20  # At the least; they go on until most clients are answered.

    @property
    def variables(self) -> dict[str, str]:
        """Of `agent-pool up`. Room for what failed, was used by strangers, or stays after a release."""
        return {
            "POOL_MIN_IDLE": "0",  # Nothing is made before its history is kept.
            "POOL_MAX_TOTAL": str(2 * self.claims + 2 * self.warm),
            "HANDOVER_TIMEOUT": f"{HANDOVER_TIMEOUT_S}s",
            "TICK_INTERVAL_MS": "3000",
            "PROBE_INTERVAL": "5s",
            "CREATE_CONCURRENCY": "60",
            "RAILWAY_SOURCE_IMAGE": "ghcr.io/x/agent:1",
            "INSTANCE_ANTHROPIC_API_KEY": "provider-canary-key",  # No log may tell these (law 10).
            "POOL_API_KEY": "api-canary-key",
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What happened, for one line of print."""

    plan: Plan
    answers: dict[str, int]  # By status.
    kills: dict[str, int]
    stops: dict[str, int]
    cuts: dict[str, int]
    more: dict[str, int]
    seconds: dict[str, float]  # Of each part of the run.
    lines: int
    history: Path

    def __str__(self) -> str:
        def told(counts: dict[str, int] | dict[str, float]) -> str:
            return ", ".join(f"{name} {round(count)}" for name, count in counts.items()) or "none"

        return (
            f"seed {self.plan.seed}: {self.plan.claims} claims; answers: {told(self.answers)};"
            f" kills: {told(self.kills)}; stops: {told(self.stops)}; cuts: {told(self.cuts)};"
            f" {''.join(f'{what}: {count}; ' for what, count in self.more.items())}"
            f"seconds: {told(self.seconds)}; {self.lines} lines in {self.history}"
        )


class Storm:
    """`run()` on a stage that nothing has happened on. `say`: what goes on, for a progress line."""

    def __init__(self, stage: Stage, plan: Plan, say: Say = lambda _: None) -> None:
        self._stage, self._plan, self._say = stage, plan, say
        self.recorder = Recorder()
        self._seconds: dict[str, float] = {}

    async def run(self) -> Result:
        """Raises AssertionError where somebody is never answered, or nothing comes to rest."""
        with self._timed("start"):
            await self._stage.start()
        clients = Clients(self._stage, self.recorder, self._plan.seed)
        try:
            await self._storm(clients)
            with self._timed("rest"):
                await until_rest(self._stage, REST_WITHIN_S, lambda w: self._say(f"calm: {w}"))
            with self._timed("census"):
                await census(self._stage, self.recorder)
                self.recorder.happened("everybody", "rest")
        finally:
            try:
                result = await self._result()  # Kept also where it did not come to rest.
            finally:
                await clients.close()
                await self._stage.stop()
        return result

    async def _storm(self, clients: Clients) -> None:
        plan = self._plan
        rng = random.Random(f"storm {plan.seed}")
        chaos = Chaos(self._stage, self.recorder, clients, rng)
        people = People(self._stage, self.recorder, random.Random(f"people {plan.seed}"), plan.warm)
        with self._timed("warming"):
            await people.set_up(rng.choice(("Retain", "Delete")))
            await self._stage.until(within_s=120, idle=plan.warm)
        async with _beside(people.meddle()), _beside(self._tell()):
            within_s = plan.misfortunes * plan.every_s / 2
            coming = asyncio.create_task(clients.come(plan.claims, within_s))
            with self._timed("storm"):
                await chaos.rage(
                    plan.misfortunes,
                    plan.every_s,
                    lambda: len(clients.answered) >= plan.claims * MOST,
                )
        with self._timed("calming"):
            await chaos.calm()
            await people.leave()
        async with _beside(self._tell()):
            with self._timed("answers"):
                try:
                    async with asyncio.timeout(ANSWERED_WITHIN_S):
                        await coming
                except TimeoutError:
                    left = plan.claims - len(clients.answered)
                    said = f"{left} clients have no answer after {ANSWERED_WITHIN_S:.0f} s of calm"
                    raise AssertionError(said) from None

    async def _tell(self) -> None:
        while True:
            counts = self.recorder.counts
            done = {k.removeprefix("answered "): v for k, v in counts.items() if "answered" in k}
            self._say(f"{counts['asked']} asked, answered {done}")
            await asyncio.sleep(1)

    async def _result(self) -> Result:
        name = f"storm-{self._stage.records}-{self._plan.claims}-{self._plan.seed}.jsonl"
        path = BUILD / name
        lines = await self.recorder.keep(self._stage, path)
        shutil.copytree(self._stage.logs, path.with_suffix(".logs"), dirs_exist_ok=True)
        told = self.recorder.total
        return Result(
            plan=self._plan,
            answers=told("answered"),
            kills=told("dies"),
            stops=told("stops"),
            cuts=told("connections cut") | told("is cut off"),
            more={what: sum(told(what).values()) for what in MORE if told(what)},
            seconds=self._seconds,
            lines=lines,
            history=path,
        )

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._seconds[what] = time.monotonic() - began


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Until the block is over."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def verdict(history: Path) -> str:
    """What the laws say of it. Raises AssertionError with the story where one is broken."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.history", str(history)),
        *("--handover", str(HANDOVER_TIMEOUT_S)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{history}: {said}"
    return said
