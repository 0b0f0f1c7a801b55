"""The simulated world behind the ports themselves: no sockets, no threads, no time but the caller's loop.

`pause(op)` is awaited before and after each effect, so that a scheduler can interleave, fail or cancel
there; a call that is cancelled after its effect has had it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any, TypeVar

from api.types import Source
from controller.agents import Heard, Letter, Reply, Status, read_reply, read_status
from controller.railway import (
    Access,
    Allowance,
    Deployment,
    Make,
    NotAuthorized,
    Observation,
    Service,
    Unclear,
)
from controller.railway.errors import named_error
from controller.railway.simulator import deploys, state
from controller.railway.simulator.agent import Answer, Call
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.faults import LOOKS
from controller.railway.simulator.holdings import NO_INSTANCE, Refusal
from controller.railway.simulator.house import Cut, House
from controller.railway.simulator.scopes import authorize, may
from controller.railway.simulator.state import Environment, Instance, Token
from controller.railway.simulator.world import World

T = TypeVar("T")
Pause = Callable[[str], Awaitable[None]]
PAGE = 500
OWNER = "POOL_OWNER"
# What each fault of the API is to a client: the message and status that `named_error` reads.
SAID_BEFORE = {
    "rateLimited": ("Too many requests", 429),
    "edgeLimited": ("error code: 1015", 429),
    "unavailable": ("upstream connect error", 503),
    "badGateway": ("", 502),
    "timeoutBefore": ("", 504),
    "drift": ("Unknown argument", 400),
    "notFound": (NO_INSTANCE, 200),
}
SAID_AFTER = ("timeoutAfter", "nullData", "cutOff")
WAIT_S = 2.0


async def no_pause(op: str) -> None:
    """Nobody interleaves."""


class SimulatedRailway:
    """The `Railway` port on a World, for one environment, as one token may use it."""

    def __init__(
        self,
        world: World,
        token: Token,
        environment: Environment,
        writer: Writer,
        pause: Pause = no_pause,
    ) -> None:
        self._world, self._token, self._environment = world, token, environment
        self._writer, self._pause = writer, pause
        self._requests = 0

    @property
    def endpoint(self) -> str:
        return "simulated://railway"

    @property
    def allowance(self) -> Allowance:
        return Allowance()

    async def probe(self) -> Access:
        def look() -> Access:
            return Access(
                kind=self._token.kind,
                may_patch=may(self._token, "environmentPatchCommit", self._world.habits),
                project_id=self._environment.project_id,
                environment_id=self._environment.id,
            )

        if self._token.value not in self._world.tokens:
            raise NotAuthorized("Not Authorized")
        return await self._ask("environment", look)

    async def observe(self) -> Observation:
        """Pages of 500, as over the wire: others act between them."""
        found: dict[str, Service] = {}
        for page in range(100):
            after = page * PAGE

            def look(after: int = after) -> tuple[list[Instance], bool]:
                shown = self._world.listed(self._environment.id)
                return shown[after : after + PAGE], len(shown) > after + PAGE

            instances, more = await self._ask("environment", look)
            if self._world.faults.first(LOOKS, ("environment",)) is not None:
                raise Unclear("half a list, or another environment's")
            leaving = self._world.shown_deleted
            found |= {i.service_id: self._seen(i) for i in instances if not leaving(i)}
            if not more:
                return Observation(tuple(found.values()), page + 1)
        raise Unclear("the pages do not come to an end")

    def _seen(self, instance: Instance) -> Service:
        latest = deploys.latest(instance, self._world.now)
        hosts = [domain.host for domain in instance.domains if self._world.shows(domain)]
        return Service(
            id=instance.service_id,
            name=self._world.service_of(instance).name,
            domain=hosts[0] if hosts and instance.deleted_at is None else None,
            has_source=bool(instance.source),
            from_repo=bool(instance.source and instance.source.get("repo")),
            deployment=_deployment(*latest) if latest else None,
        )

    async def owner_of(self, service_id: str) -> str | None:
        def look() -> str | None:
            return self._world.instance(service_id, self._environment.id).variables.get(OWNER)

        return await self._ask("variables", look, service_id)

    async def create_empty(self, name: str) -> str:
        return await self._create(name, None, None)

    async def create_whole(self, make: Make) -> str:
        source = {"repo": make.source.repo.name} if make.source.repo else _source(make.source)
        return await self._create(make.name, source, dict(make.variables))

    async def _create(
        self, name: str, source: dict[str, Any] | None, variables: dict[str, str] | None
    ) -> str:
        def create() -> str:
            place = (self._environment.project_id, self._environment.id)
            return self._world.create_service(*place, name, source, variables).id

        return await self._ask("serviceCreate", create, name)

    async def create_domain(self, service_id: str) -> str:
        def create() -> str:
            return self._world.create_domain(service_id, self._environment.id).host

        return await self._ask("serviceDomainCreate", create, service_id)

    async def patch(self, service_id: str, make: Make) -> None:
        config: dict[str, Any] = {
            "source": _source(make.source),
            "variables": {name: {"value": value} for name, value in make.variables.items()},
        }
        if make.healthcheck_path:
            config["deploy"] = {"healthcheckPath": make.healthcheck_path}
        patch = {"services": {service_id: config}}
        await self._ask(
            "environmentPatchCommit",
            lambda: self._world.patch(self._environment.id, patch),
            service_id,
        )

    async def update_settings(self, service_id: str, make: Make) -> None:
        root = make.source.repo.root_directory if make.source.repo else None
        fields = {"healthcheckPath": make.healthcheck_path, "rootDirectory": root}
        await self._ask(
            "serviceInstanceUpdate",
            lambda: self._world.update_instance(service_id, self._environment.id, fields),
            service_id,
        )

    async def deploy(self, service_id: str) -> None:
        def deploy() -> None:
            instance = self._world.instance(service_id, self._environment.id)
            self._world.deploy(instance, "deploy")

        await self._ask("serviceInstanceDeployV2", deploy, service_id)

    async def auto_deploy_off(self, service_id: str) -> None:
        await self._ask(
            "serviceInstanceAutoDeployUpdate",
            lambda: self._world.set_auto_deploy(service_id, self._environment.id, False),
            service_id,
        )

    async def rename(self, service_id: str, name: str) -> None:
        await self._ask(
            "serviceUpdate", lambda: self._world.rename_service(service_id, name), service_id
        )

    async def delete(self, service_id: str) -> None:
        await self._ask("serviceDelete", lambda: self._world.delete_service(service_id), service_id)

    async def close(self) -> None:
        pass

    async def _ask(self, operation: str, effect: Callable[[], T], named: str = "") -> T:
        """One request: the faults before it, the effect, on record, the faults after it."""
        await self._pause(f"{operation}: before")
        self._requests += 1
        request, targets = f"r{self._requests}", self._targets(operation, named)
        faults = self._world.faults
        if (fault := faults.first(tuple(SAID_BEFORE), targets)) is not None:
            self._writer.commit(request=request, op=operation, fault=fault)
            message, status = SAID_BEFORE[fault]
            raise named_error(message, http_status=status, retry_after_s=WAIT_S)
        broken = faults.draw("problem", targets)
        if faults.draw("serviceDeleted"):
            self._world.delete_any()
        try:
            if broken and faults.rng.random() < 0.5:
                raise Unclear("Problem processing request")
            result = self._do(operation, effect, named)
        except Refusal as refusal:
            raise named_error(refusal.message, code=refusal.code) from None
        finally:
            self._writer.commit(request=request, op=operation)
        await self._pause(f"{operation}: after")
        if broken or faults.first(SAID_AFTER, targets) is not None:
            raise Unclear(f"no clear answer to {operation}")
        return result

    def _do(self, operation: str, effect: Callable[[], T], named: str) -> T:
        place = {"project": self._environment.project_id, "environment": self._environment.id}
        service = named if named in self._world.services else None
        authorize(self._world, self._token, operation, **place, service=service)
        return effect()

    def _targets(self, operation: str, named: str) -> Collection[str]:
        held = self._world.services.get(named)
        return {operation, named, held.name} if held else {operation, named}


def _source(source: Source) -> dict[str, Any]:
    if source.repo is None:
        return {"image": source.image}
    repo = source.repo
    said = {"repo": repo.name, "branch": repo.branch, "rootDirectory": repo.root_directory}
    return {name: value for name, value in said.items() if value is not None}


class SimulatedAgents:
    """The `Agents` port on a House; what is silent longer than `timeout_s` counts as silent."""

    def __init__(
        self,
        house: House,
        pause: Pause = no_pause,
        *,
        status_timeout_s: float = 5.0,
        provision_timeout_s: float = 60.0,
    ) -> None:
        self._house, self._pause = house, pause
        self._status_timeout_s, self._provision_timeout_s = status_timeout_s, provision_timeout_s

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        said = Status(reached=False, wrong_key=True)
        for key in keys:
            answer = await self._ask(url, _call("/pool/status", key), self._status_timeout_s)
            said = (
                Status(reached=False) if answer is None else read_status(answer.code, answer.body)
            )
            if not said.wrong_key:
                break
        return said

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        reply = Reply(Heard.WRONG_KEY)
        for key in keys:
            call = _call("/pool/provision", key, letter)
            answer = await self._ask(url, call, self._provision_timeout_s)
            reply = Reply(Heard.SILENT) if answer is None else read_reply(answer.code, answer.body)
            if reply.heard is not Heard.WRONG_KEY:
                break
        return reply

    async def close(self) -> None:
        pass

    async def _ask(self, url: str, call: Call, timeout_s: float) -> Answer | None:
        """None: no answer came."""
        await self._pause(f"{call.path}: before")
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._house.handle(url.partition("://")[2], call)
        except (Cut, TimeoutError):
            answer = None
        await self._pause(f"{call.path}: after")
        return answer


def _call(path: str, key: str, letter: Letter | None = None) -> Call:
    if letter is None:
        return Call("GET", path, f"Bearer {key}")
    told = {"instructions": letter.instructions, "name": letter.name, "joinUrl": letter.join_url}
    body = json.dumps({name: value for name, value in told.items() if value is not None})
    return Call("POST", path, f"Bearer {key}", body.encode())


def _deployment(deployment: state.Deployment, status: str) -> Deployment:
    created_at = datetime.fromtimestamp(deployment.created_at, UTC)
    return Deployment(deployment.id, status, created_at, deployment.process.stopped)
