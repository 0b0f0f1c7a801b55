"""`agent-pool up`: everything on this machine, as one thing that starts, stays and stops together."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from importlib.metadata import version
from typing import Any

import aiohttp

from controller.local.filling import watch_it_fill
from controller.local.on_postgres import PostgresStore
from controller.local.plan import Plan, command, environment_of, taken_port
from controller.local.progress import Progress
from controller.local.state import Running
from controller.local.stores import LocalStore
from controller.local.supervisor import Program, Supervisor, bound_logs

PORTS_PATIENCE_S = 10.0  # What a kill -9 left behind ends by itself, but not at once.
ASK_S = 2.0


async def up(plan: Plan, progress: Progress) -> None:
    """Until SIGINT, SIGTERM or SIGHUP. Raises SettingError or PartFailed where it cannot start; either
    way nothing of it runs any more when this returns."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    supervisor = Supervisor(progress.say)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ASK_S)) as http:
        starting = asyncio.create_task(Start(plan, supervisor, progress, http).run())
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await waiting
            progress.say("Stopping.")
        finally:
            progress.clear()
            for task in (starting, waiting):
                task.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await supervisor.stop()
            plan.state.forget_running()
    progress.say("Stopped; nothing is left running.")


class Start:
    """The steps of a start, in their order."""

    def __init__(
        self, plan: Plan, supervisor: Supervisor, progress: Progress, http: aiohttp.ClientSession
    ) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._progress = progress
        self._http = http
        self._environ = dict(plan.environ)
        self._store = _store_of(plan, supervisor, progress)
        self._simulator: str | None = None

    async def run(self) -> None:
        """Everything up, told to the world, the pool seen filling, and the last word said; then stays."""
        await self._ports()
        logs = asyncio.create_task(bound_logs(self._plan.state.logs))
        try:
            await _together(self._start_store(), self._step("Railway", self._railway))
            for note in self._plan.notes:
                self._progress.say(f"    {note}")
            await _together(
                self._step("controller", self._controller), self._step("sidecar", self._sidecar)
            )
            self._tell_programs()
            await watch_it_fill(self._plan, self._store.reached(), self._progress)
            self._last_word()
            await asyncio.Event().wait()
        finally:
            logs.cancel()

    async def _start_store(self) -> None:
        for name, act in self._store.steps():
            await self._step(name, act)

    async def _step(self, name: str, act: Callable[[], Awaitable[str]]) -> None:
        began = time.monotonic()
        self._progress.live(f"  … {name}")
        said = await act()
        self._progress.say(f"  ✓ {name}: {said} ({time.monotonic() - began:.1f} s)")

    async def _ports(self) -> None:
        unclean = self._plan.state.read_running() is not None
        deadline = time.monotonic() + (PORTS_PATIENCE_S if unclean else 0)
        while problem := taken_port(self._plan):
            if time.monotonic() >= deadline:
                raise problem
            await asyncio.sleep(0.1)

    # ---- the parts

    async def _railway(self) -> str:
        plan = self._plan
        if not plan.simulated:
            return plan.controller.railway_endpoint
        told = plan.state.folder / "simulator.json"
        told.unlink(missing_ok=True)
        ports = ["--port", str(plan.simulator_port), "--agent-port", str(plan.agent_port)]
        words = ["simulator", "--state", str(plan.state.folder), *ports, *plan.simulator_arguments]

        async def ready() -> bool:  # It listens before it tells where.
            return told.exists() and await _listens(plan.simulator_port)

        await self._supervisor.start(self._program("simulator", command(*words), ready))
        said = json.loads(told.read_text())
        self._simulator = str(said["endpoint"])
        self._environ.update(_railway_settings(said))
        return f"simulated at {self._simulator}"

    async def _controller(self) -> str:
        url = self._plan.ops["controller"]
        program = self._program(
            "controller", command("controller"), lambda: self._ok(f"{url}/readyz")
        )
        await self._supervisor.start(program)
        return f"{url}/metrics"

    async def _sidecar(self) -> str:
        url = f"{self._plan.url}/healthz"
        await self._supervisor.start(self._program("api", command("api"), lambda: self._ok(url)))
        return self._plan.url

    def _program(self, name: str, argv: list[str], ready: Callable[[], Awaitable[bool]]) -> Program:
        env = environment_of(name, {**self._environ, **self._store.environ(name)})
        return Program(name, argv, env, self._plan.state.log(name), ready)

    async def _ok(self, url: str) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._http.get(url) as answer:
                return answer.status == 200
        return False

    # ---- what is told

    def _tell_programs(self) -> None:
        store = self._store.reached()
        self._plan.state.write_running(
            Running(
                api=self._plan.url,
                ops=self._plan.ops,
                simulator=self._simulator,
                database_url=store.database_url,
                pid=os.getpid(),
                version=version("agent-pool"),
                kubeconfig=store.kubeconfig,
            )
        )

    def _last_word(self) -> None:
        key = self._plan.api.api_key
        self._progress.say(
            f"\nReady. Open {self._plan.url} or claim an agent:\n\n{claim_by_curl(self._plan.url, key)}\n\n"
            f"{self._store.lines()}"
            f"  address  {self._plan.url}\n  key      {key}\n"
            f"  logs     {self._plan.state.logs}\n\nCtrl-C stops everything."
        )


def _store_of(plan: Plan, supervisor: Supervisor, progress: Progress) -> LocalStore:
    if plan.api.store.kind == "postgres":
        return PostgresStore(plan, supervisor)
    from controller.local.on_kubernetes import KubernetesStore

    return KubernetesStore(plan, supervisor, progress)


async def _together(*steps: Coroutine[Any, Any, None]) -> None:
    """All at once, in this order where it matters; the first that fails ends the others."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def claim_by_curl(url: str, key: str) -> str:
    """One line for any shell."""
    body = json.dumps({"agentId": "tokyo-trip-planner", "instructions": "You plan trips to Tokyo."})
    words = ["curl", "-sS", f"{url}/api/pool/claim", "-H", f"Authorization: Bearer {key}"]
    return shlex.join([*words, "-H", "Content-Type: application/json", "-d", body])


def _railway_settings(said: dict[str, Any]) -> dict[str, str]:
    """simulator.json as the controller's variables."""
    return {
        "RAILWAY_ENDPOINT": str(said["endpoint"]),
        "RAILWAY_API_TOKEN": str(said["token"]),
        "RAILWAY_PROJECT_ID": str(said["projectId"]),
        "RAILWAY_ENVIRONMENT_ID": str(said["environmentId"]),
        "AGENT_SCHEME": str(said["agentScheme"]),
    }


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
