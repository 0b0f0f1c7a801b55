"""One `agent-pool up` in a state folder of its own, on ports of its own, for tests that kill parts of it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import psutil

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 120.0  # A pool of hundreds takes its time; three are warm in ten seconds.


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class System:
    """`async with System(folder, **variables) as system:` is ready when its pool is."""

    def __init__(self, state: Path, **variables: str) -> None:
        self.state = state
        names = (
            "PORT",
            "API_OPS_PORT",
            "CONTROLLER_OPS_PORT",
            "SIMULATOR_PORT",
            "SIMULATOR_AGENT_PORT",
        )
        ports = {name: str(port) for name, port in zip(names, free_ports(5), strict=True)}
        kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
        kept["PYTHONPATH"] = str(ROOT)  # This code, wherever the installed one comes from.
        self.environ = {**kept, "LOG_FORMAT": "json", **ports, **variables}
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None
        self.output = b""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ---------------------------------------------------------------- the process

    async def start(self) -> None:
        """Until `up` says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller.cli", "up", "--state", str(self.state)),
            env=self.environ,
            cwd=self.state.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.output = b""
        async with asyncio.timeout(START_WITHIN_S):
            await self._read_until(b"curl ")
        self._reading = asyncio.create_task(self._read_on())
        timeout = aiohttp.ClientTimeout(total=150)
        self._http = aiohttp.ClientSession(timeout=timeout)

    async def _read_until(self, word: bytes) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while word not in self.output:
            line = await self._process.stdout.readline()
            assert line, f"`up` ended early:\n{self.output.decode()}"
            self.output += line

    async def _read_on(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.output += line

    async def stop(self) -> int:
        """SIGTERM to `up`, until it has ended; its exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> int:
        """kill -9 of `up`."""
        return await self._end(signal.SIGKILL)

    async def _end(self, signum: int) -> int:
        assert self._process is not None
        if self._http is not None:
            await self._http.close()
        if self._process.returncode is None:
            self._process.send_signal(signum)
        async with asyncio.timeout(30):
            code = await self._process.wait()
            await self._reading
        return code

    def child(self, part: str) -> psutil.Process:
        """The process of `controller`, `api` or `simulator`."""
        assert self._process is not None
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # Dead, and not yet taken note of.
                words = process.cmdline()
                if "controller.cli" in words and part in words:
                    return process
        raise AssertionError(f"no {part} runs")

    async def kill_child(self, part: str) -> None:
        """kill -9 of one part, once it runs; `up` starts it again."""
        async with asyncio.timeout(20):
            while not self._runs(part):
                await asyncio.sleep(0.05)
        self.child(part).kill()

    def _runs(self, part: str) -> bool:
        try:
            return bool(self.child(part).is_running())
        except AssertionError:
            return False

    # ---------------------------------------------------------------- talking to it

    @property
    def run(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "run.json").read_text()))

    @property
    def key(self) -> str:
        return self.environ.get("POOL_API_KEY") or (self.state / "api-key").read_text().strip()

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """One call to the sidecar with the key: code and JSON."""
        assert self._http is not None
        given = {"Authorization": f"Bearer {self.key}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(
            method, self.run["api"] + path, json=body, headers=given
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else {}

    async def claim(self, agent_id: str, **headers: str) -> tuple[int, dict[str, Any]]:
        body = {"agentId": agent_id, "instructions": f"You are {agent_id}."}
        return await self.call("POST", "/api/pool/claim", body, **headers)

    async def claim_until_answered(
        self, agent_id: str, key: str, within_s: float = 120.0
    ) -> dict[str, Any]:
        """Ask with this key again and again, as a client that will not give up, until 200."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    code, answer = await self.claim(agent_id, Idempotency_Key=key, Prefer="wait=20")
                except (aiohttp.ClientError, TimeoutError, ValueError):
                    code, answer = 0, {}
                if code == 200:
                    return answer
                await asyncio.sleep(0.2)

    async def counts(self) -> dict[str, int]:
        return dict((await self.call("GET", "/api/pool/status"))[1]["counts"])

    async def until(self, within_s: float = 30.0, **counts: int) -> dict[str, int]:
        """Until the status counts so many; what it counted in the end."""
        now: dict[str, int] = {}
        try:
            async with asyncio.timeout(within_s):
                while not all(now.get(k) == v for k, v in counts.items()):
                    await asyncio.sleep(0.1)
                    now = await self._counts_or_none()
        except TimeoutError:
            raise AssertionError(f"wanted {counts}, there are {now}") from None
        return now

    async def _counts_or_none(self) -> dict[str, int]:
        try:
            return await self.counts()
        except (aiohttp.ClientError, KeyError, ValueError):
            return {}

    # ---------------------------------------------------------------- its records

    async def sql(self, statement: str) -> list[Any]:
        db = await asyncpg.connect(self.run["databaseUrl"])
        try:
            return list(await db.fetch(statement))
        finally:
            await db.close()

    async def owner(self) -> str:
        """The mark that services of the pool `default` carry."""
        return f"{(await self.sql('SELECT owner_id FROM installation'))[0][0]}/default/default"

    async def pool(self) -> dict[str, Any]:
        """The pool `default` as `agent-pool get` shows it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller.cli", "get", "pools", "default", "-o", "json"),
            *("--state", str(self.state)),
            env=self.environ,
            cwd=self.state.parent,
            stdout=asyncio.subprocess.PIPE,
        )
        return dict(json.loads((await process.communicate())[0]))

    async def until_pool(
        self, good: Callable[[dict[str, Any]], bool], within_s: float = 30.0
    ) -> dict[str, Any]:
        """Until the pool's status is good; that status."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within_s):
                while not (status and good(status)):
                    await asyncio.sleep(0.2)
                    status = (await self.pool())["status"]
        except TimeoutError:
            raise AssertionError(f"the pool's status stayed {status}") from None
        return status

    @staticmethod
    def stalled(status: dict[str, Any]) -> str:
        return str(next(c["reason"] for c in status["conditions"] if c["type"] == "Stalled"))

    # ---------------------------------------------------------------- its Railway

    async def simulator(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One call to the simulator's own paths."""
        assert self._http is not None
        info = json.loads((self.state / "simulator.json").read_text())
        url = info["endpoint"].replace("/graphql/v2", path)
        headers = {"Authorization": f"Bearer {info['token']}"}
        async with self._http.request(method, url, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()
            return dict(await response.json())

    async def faults(self, rates: Mapping[str, float] | None = None) -> None:
        await self.simulator("PUT", "/_faults", {"rates": dict(rates or {})})

    async def services(self) -> list[dict[str, Any]]:
        return list((await self.simulator("GET", "/_world"))["services"])

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A file of evidence, line by line."""
        text = (self.state / name).read_text()
        return [json.loads(line) for line in text.splitlines() if line.strip()]
