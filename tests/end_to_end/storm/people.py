"""People who meddle: they claim by hand, resize the pool, delete services, and use agents unasked."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import aiohttp

from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import Stage

EVERY_S = (1.0, 3.0)


class People:
    """`meddle()` until it is cancelled."""

    def __init__(self, stage: Stage, recorder: Recorder, rng: random.Random, min_idle: int) -> None:
        self._stage, self._recorder, self._rng = stage, recorder, rng
        self._min_idle = min_idle
        self._claims = 0
        self._acts: tuple[Callable[[], Awaitable[str]], ...] = (
            self._claim,
            self._claim,
            self._claim,
            self._resize,
            self._mend,
            self._delete_service,
            self._use_agent,
            self._restart_agent,
        )

    async def meddle(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(*EVERY_S))
            # AssertionError: the simulator refuses the act; the service is gone, or nothing of it runs.
            with contextlib.suppress(aiohttp.ClientError, AssertionError, *self._stage.outside):
                async with asyncio.timeout(10):
                    what = await self._rng.choice(self._acts)()
                self._recorder.happened("somebody", what)

    async def set_up(self, policy: str) -> None:
        """Before the storm."""
        await self._stage.set_up(self._min_idle, policy)

    async def leave(self) -> None:
        """The pool has the size again that it began with, and a template that never failed."""
        await self._mend()
        await self._stage.resize(self._min_idle)

    async def _claim(self) -> str:
        """Two of three are released soon, half of these under Delete."""
        self._claims += 1
        name = f"row-{self._claims}"
        policy = self._rng.choice(("Retain", "Delete"))
        await self._stage.claim_by_hand(name, f"Serve wish of row {self._claims}.", policy)
        if self._rng.random() < 0.7:
            await asyncio.sleep(self._rng.choice((0.1, 3.0)))
            await self._stage.release_by_hand(name)
            return "claims by hand and releases"
        return "claims by hand"

    async def _resize(self) -> str:
        await self._stage.resize(self._rng.randint(self._min_idle // 2, self._min_idle * 3 // 2))
        return "resizes the pool"

    async def _mend(self) -> str:
        """As many failures as `minIdle` stop a template; whoever sees that gives it another one."""
        await self._stage.change_image(f"ghcr.io/x/agent:{self._rng.randint(2, 1_000_000)}")
        return "changes the template"

    async def _act(self, act: str, *, idle: bool = False) -> None:
        if service := await self._stage.some_service(self._rng, idle=idle):
            await self._stage.simulator("POST", "/_acts", {"act": act, "service": service})

    async def _delete_service(self) -> str:
        await self._act("delete-service")
        return "deletes a service"

    async def _use_agent(self) -> str:
        await self._act("use-agent", idle=True)
        return "uses an idle agent"

    async def _restart_agent(self) -> str:
        await self._act("restart-agent")
        return "restarts an agent"
