"""A small world for the controller's shell: agents that answer by a script, a Railway of services."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from api.records import Bind
from api.records.memory import MemoryRecords
from api.records.memory_store import MemoryStore
from api.types import AgentClaim, AgentInstance, Attempt, InstancePhase
from controller.agents import Heard, Letter, Reply, Status
from controller.railway import (
    Access,
    Allowance,
    Deployment,
    Make,
    Observation,
    RailwayError,
    Service,
)
from tests.builders import NOW, a_claim, a_pool, an_instance
from tests.controller.parts import seconds

Script = Callable[[], Awaitable[Reply]]


def now() -> float:
    return asyncio.get_running_loop().time()


def a_store() -> MemoryStore:
    """Its time goes on with the loop's."""
    loop = asyncio.get_running_loop()
    return MemoryStore(lambda: NOW + seconds(loop.time()), random.Random(1))


async def warm(records: MemoryRecords, name: str, n: int = 1) -> list[AgentInstance]:
    """`n` idle instances of the pool `default`, which is made if need be."""
    pool = next(iter(await records.pools()), None) or await records.create_pool(a_pool())
    names = [f"{name}{k}" for k in range(n)]
    made = await records.intend(pool, [an_instance(name=each) for each in names], 0)
    status = {"phase": InstancePhase.IDLE, "service_id": "svc"}
    return [
        written
        for i in made
        for url in [f"https://{i.metadata.name}.test"]
        for written in await records.write_instances(
            [i.model_copy(update={"status": i.status.model_copy(update=status | {"url": url})})]
        )
        if written is not None
    ]


async def bound(records: MemoryRecords, by: str) -> tuple[AgentClaim, AgentInstance]:
    """A claim and an instance, promised to each other on record under the attempt of `by`."""
    (instance,) = await warm(records, "agent")
    (claim,) = await records.create_claims([a_claim(name="claim-1")])
    assert isinstance(claim, AgentClaim)
    held = await records.bind([Bind(claim, instance)], Attempt(by=by, at=await records.now()))
    return held[0].claim, held[0].instance


@dataclass
class ScriptedAgents:
    """Each POST takes the next script; without one it is answered 200. `told`: when, and whom."""

    scripts: list[Script] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    says: Status = field(default_factory=lambda: Status(reached=True, ready=True))
    open: int = 0
    most_open: int = 0

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        await asyncio.sleep(0.01)
        return self.says

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        self.told.append((now(), url))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await (self.scripts.pop(0) if self.scripts else answers())()
        finally:
            self.open -= 1

    async def close(self) -> None:
        """Nothing is held open."""


def answers(heard: Heard = Heard.DONE, after_s: float = 0.1) -> Script:
    async def script() -> Reply:
        await asyncio.sleep(after_s)
        return Reply(heard, "conversation", "https://convos.test/i")

    return script


@dataclass
class SmallRailway:
    """Services by id. Each call first raises the next of `errors`, if any; `sent` names the calls."""

    services: dict[str, Service] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    errors: list[RailwayError | None] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    endpoint: str = "https://railway.test/graphql"
    allowance: Allowance = field(default_factory=Allowance)

    async def _call(self, name: str) -> None:
        self.sent.append(name)
        await asyncio.sleep(0.1)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error

    async def probe(self) -> Access:
        await self._call("probe")
        return Access("project", True, "project", "environment")

    async def observe(self) -> Observation:
        await self._call("observe")
        return Observation(tuple(self.services.values()))

    async def owner_of(self, service_id: str) -> str | None:
        await self._call("owner_of")
        return self.owners.get(service_id)

    async def create_empty(self, name: str) -> str:
        await self._call("create_empty")
        service = Service(id=f"svc-{name}", name=name)
        self.services[service.id] = service
        return service.id

    async def create_whole(self, make: Make) -> str:
        return await self.create_empty(make.name)

    async def create_domain(self, service_id: str) -> str:
        await self._call("create_domain")
        host = f"{service_id}.test"
        self.services[service_id] = replace(self.services[service_id], domain=host)
        return host

    async def patch(self, service_id: str, make: Make) -> None:
        await self._call("patch")
        up = Deployment(f"deployment-of-{service_id}", "SUCCESS")
        self.services[service_id] = replace(
            self.services[service_id], has_source=True, deployment=up
        )

    async def update_settings(self, service_id: str, make: Make) -> None:
        await self._call("update_settings")

    async def deploy(self, service_id: str) -> None:
        await self._call("deploy")

    async def auto_deploy_off(self, service_id: str) -> None:
        await self._call("auto_deploy_off")

    async def rename(self, service_id: str, name: str) -> None:
        await self._call("rename")
        self.services[service_id] = replace(self.services[service_id], name=name)

    async def delete(self, service_id: str) -> None:
        await self._call("delete")
        self.services.pop(service_id, None)

    async def close(self) -> None:
        """Nothing is held open."""
