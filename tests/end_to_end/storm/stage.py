"""The installation of a storm: `agent-pool up`, and beside it a second controller and a second sidecar."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from tests.end_to_end.system import START_WITHIN_S, System, free_ports

AUDIT = Path(__file__).with_name("audit.sql")
AGAIN_AFTER_S = 0.3  # A second process that died is started again after so long.
# Railway's own limits stay out of the way: what is scarce here is the machine.
SIMULATOR = "--requests-per-hour 1000000 --requests-per-second 1000"
PARTS = ("controller", "controller-2", "api", "api-2", "simulator", "postgres")


class Second:
    """A process of ours that `up` knows nothing of; started again whenever it ends."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._argv, self._env, self._log = argv, env, log
        self._keeper: asyncio.Task[None] | None = None
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            with self._log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *self._argv, env=self._env, cwd=self._log.parent, stdout=log, stderr=log
                )
            await self.process.wait()
            await asyncio.sleep(AGAIN_AFTER_S)

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(15):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class StormSystem(System):
    """`sidecars` are the addresses of both; `child(part)` knows all PARTS."""

    def __init__(self, state: Path, **variables: str) -> None:
        super().__init__(state, **variables)
        names = ("PORT", "API_OPS_PORT", "CONTROLLER_OPS_PORT")
        ports = (str(port) for port in free_ports(3))
        self._ports = dict(zip(names, ports, strict=True))  # Of the second ones.
        self._seconds: dict[str, Second] = {}

    async def start(self) -> None:
        """Until `up` says that it is ready, what is written is kept, and the second ones run."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller.cli", "up", "--state", str(self.state)),
            *("--simulator", SIMULATOR),
            env=self.environ,
            cwd=self.state.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.output = b""
        async with asyncio.timeout(START_WITHIN_S):
            await self._read_until(b"curl ")
        self._reading = asyncio.create_task(self._read_on())
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        await self.script(AUDIT.read_text())
        await self._start_second("controller-2", "controller")
        await self._start_second("api-2", "api")

    async def stop(self) -> int:
        for second in self._seconds.values():
            await second.stop()
        return await super().stop()

    async def _start_second(self, name: str, command: str) -> None:
        told = json.loads((self.state / "simulator.json").read_text())
        env = {
            **{k: v for k, v in self.environ.items() if not k.startswith("SIMULATOR_")},
            "POOL_API_KEY": self.key,
            "DATABASE_URL": f"{self.run['databaseUrl']}?storm.who={name.replace('api', 'sidecar')}",
            "RAILWAY_ENDPOINT": told["endpoint"],
            "RAILWAY_API_TOKEN": told["token"],
            "RAILWAY_PROJECT_ID": told["projectId"],
            "RAILWAY_ENVIRONMENT_ID": told["environmentId"],
            "AGENT_SCHEME": told["agentScheme"],
            **self._ports,
        }
        argv = (sys.executable, "-m", "controller.cli", command)
        self._seconds[name] = Second(argv, env, self.logs / f"{name}.log")
        await self._seconds[name].start()

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def sidecars(self) -> tuple[str, str]:
        first, second = (f"http://127.0.0.1:{of['PORT']}" for of in (self.environ, self._ports))
        return first, second

    # ---------------------------------------------------------------- processes

    def family(self, part: str) -> list[psutil.Process]:
        """The processes of a part, its head first; empty while it does not run."""
        with contextlib.suppress(psutil.Error, AssertionError):
            head = self._head(part)
            return [head, *(head.children(recursive=True) if part == "postgres" else [])]
        return []

    def _head(self, part: str) -> psutil.Process:
        if part in self._seconds:
            process = self._seconds[part].process
            assert process is not None
            assert process.returncode is None
            return psutil.Process(process.pid)
        if part != "postgres":
            return self.child(part)
        pid_file = self.state / "postgres" / "data" / "postmaster.pid"
        try:
            return psutil.Process(int(pid_file.read_text().splitlines()[0]))
        except (OSError, ValueError, IndexError):
            raise AssertionError("no postgres runs") from None

    # ---------------------------------------------------------------- records

    async def connect(self, who: str) -> asyncpg.Connection:
        """As somebody who is none of the product's processes. Raises OSError, PostgresError."""
        url = self.run["databaseUrl"]
        return await asyncpg.connect(
            url, timeout=10, command_timeout=20, server_settings={"storm.who": who}
        )

    async def until_reachable(self) -> None:
        """Once the records are recovered from the last kill. Raises TimeoutError."""
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                try:
                    await self.rows("SELECT 1")
                    return
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(AGAIN_AFTER_S)

    async def script(self, text: str) -> None:
        db = await self.connect("audit")
        try:
            await db.execute(text)
        finally:
            await db.close()

    async def rows(self, statement: str, *values: object) -> list[Any]:
        db = await self.connect("audit")
        try:
            return list(await db.fetch(statement, *values))
        finally:
            await db.close()
