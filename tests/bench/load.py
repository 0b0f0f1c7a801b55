"""Clients of the REST door: as they come (Poisson), all at once, or so many that each ask again and again."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import aiohttp

from tests.bench.rig import Rig

POISSON_SEED = 1
Ask = Callable[[int], Awaitable[bool]]  # The n-th claim, to its answer; whether it was a good one.
INSTRUCTIONS = "You are a helpful trip planner for Tokyo. " * 5  # About 200 characters.


@dataclass(slots=True)
class Load:
    """What came of it. `times`: seconds each answered claim took, in the order of their answers."""

    times: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)  # By part, while it ran.

    def quantile_ms(self, q: float) -> float:
        ranked = sorted(self.times)
        return 1000 * ranked[min(len(ranked) - 1, int(q * len(ranked)))] if ranked else 0.0

    @property
    def per_s(self) -> float:
        return len(self.times) / self.wall_s if self.wall_s else 0.0

    @property
    def cpu_per_claim_ms(self) -> float:
        return 1000 * sum(self.cpu_s.values()) / max(1, len(self.times))

    def shares(self) -> dict[str, float]:
        """Of the CPU of a claim, by part."""
        whole = sum(self.cpu_s.values()) or 1.0
        return {part: seconds / whole for part, seconds in self.cpu_s.items()}


class Clients:
    """Over one rig. Each claim goes to the next of its sidecars, or as `ask` makes it."""

    def __init__(self, rig: Rig, *, qr: bool = False, ask: Ask | None = None) -> None:
        self._rig = rig
        self._qr = qr
        self._ask = ask or self._at_a_door
        self._numbers = itertools.count()
        self._doors: Iterator[str] = itertools.cycle(rig.doors)

    async def one_by_one(self, count: int) -> Load:
        return await self.saturate(count, clients=1)

    async def poisson(self, per_s: float, for_s: float) -> Load:
        """Open loop: they come when they come, however long the others take."""
        dice, at, arrivals = random.Random(POISSON_SEED), 0.0, []
        while (at := at + dice.expovariate(per_s)) < for_s:
            arrivals.append(at)

        async def all_of_them(load: Load) -> None:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for arrival in arrivals:
                    await asyncio.sleep(max(0.0, began + arrival - time.perf_counter()))
                    group.create_task(self._claim(load))

        return await self._measured(all_of_them)

    async def burst(self, count: int) -> Load:
        """All at once."""

        async def all_of_them(load: Load) -> None:
            await asyncio.gather(*(self._claim(load) for _ in range(count)))

        return await self._measured(all_of_them)

    async def saturate(self, count: int, clients: int) -> Load:
        """Closed loop: each client asks anew as soon as it was answered."""
        left = iter(range(count))

        async def all_of_them(load: Load) -> None:
            async def client() -> None:
                for _ in left:
                    await self._claim(load)

            await asyncio.gather(*(client() for _ in range(clients)))

        return await self._measured(all_of_them)

    async def _measured(self, work: Callable[[Load], Awaitable[None]]) -> Load:
        load, before = Load(), self._rig.cpu()
        began = time.perf_counter()
        await work(load)
        load.wall_s = time.perf_counter() - began
        load.cpu_s = {part: now - before[part] for part, now in self._rig.cpu().items()}
        return load

    async def _claim(self, load: Load) -> None:
        began = time.perf_counter()
        if await self._ask(next(self._numbers)):
            load.times.append(time.perf_counter() - began)
        else:
            load.failed += 1

    async def _at_a_door(self, number: int) -> bool:
        body = {"agentId": f"agent-{number}", "instructions": INSTRUCTIONS}
        url = next(self._doors) + "/api/pool/claim" + ("" if self._qr else "?qr=none")
        try:
            async with self._rig.http.post(url, json=body) as response:
                await response.read()
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
