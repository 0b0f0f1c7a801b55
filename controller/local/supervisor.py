"""Keeps the parts of one installation running: started in order, again when they die, stopped in reverse."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from controller.local.children import Child, bound_log

READY_PATIENCE_S = 60.0
STOP_PATIENCE_S = 10.0
LONG_ENOUGH_S = 60.0  # After so long a life the next death is the first again.
LOOK_AT_LOGS_S = 30.0
_LOOK_AGAIN_S = 0.05
_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class PartFailed(Exception):
    """A part ended before it was ready, or was not in time. `code` is its exit code."""

    def __init__(self, name: str, code: int | None, said: str) -> None:
        super().__init__(said or f"{name} did not start")
        self.code = code


class Part(Protocol):
    """Something that runs beside us."""

    @property
    def name(self) -> str: ...

    async def start(self) -> object:
        """Returns when it is ready. Raises PartFailed or SettingError when it will not be."""
        ...

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...

    async def stop(self) -> None: ...


@dataclass(slots=True)
class Program:
    """A part that is a program of ours; `ready` says whether it answers."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    log: Path
    ready: Callable[[], Awaitable[bool]]
    _child: Child | None = None

    async def start(self) -> None:
        began_at = self.log.stat().st_size if self.log.exists() else 0
        child = await Child.spawn(self.argv, env=self.env, log=self.log)
        self._child = child
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_PATIENCE_S):
                while child.ended is None:
                    if await self.ready():
                        return
                    await asyncio.sleep(_LOOK_AGAIN_S)
        await self.stop()
        raise PartFailed(self.name, child.ended, last_line(self.log, began_at))

    async def wait(self) -> int:
        if self._child is None:
            raise RuntimeError("not started")
        return await self._child.wait()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, patience_s=STOP_PATIENCE_S)


class Supervisor:
    """Runs parts. `say` tells a person what happened to them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._parts: list[Part] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, part: Part) -> None:
        """Start it and keep it running. Raises what its start raises."""
        self._parts.append(part)
        await part.start()
        self._keepers.append(asyncio.create_task(self._keep(part)))

    async def stop(self) -> None:
        """Stop all parts, the last one started first; whatever happens to one, the others are stopped."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for part in reversed(self._parts):
            try:
                await part.stop()
            except OSError as error:
                self._say(f"{part.name} could not be stopped: {error}")

    async def _keep(self, part: Part) -> None:
        deaths = 0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            code = await part.wait()
            deaths = 0 if clock() - began > LONG_ENOUGH_S else deaths
            while not await self._again(part, code, _BACK_OFF_S[min(deaths, len(_BACK_OFF_S) - 1)]):
                deaths += 1
            deaths += 1

    async def _again(self, part: Part, code: int | None, pause_s: float) -> bool:
        self._say(f"{part.name} ended ({_how(code)}); it is started again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        try:
            await part.start()
        except Exception as error:
            self._say(f"{part.name} does not start: {error}")
            return False
        self._say(f"{part.name} runs again")
        return True


async def bound_logs(folder: Path) -> None:
    """Keep the logs of running parts within their bound, for ever."""
    while True:
        for log in folder.glob("*.log"):  # noqa: ASYNC240 - a handful of names.
            bound_log(log)
        await asyncio.sleep(LOOK_AT_LOGS_S)


def last_line(log: Path, since: int = 0) -> str:
    """What a part said last, without the name of its command."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("agent-pool: ") if lines else ""


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
