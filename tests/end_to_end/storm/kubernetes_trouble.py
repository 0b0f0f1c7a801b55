"""What befalls an installation on Kubernetes: outages, compactions, tokens that end, lines that are cut."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from controller.local.apiserver import ETCD, SERVER, LocalApiServer
from tests.end_to_end.storm.stage import Tell
from tests.sockets import Line

OURS = ("controller", "controller-2", "api", "api-2")
CUT_OFF_S = (5.3, 8.0)  # Longer than a lease lasts.


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, all of it at least once; for how long the API server and etcd are stopped."""

    deck: tuple[str, ...]
    server_s: float
    etcd_s: float


FULL = Trouble(
    (
        *("kill controller", "kill controller-2") * 10,
        *("kill api", "kill api-2", "kill simulator"),
        *("stop controller", "stop controller-2", "stop api-2", f"stop {ETCD}"),
        *("outage server", "compact history", "compact history"),
        *(f"rotate {part}" for part in OURS),
        *("cut clients", "cut-off controller", "cut-off controller-2", "cut-off api"),
    ),
    server_s=30.0,
    etcd_s=10.0,
)
BRIEF = Trouble(
    (
        *("kill controller", "kill controller-2", "kill api"),
        *(f"stop {ETCD}", "outage server", "compact history"),
        *("rotate controller", "cut-off controller-2", "cut clients"),
    ),
    server_s=6.0,
    etcd_s=5.0,
)


class Troubles:
    """`begin` one; it takes its time, and meanwhile the next may come. `calm()`: until all are over.

    `rotate` gives a part a new token and ends the old one; what it returns waits until that is rejected.
    """

    def __init__(
        self,
        server: LocalApiServer,
        lines: Mapping[str, Line],
        outage_s: float,
        rotate: Callable[[str, Tell], Awaitable[Awaitable[None]]],
    ) -> None:
        self._server, self._lines, self._outage_s = server, lines, outage_s
        self._rotate = rotate
        self._alone = asyncio.Lock()  # One at a time does something to the server.
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, what: str, whom: str, rng: random.Random, tell: Tell) -> None:
        task = asyncio.create_task(self._act(what, whom, rng, tell))
        self._tasks.add(task)

    def _act(
        self, what: str, whom: str, rng: random.Random, tell: Tell
    ) -> Coroutine[Any, Any, None]:
        if what == "outage":
            return self._outage(tell, frozen=rng.random() < 0.5)
        if what == "compact":
            return self._compact(tell)
        if what == "rotate":
            return self._new_token(whom, tell)
        if what == "cut-off":
            return self._cut_off(whom, tell, rng.uniform(*CUT_OFF_S))
        raise ValueError(f"{what} {whom}")

    async def calm(self) -> None:
        """Raises what went wrong with what should go wrong."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _outage(self, tell: Tell, *, frozen: bool) -> None:
        """Frozen: nobody is answered; else nobody is there."""
        async with self._alone:
            tell(SERVER, "stops", "frozen" if frozen else "killed")
            if frozen:
                pid = self._server.pids[SERVER]
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(self._outage_s)
                os.kill(pid, signal.SIGCONT)
            else:
                await self._server.kill(SERVER)
                await asyncio.sleep(self._outage_s)
            await self._server.start()
            tell(SERVER, "goes on")

    async def _compact(self, tell: Tell) -> None:
        """Who watches must list anew: etcd has forgotten, and so has the server, which is a new one."""
        async with self._alone:
            revision = await self._server.compact()
            tell("history", "is compacted", str(revision))
            tell(SERVER, "dies")
            await self._server.kill(SERVER)
            await self._server.start()

    async def _new_token(self, part: str, tell: Tell) -> None:
        async with self._alone:
            rejected = await self._rotate(part, tell)
        await rejected

    async def _cut_off(self, part: str, tell: Tell, span_s: float) -> None:
        """From the API server alone: it goes on, and sees Railway and agents."""
        tell(part, "is cut off")
        await self._lines[part].cut()
        await asyncio.sleep(span_s)
        await self._lines[part].mend()
        tell(part, "is back")
