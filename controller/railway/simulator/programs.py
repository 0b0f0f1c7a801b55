"""Real programs instead of simulated agents: one for each deployment that is up, behind the edge.

A program sees its service's variables, PATH and the like, and PORT; nothing else of ours. It has a process
group of its own, which ends when the service goes or the simulator does.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import IO

import aiohttp

from controller.railway.simulator import deploys
from controller.railway.simulator.agent import Answer, Call
from controller.railway.simulator.config import field_of
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.house import NOBODY, SILENT, Cut, edge, reached
from controller.railway.simulator.state import Deployment, Instance
from controller.railway.simulator.world import World

log = logging.getLogger(__name__)
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL")
BACK_OFF_S = 1.0
HEALTHCHECK_EVERY_S = 0.25
STOP_S = 3.0  # Between SIGTERM and SIGKILL.
LOG_MAX_BYTES = 10 * 1024 * 1024  # A log larger than this starts anew with the next program.
ANSWER_MAX_BYTES = 32 * 1024 * 1024
PR_SET_PDEATHSIG = 1
HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})


class ProgramHouse:
    """Runs them, and passes calls on to them."""

    def __init__(self, world: World, writer: Writer, command: Sequence[str], state: Path) -> None:
        self._world, self._writer, self._command = world, writer, command
        self._logs = state / "agents"
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._running: dict[str, _Program] = {}  # By deployment.
        self._ending: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, host: str, call: Call) -> Answer:
        """Raises Cut when the program breaks off."""
        to = reached(self._world, host)
        if to is None:
            return edge(404, NOBODY, self._world.rng)
        program = self._running.get(to.deployment.id)
        if program is None or to.status == "CRASHED":
            return edge(502, SILENT, self._world.rng)
        return await self._pass_on(program.port, call)

    async def _pass_on(self, port: int, call: Call) -> Answer:
        headers = [(name, value) for name, value in call.headers if name.lower() not in HOP]
        url = f"http://127.0.0.1:{port}{call.target or call.path}"
        try:
            async with self._open().request(
                call.method, url, data=call.body, headers=headers, allow_redirects=False
            ) as said:
                raw = await said.content.read(ANSWER_MAX_BYTES)
                return Answer(said.status, raw=raw, content_type=said.content_type)
        except aiohttp.ClientConnectorError:
            return edge(502, SILENT, self._world.rng)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Cut from error

    def sync(self) -> None:
        """Start what should run by now, and end what should not."""
        wanted = dict(self._wanted())
        for deployment_id in [one for one in self._running if one not in wanted]:
            self._let_go(self._running.pop(deployment_id))
        for deployment_id, (instance, deployment) in wanted.items():
            if deployment_id not in self._running:
                self._running[deployment_id] = self._program(instance, deployment)

    def _wanted(self) -> "list[tuple[str, tuple[Instance, Deployment]]]":
        now = self._world.now
        return [
            (deployment.id, (instance, deployment))
            for instance in self._world.instances.values()
            if instance.deleted_at is None
            for deployment, status in deploys.seen(instance, now)
            if deployment.starts_at <= now and not deployment.process.stopped
            if status in ("DEPLOYING", "SUCCESS")
        ]

    async def stop(self) -> None:
        """End them all, and wait until they have."""
        for program in self._running.values():
            self._let_go(program)
        self._running.clear()
        await asyncio.gather(*self._ending)
        if self._session is not None:
            await self._session.close()

    def _program(self, instance: Instance, deployment: Deployment) -> "_Program":
        name = re.sub(r"[^\w.-]", "_", deployment.variables["RAILWAY_SERVICE_NAME"])
        return _Program(self, instance, deployment, self._command, self._logs / f"{name}.log")

    def _let_go(self, program: "_Program") -> None:
        task = asyncio.create_task(program.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def report(self, deployment: Deployment, status: str) -> None:
        """What became of a program: SUCCESS, FAILED, CRASHED, or `EXITED` for one that ended well."""
        with contextlib.suppress(Refusal):  # Gone meanwhile.
            if status == "EXITED":
                self._world.stop_deployment(deployment.id)
            else:
                self._world.end_deployment(deployment.id, status, status.lower())
        self._writer.commit(op="program")

    async def healthy(self, port: int, path: str) -> bool:
        """Whether the program answers its health check with 200 now."""
        call = Call("GET", path, headers=(("User-Agent", "RailwayHealthCheck/1.0"),))
        with contextlib.suppress(Cut):
            return (await self._pass_on(port, call)).code == 200
        return False

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session


class _Program:
    """One deployment's program: started, watched, started again after a crash, ended."""

    def __init__(
        self,
        house: ProgramHouse,
        instance: Instance,
        deployment: Deployment,
        command: Sequence[str],
        log_path: Path,
    ) -> None:
        self._house, self._deployment, self._command = house, deployment, command
        self._config = instance.config
        self._log_path = log_path
        self.port = _free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._become_up())]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            pass
        _signal(process, signal.SIGKILL)
        await process.wait()

    async def _live(self) -> None:
        """Run it; after a crash again, as the restart policy has it."""
        policy = field_of(self._config, "restartPolicyType")
        retries = int(field_of(self._config, "restartPolicyMaxRetries"))
        for _ in range(retries + 1):
            code = await self._run_once()
            if code == 0 and policy != "ALWAYS":
                return self._house.report(self._deployment, "EXITED")
            if policy == "NEVER":
                break
            await asyncio.sleep(BACK_OFF_S)
        return self._house.report(self._deployment, "CRASHED")

    async def _run_once(self) -> int:
        """Its exit code; 127 when it cannot be started."""
        with self._log() as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=environ(self._deployment.variables, self.port),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                )
            except OSError as error:
                log.warning("cannot run the agent command: %s", error)
                return 127
        code = await self._process.wait()
        _signal(self._process, signal.SIGKILL)  # What it left in its group.
        return code

    async def _become_up(self) -> None:
        """Without a health check it is up at once; with one when it answers, or FAILED."""
        if self._deployment.stages[-1][1] == "DEPLOYING":  # Else up before a restart of ours.
            path = deploys.healthcheck_of(self._config)
            passed = path is None or await self._passes(path)
            self._house.report(self._deployment, "SUCCESS" if passed else "FAILED")

    async def _passes(self, path: str) -> bool:
        """Whether its health check answers in time."""
        allowed_s = field_of(self._config, "healthcheckTimeout") or deploys.HEALTHCHECK_S
        for _ in range(ceil(allowed_s / HEALTHCHECK_EVERY_S)):
            if await self._house.healthy(self.port, path):
                return True
            await asyncio.sleep(HEALTHCHECK_EVERY_S)
        return False

    def _log(self) -> IO[bytes]:
        path = self._log_path
        large = path.exists() and path.stat().st_size > LOG_MAX_BYTES
        return path.open("wb" if large else "ab")


def environ(variables: Mapping[str, str], port: int) -> dict[str, str]:
    """All that a program sees of the machine and of us."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed | dict(variables) | {"PORT": str(port)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _die_with_parent() -> None:
    """A kill -9 of the simulator leaves no program behind (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
