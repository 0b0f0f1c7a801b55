"""The simulator as a process: GraphQL and its own paths on one port, agents on theirs, all kept on file."""

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import signal
import time
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import ValidationError

from controller.railway.simulator import deploys
from controller.railway.simulator.acts import Acts
from controller.railway.simulator.addresses import addresses
from controller.railway.simulator.agent_site import AgentSites
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.faults import Faults, Plan
from controller.railway.simulator.files import StateFiles
from controller.railway.simulator.front import Front, bearer
from controller.railway.simulator.habits import Habits, Pace
from controller.railway.simulator.holdings import Refusal, hashed
from controller.railway.simulator.house import AgentHouse
from controller.railway.simulator.programs import ProgramHouse
from controller.railway.simulator.ratelimit import Budget, Edge, ResetFormat
from controller.railway.simulator.state import Instance, TokenKind, iso
from controller.railway.simulator.world import World

log = logging.getLogger(__name__)
PORT = 9103
AGENT_PORT = 9180
BODY_MAX_BYTES = 16 * 1024 * 1024  # A patch may carry the variables of hundreds of services.
TOLD = "simulator.json"
TEND_S = 0.25  # How often what time alone has changed is looked after.
TOKEN_KINDS: tuple[TokenKind, ...] = ("project", "workspace", "account")


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """How to run it. `state`: the folder for its world; `seed` None: other ids each time."""

    state: Path
    host: str = "127.0.0.1"
    port: int = PORT  # 0: any free one.
    agent_port: int = AGENT_PORT
    seed: int | None = None
    token_kind: TokenKind = "project"  # noqa: S105 (which of its tokens it tells)
    habits: Habits = field(default_factory=Habits)
    pace: Pace = field(default_factory=Pace)
    requests_per_hour: int = 10_000
    requests_per_s: int = 50
    reset_format: ResetFormat = "unix"
    agent_command: tuple[str, ...] = ()  # A real program for each service instead of an agent.


async def run(config: SimulatorConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises InUse, and OSError when it cannot listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    simulator = Simulator(config)
    try:
        await simulator.start()
        log.info("the Railway simulator listens on %s", simulator.endpoint)
        await stop.wait()
    finally:
        await simulator.stop()


class Simulator:
    """One simulated Railway: `start` it, `stop` it."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self._files = StateFiles(config.state)
        seed = secrets.token_hex() if config.seed is None else config.seed
        self.world = World(
            time.time,
            random.Random(f"{seed}/{self._files.n}"),  # noqa: S311 (ids, not secrets)
            habits=config.habits,
            pace=config.pace,
            faults=Faults.of(),
            addresses=addresses(config.agent_port),
            programs=bool(config.agent_command),
        )
        self.writer = Writer(self.world, self._files)
        self._restore()
        agents = AgentHouse(self.world, self.writer)
        self._programs = None
        if config.agent_command:
            self._programs = ProgramHouse(
                self.world, self.writer, config.agent_command, config.state
            )
        self._sites = AgentSites(self.world, self._programs or agents)
        self._acts = Acts(self.world, None if self._programs else agents)
        limits = (config.requests_per_hour, config.requests_per_s, config.reset_format)
        budget = Budget(time.time, *limits)
        self._front = Front(self.world, self.writer, budget, Edge(time.time))
        self._runner: web.AppRunner | None = None
        self._tending: asyncio.Task[None] | None = None
        self.endpoint = ""

    def _restore(self) -> None:
        self.world.restore(self._files.things)
        if not self.world.projects:
            self.world.found({kind: secrets.token_urlsafe(32) for kind in TOKEN_KINDS})
        self.writer.commit(op="start")

    @property
    def token(self) -> str:
        """The token of the configured kind."""
        kind = self.config.token_kind
        return next(t.value for t in self.world.tokens.values() if t.kind == kind)

    # ---------------------------------------------------------------- start, stop

    async def start(self) -> None:
        """Listen; `simulator.json` is there again once it does. Raises OSError."""
        (self.config.state / TOLD).unlink(missing_ok=True)
        app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/graphql/v2", self._graphql),
                web.get("/healthz", self._healthz),
                web.get("/_world", self._world),
                web.get("/_faults", self._get_faults),
                web.put("/_faults", self._put_faults),
                web.post("/_acts", self._act),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port)
        await site.start()
        port = self._runner.addresses[0][1]
        self.endpoint = f"http://{self.config.host}:{port}/graphql/v2"
        await self._sites.start()
        self._tell()
        self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tending
        if self._runner is not None:
            await self._runner.cleanup()
        await self._sites.stop()
        if self._programs is not None:
            await self._programs.stop()
        self._files.close()

    async def _tend(self) -> None:
        while True:
            try:
                await self._look_after()
            except Exception:
                log.exception("tending failed")
            await asyncio.sleep(TEND_S)

    async def _look_after(self) -> None:
        self.writer.commit(op="time")
        await self._sites.sync()
        if self._programs is not None:
            self._programs.sync()

    def _tell(self) -> None:
        """Write `simulator.json`, for who runs a controller against this."""
        environment = next(iter(self.world.environments.values()))
        told = {
            "endpoint": self.endpoint,
            "token": self.token,
            "tokenKind": self.config.token_kind,
            "projectId": environment.project_id,
            "environmentId": environment.id,
            "agentScheme": "http",
            "pid": os.getpid(),
        }
        fresh = self.config.state / f"{TOLD}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(told, file, indent=1)
        fresh.replace(self.config.state / TOLD)

    # ---------------------------------------------------------------- what it answers

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """No foreign Host, no browser's Origin, and a token for the simulator's own paths."""
        name = request.host.rpartition(":")[0] if ":" in request.host else request.host
        if name not in {"127.0.0.1", "localhost", "[::1]", self.config.host}:
            raise web.HTTPMisdirectedRequest(text="this Host is not mine\n")
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="not for browsers\n")
        if request.path.startswith("/_") and not self._knows(bearer(request.headers)):
            return web.json_response({"error": "the simulator's token is wanted"}, status=401)
        return await handler(request)

    def _knows(self, value: str) -> bool:
        known = [token.value.encode() for token in self.world.tokens.values()]
        return any(compare_digest(one, value.encode()) for one in known)

    async def _graphql(self, request: web.Request) -> web.Response:
        raw = await request.read()
        sent = await self._front.answer(raw, request.headers, bool(request.query_string))
        await self._sites.sync()
        headers = {**sent.headers, "Content-Type": sent.content_type}
        return web.Response(status=sent.status, body=sent.body, headers=headers)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _world(self, request: web.Request) -> web.Response:
        return web.json_response(world_shown(self.world) | {"heard": list(self._files.heard)})

    async def _get_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self.world.faults.shown())

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            plan = Plan.model_validate_json(await request.read())
        except ValidationError as error:
            said = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            return web.json_response({"error": "; ".join(said)}, status=400)
        self.world.faults.replace(plan)
        return await self._get_faults(request)

    async def _act(self, request: web.Request) -> web.Response:
        try:
            fields: Any = await request.json()
            said = self._acts.do(fields)
        except (ValueError, AttributeError):
            return web.json_response({"error": "a JSON object is wanted"}, status=400)
        except KeyError as missing:
            return web.json_response({"error": f"{missing.args[0]} is wanted"}, status=400)
        except Refusal as refusal:
            return web.json_response({"error": refusal.message}, status=409)
        finally:
            self.writer.commit(op="by hand")
        await self._sites.sync()
        return web.json_response(said)


def world_shown(world: World) -> dict[str, Any]:
    """The world without a single value: `{now, services: [{id, name, variables, deployments, ...}]}`."""
    shown = [_service_shown(world, one) for one in world.instances.values() if not one.deleted_at]
    return {"now": iso(world.now), "services": shown}


def _service_shown(world: World, instance: Instance) -> dict[str, Any]:
    seen = deploys.seen(instance, world.now)
    return {
        "id": instance.service_id,
        "name": world.service_of(instance).name,
        "environmentId": instance.environment_id,
        "variables": {name: hashed(value) for name, value in instance.variables.items()},
        "domains": [domain.host for domain in instance.domains],
        "deployments": [
            {"id": deployment.id, "status": status, "createdAt": iso(deployment.created_at)}
            for deployment, status in seen
        ],
    }
