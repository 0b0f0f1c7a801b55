"""One installation for a bench: a store (fsync on), a fleet of warm agents, controllers and sidecars."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp
import psutil

from tests.bench.bare import fill
from tests.bench.fleet import (
    ENVIRONMENT,
    PROJECT,
    VARIABLES,
    Fleet,
    Member,
    ended_claim,
    recipe_of,
)
from tests.bench.stores import PostgresStore, Store, used
from tests.builders import a_pool
from tests.end_to_end.system import free_ports

READY_WITHIN_S = 180.0  # Of ten thousand on a busy machine; hundreds take seconds.
KEY = "bench-key-of-enough-length"
TOKEN = "bench-token"


class Rig:
    """`async with Rig(controllers=1, sidecars=1, idle=300) as rig:`; `grow(n)` adds warm agents.

    `store`: Postgres unless another is given."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        controllers: int = 1,
        sidecars: int = 1,
        idle: int = 0,
        ended: int = 0,
    ) -> None:
        self.store = store or PostgresStore()
        self._wanted = ("controller",) * controllers + ("api",) * sidecars
        self._idle, self._ended = idle, ended
        self._folder = TemporaryDirectory(prefix="agent-pool-bench-")
        self._programs: list[tuple[str, asyncio.subprocess.Process]] = []
        ports = free_ports(2)
        self._agents_port, self._railway_port = ports[0], ports[1]
        self.doors: list[str] = []
        self.ops: dict[str, str] = {}
        self.size = 0

    async def __aenter__(self) -> Self:
        self._folder.__enter__()
        Path(self._folder.name).chmod(0o711)  # Postgres may run as another user.
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for _name, process in reversed(self._programs):
            if process.returncode is None:
                process.kill()
                await process.wait()
        if hasattr(self, "http"):
            await self.http.close()
        await self.store.stop()
        self._folder.cleanup()

    # ---------------------------------------------------------------- its parts

    async def _start(self) -> None:
        await self.store.start(Path(self._folder.name))
        self.records = self.store.records
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=aiohttp.ClientTimeout(total=150),
        )
        ports = ("--agents-port", str(self._agents_port), "--railway-port", str(self._railway_port))
        await self._spawn("outside", [sys.executable, "-m", "tests.bench.outside", *ports], {})
        await self._until_it_answers(f"http://127.0.0.1:{self._railway_port}/_counts")
        recipe = recipe_of(await self.records.installation())
        self.fleet = Fleet(recipe, self.endpoint, self._agents_port)
        # Wants none and may have many: nothing is created while a bench runs, nothing taken away.
        wide = a_pool(namespace=self.store.namespace, min_idle=0, max_total=10_000)
        self.pool = await self.records.create_pool(wide)
        await self.grow(self._idle)
        if self._ended:
            await self.store.put_ended(self._ended, ended_claim())
        for part in self._wanted:
            await self._start_part(part)
        await asyncio.gather(
            *(self._until_it_answers(f"{url}/readyz") for url in self.ops.values())
        )
        if self.doors:
            await self.look()

    async def _start_part(self, part: str) -> None:
        port, ops_port = free_ports(2)
        name = f"{part}-{sum(name.startswith(part) for name, _ in self._programs) + 1}"
        argv, on_it = await self.store.program(part)
        given = {
            **on_it,
            "POOL_API_KEY": KEY,
            "PORT": str(port),
            "API_OPS_PORT": str(ops_port),
            "CONTROLLER_OPS_PORT": str(ops_port),
            "RAILWAY_API_TOKEN": TOKEN,
            "RAILWAY_ENDPOINT": self.endpoint,
            "RAILWAY_PROJECT_ID": PROJECT,
            "RAILWAY_ENVIRONMENT_ID": ENVIRONMENT,
            "AGENT_SCHEME": "http",
            **VARIABLES,
        }
        await self._spawn(name, argv, given)
        self.ops[name] = f"http://127.0.0.1:{ops_port}"
        if part == "api":
            self.doors.append(f"http://127.0.0.1:{port}")

    async def start_bare(self, members: Sequence[Member]) -> None:
        """The floor's chain over these agents, as the one door of this rig."""
        await fill(self.dsn, [member.url(self._agents_port) for member in members])
        [port] = free_ports(1)
        argv = [sys.executable, "-m", "tests.bench.bare", self.dsn, str(port)]
        await self._spawn("bare", argv, {})
        self.doors = [f"http://127.0.0.1:{port}"]
        await self._until_it_answers(f"{self.doors[0]}/readyz")

    async def _spawn(self, name: str, argv: list[str], given: Mapping[str, str]) -> None:
        kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "PYTHONPATH") if k in os.environ}
        log = (Path(self._folder.name) / f"{name}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            *argv, env={**kept, **given}, stdout=log, stderr=log
        )
        log.close()
        self._programs.append((name, process))

    async def _until_it_answers(self, url: str) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                async with self.http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} does not answer\n{self._last_words()}")
            await asyncio.sleep(0.05)

    def _last_words(self) -> str:
        logs = sorted(Path(self._folder.name).glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-500:]}" for log in logs)

    # ---------------------------------------------------------------- what a bench does with it

    @property
    def dsn(self) -> str:
        """Of a rig on Postgres."""
        assert isinstance(self.store, PostgresStore)
        return self.store.dsn

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._railway_port}/graphql/v2"

    async def grow(self, count: int) -> None:
        """So many more idle agents, on record first and then to be seen."""
        if count:
            await self.store.put_idle(self.fleet.idle(self.pool, self.size, count))
            self.size += count
            await self.show(self.size)

    async def show(self, count: int) -> None:
        """Railway has so many services."""
        await self._outside("POST", f"/_grow?to={count}")

    async def look(self) -> None:
        """Have the controller look at everything, and wait until it has."""
        async with self.http.post(f"{self.doors[0]}/api/pool/replenish") as response:
            assert response.status == 200, await response.text()

    async def counts(self) -> dict[str, Any]:
        return await self._outside("GET", "/_counts")

    async def _outside(self, method: str, path: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._railway_port}{path}"
        async with self.http.request(method, url) as response:
            return dict(await response.json())

    def cpu(self) -> dict[str, float]:
        """Seconds each part has used so far; `load` is this process, a store counts with all of its own."""
        parts = {name: used(psutil.Process(process.pid)) for name, process in self._programs}
        return {**parts, **self.store.cpu(), "load": used(psutil.Process())}

    def memory_mb(self, name: str) -> float:
        pid = next(process.pid for called, process in self._programs if called == name)
        return float(psutil.Process(pid).memory_info().rss) / 1e6
