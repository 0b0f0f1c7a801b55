"""A door over memory records in simulated time, and a small stand-in for the controller."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from api.answers import Answer
from api.door import ClaimRequest, Door, Patience
from api.records import Bell, Bind, Bindable, Outcome
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.types import (
    AgentClaim,
    AgentInstance,
    Attempt,
    BoundInstance,
    ClaimPhase,
    ClaimStatus,
    Condition,
    InstancePhase,
    Key,
    OnEmpty,
)
from api.waiters import Waiters
from tests.builders import NOW, a_pool, an_instance

POOL = Key("default", "default")
INVITE = "https://dev.convos.org/v2?i="


def now_s() -> float:
    return asyncio.get_running_loop().time()


def an_ask(**overrides: Any) -> ClaimRequest:
    """What the seed's client asks."""
    base = {"agent_id": "tokyo-trip-planner", "instructions": "You plan trips to Tokyo."}
    return ClaimRequest(**(base | overrides))


class World:
    """The records, the door under test, and what a controller would do, step by step."""

    def __init__(self, shape: Shape = Shape.ONE, patience: Patience = Patience()) -> None:  # noqa: B008
        self.store = MemoryStore(_clock, random.Random(7))
        self.records = MemoryRecords(self.store, shape)  # The sidecar's.
        self.control = MemoryRecords(self.store)  # The controller's, live.
        self.waiters = Waiters(self.records)
        names = itertools.count(1)
        self.door = Door(
            self.records,
            self.waiters,
            new_name=lambda: f"claim-{next(names)}",
            namespace="default",
            patience=patience,
        )

    # ---- what the tests look at
    @property
    def claims(self) -> list[AgentClaim]:
        return list(self.store.tables.claims.values())

    async def only_claim(self) -> AgentClaim:
        """The one claim on record, once it is there."""
        return (await self.claims_on_record(1))[0]

    async def claims_on_record(self, count: int) -> list[AgentClaim]:
        await asyncio.sleep(0.5)
        assert len(self.claims) == count
        return self.claims

    # ---- what a controller does
    async def idle(self, count: int = 1) -> list[AgentInstance]:
        """So many idle instances more, in the pool `default`."""
        if POOL not in self.store.tables.pools:
            await self.control.create_pool(a_pool(max_total=1000))
        pool = await self.control.pool(POOL)
        made = await self.control.intend(pool, [an_instance() for _ in range(count)], orphans=0)
        ready = [_idle(instance) for instance in made]
        return [i for i in await self.control.write_instances(ready) if i is not None]

    async def bind(self) -> list[AgentClaim]:
        """Promise what is idle to who waits, the oldest first."""
        return await self._bind(await self.control.bindable(POOL, limit=500))

    async def _bind(self, light: Bindable) -> list[AgentClaim]:
        pairs = [Bind(c, i) for c, i in zip(light.claims, light.idle, strict=False)]
        made = await self.control.bind(pairs, Attempt(by="controller", at=light.now))
        return [bind.claim for bind in made]

    async def ready(self, claim: AgentClaim) -> AgentClaim:
        """The agent has heard: an invite of 200 characters, a conversation."""
        said = {
            "phase": ClaimPhase.READY,
            "invite_url": (INVITE + claim.metadata.uid * 5)[:200],
            "conversation_id": f"conversation-{claim.metadata.uid}",
            "joined": claim.spec.join_url is not None,
            "ready_at": _clock(),
        }
        return await self._settled(claim, claim.status.model_copy(update=said))

    async def fail(self, claim: AgentClaim, reason: str, message: str = "") -> AgentClaim:
        kinds = (("Ready", "False"), ("Stalled", "True"))
        conditions = tuple(_condition(kind, status, reason, message) for kind, status in kinds)
        instance: BoundInstance | None = claim.status.instance
        status = ClaimStatus(phase=ClaimPhase.FAILED, instance=instance, conditions=conditions)
        return await self._settled(claim, status)

    async def _settled(self, claim: AgentClaim, status: ClaimStatus) -> AgentClaim:
        [settled] = await self.control.settle([Outcome(claim, status)])
        assert settled is not None
        return settled

    async def decide(self) -> None:
        """One pass: bind and serve, and refuse who may not wait."""
        light = await self.control.bindable(POOL, limit=500)
        for claim in await self._bind(light):
            await self.ready(claim)
        for claim in light.claims[len(light.idle) :]:
            if claim.spec.on_empty is OnEmpty.FAIL:
                await self.fail(claim, "NoneIdle", "nobody is idle")

    async def control_for_ever(self) -> None:
        """Decide whenever something rings, and say when a look is done."""
        async for bell in self.control.bells():
            await self.decide()
            if bell.kind == "look":
                await self.control.ring(Bell("looked", bell.namespace, bell.name))


@asynccontextmanager
async def a_world(
    *tasks: Callable[[World], Awaitable[Any]], **options: Any
) -> AsyncIterator[World]:
    """A world whose watch runs, and whatever else of it is named: `a_world(World.control_for_ever)`."""
    world = World(**options)
    running = [asyncio.ensure_future(task(world)) for task in tasks]
    running.append(asyncio.ensure_future(world.waiters.run()))
    try:
        yield world
    finally:
        await world.door.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def answered(asking: Awaitable[Answer]) -> Answer:
    """The answer, which must come in simulated minutes."""
    async with asyncio.timeout(600):
        return await asking


def _clock() -> datetime:
    return NOW + timedelta(seconds=now_s())


def _idle(instance: AgentInstance) -> AgentInstance:
    name = instance.metadata.name
    seen = {
        "phase": InstancePhase.IDLE,
        "url": f"https://{name}.example",
        "service_id": f"s-{name}",
    }
    return instance.model_copy(update={"status": instance.status.model_copy(update=seen)})


def _condition(kind: str, status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "last_transition_time": _clock(),
        }
    )
