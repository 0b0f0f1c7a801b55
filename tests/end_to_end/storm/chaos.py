"""What goes wrong, by a seed: who is killed, frozen or cut off next, and when; then everything runs again.

A stop outlasts the lease (5 s), and so HANDOVER_TIMEOUT as well, which is 3 s in a storm.
"""

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Iterator, Sequence

import aiohttp
import psutil

from tests.end_to_end.storm.clients import Clients
from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import Stage
from tests.storm.weather import AGENT_FAULTS, API_FAULTS, DEPLOY_FAULTS

STOP_S = (5.3, 7.0)
ABATES = (
    1.5  # On a slow machine whoever leads would be killed for ever before it has bound anything.
)
# These cost the most time: each rateLimited stops all creating for 2 s, one drift may be believed for long.
COSTLY = ("rateLimited", "drift", "serviceDeleted", "deployStuck", "neverReady")
FAULTS_AGAIN_S = 1.0  # A simulator that was started again has forgotten what it should do wrong.


def misfortunes(deck: Sequence[str], rng: random.Random) -> Iterator[list[str]]:
    """`kill controller`, `stop api-2`, `cut clients`: all of the deck in any order, and again, for ever."""
    while True:
        yield from (what.split() for what in rng.sample(deck, k=len(deck)))


def rates(rng: random.Random) -> dict[str, float]:
    """Each seed has its own weather, of each kind something."""
    chosen: dict[str, float] = {}
    for names, most in ((API_FAULTS, 0.04), (DEPLOY_FAULTS, 0.02), (AGENT_FAULTS, 0.06)):
        for name in rng.sample(names, k=max(2, len(names) * 2 // 3)):
            chosen[name] = rng.uniform(most / 4, most)
    for name in COSTLY:
        if name in chosen:
            chosen[name] /= 10
    return chosen


class Chaos:
    """`rage(...)` until it is enough; `calm()` lets everything run again."""

    def __init__(
        self, stage: Stage, recorder: Recorder, clients: Clients, rng: random.Random
    ) -> None:
        self._stage, self._recorder, self._clients = stage, recorder, clients
        self._rng = rng
        self._stopped: dict[str, list[psutil.Process]] = {}
        self._thaws: set[asyncio.Task[None]] = set()
        self.rates = rates(rng)

    async def rage(self, at_least: int, every_s: float, enough: Callable[[], bool]) -> None:
        """A misfortune about that often, so many at least; then more seldom, until it is enough, or as many
        again have come. Faults all the while."""
        faults = asyncio.create_task(self._keep_faults())
        try:
            for number, (what, whom) in enumerate(misfortunes(self._stage.deck, self._rng)):
                if number >= at_least and (enough() or number >= 2 * at_least):
                    return
                pause_s = every_s if number < at_least else every_s * ABATES
                await asyncio.sleep(self._rng.uniform(0.2, 1.8) * pause_s)
                await self._befall(what, whom)
        finally:
            faults.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await faults  # Raises what ended it early: a storm without faults proves little.

    async def calm(self) -> None:
        """No more faults, nobody stopped, every process there."""
        await asyncio.gather(*self._thaws)
        async with asyncio.timeout(120):
            while not all(self._stage.family(part) for part in self._stage.parts):
                await asyncio.sleep(0.1)
            while not await self._set_faults({}):
                await asyncio.sleep(0.2)
        await self._stage.until_reachable()
        self._recorder.happened("everybody", "calm")

    # ---------------------------------------------------------------- one misfortune

    async def _befall(self, what: str, whom: str) -> None:
        if what == "kill":
            await self._kill(whom)
        elif what == "stop":
            await self._stop(whom)
        elif whom == "clients":
            self._recorder.happened("clients", "connections cut", str(self._clients.cut(self._rng)))
        else:
            await self._stage.befall(what, whom, self._rng, self._recorder.happened)

    async def _kill(self, part: str) -> None:
        """-9, of all its processes; whoever was stopped dies as well."""
        family = await self._family(part)
        self._recorder.happened(part, "dies")
        _signal(family, signal.SIGKILL)
        self._stopped.pop(part, None)

    async def _stop(self, part: str) -> None:
        family = await self._family(part)
        if part in self._stopped:
            return
        self._stopped[part] = family
        self._recorder.happened(part, "stops")
        _signal(family, signal.SIGSTOP)
        span_s = self._rng.uniform(*self._stage.stops.get(part, STOP_S))
        task = asyncio.create_task(self._thaw(part, family, span_s))
        self._thaws.add(task)
        task.add_done_callback(self._thaws.discard)

    async def _family(self, part: str) -> list[psutil.Process]:
        """Once it runs: it may just have died."""
        async with asyncio.timeout(60):
            while not (family := self._stage.family(part)):
                await asyncio.sleep(0.05)
        return family

    async def _thaw(self, part: str, family: Sequence[psutil.Process], after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
        finally:
            _signal(family, signal.SIGCONT)
        if self._stopped.get(part) == family:
            del self._stopped[part]
            self._recorder.happened(part, "goes on")

    # ---------------------------------------------------------------- Railway and agents

    async def _keep_faults(self) -> None:
        while True:
            await self._set_faults(self.rates)
            await asyncio.sleep(FAULTS_AGAIN_S)

    async def _set_faults(self, wanted: dict[str, float]) -> bool:
        """Not again where they stand: the dice would start anew."""
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
            async with asyncio.timeout(5):
                now = await self._stage.simulator("GET", "/_faults")
                if now["rates"] != wanted:
                    plan = {"seed": self._rng.getrandbits(32), "rates": wanted}
                    await self._stage.simulator("PUT", "/_faults", plan)
                return True
        return False


def _signal(family: Sequence[psutil.Process], signum: signal.Signals) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signum)
