"""People around the product: they claim and hang up, release, edit pools, and meddle with Railway by hand."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from api.answers import Answer, Served
from api.door import ClaimRequest
from api.records import RecordsError
from api.records.memory import MemoryRecords
from api.records.memory_store import no_pause
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    InstancePhase,
    OnEmpty,
    ReclaimPolicy,
    Source,
    Template,
)
from controller.railway.simulator.holdings import Refusal
from tests.builders import a_claim
from tests.storm.facts import Answered
from tests.storm.processes import ACTOR, ConnectionLost
from tests.storm.stage import WIDE, Sidecar, Stage

TRIES = 12  # Of a key; then its owner has lost patience.
EDITS: Sequence[Callable[[random.Random, AgentPool], dict[str, Any]]] = (
    lambda rng, pool: {"min_idle": rng.randint(0, pool.spec.max_total)},
    lambda rng, pool: {"max_total": pool.spec.min_idle + rng.randint(0, 8)},
    lambda rng, pool: {"template": Template(source=Source(image=f"agents/convos:{rng.random()}"))},
    lambda rng, pool: {"reclaim_policy": rng.choice(list(ReclaimPolicy))},
    lambda rng, pool: {"paused": not pool.spec.paused},
)


class Users:
    """`start()` lets customers come; `meddle()` is one sudden act of anybody."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rng = stage.chance("users")
        self._sudden = stage.chance("meddle")
        self._people = MemoryRecords(stage.store, stage.shape, lag=0, pause=no_pause)
        self._numbers = iter(range(10**6))
        self.pools: dict[str, AgentPool] = {}
        self.customers: list[asyncio.Task[None]] = []

    async def found(self) -> None:
        """The pools, before anything runs."""
        for pool in self._stage.pools(self._rng):
            self.pools[pool.metadata.name] = pool
            await self._people.create_pool(pool)

    def start(self, storm_s: float) -> None:
        for n in range(self._rng.randint(3, 6)):
            work = self._rng.choice((self._by_door, self._by_door, self._by_record))
            self.customers.append(self._person(f"customer-{n}", self._comes_again(work, storm_s)))

    def _person(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        context = Context()
        context.run(ACTOR.set, name)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def _comes_again(
        self, work: Callable[[], Coroutine[Any, Any, None]], storm_s: float
    ) -> None:
        loop, began = asyncio.get_running_loop(), self._rng.uniform(0, storm_s / 2)
        await asyncio.sleep(began)
        while loop.time() < storm_s:
            await work()
            await asyncio.sleep(self._rng.expovariate(1 / 6))

    # ---------------------------------------------------------------- claims by the door

    async def _by_door(self) -> None:
        ask = self._ask()
        answer = await self._until_answered(ask)
        if answer is None or answer.status != 200:
            return
        if ask.key is not None and self._rng.random() < 0.4:
            await asyncio.sleep(self._rng.uniform(0, 5))
            await self._until_answered(ask)
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0, 30))
            await self._release(answer.claim)

    def _ask(self) -> ClaimRequest:
        rng, n = self._rng, next(self._numbers)
        return ClaimRequest(
            agent_id=f"agent-{n}",
            instructions=f"Serve wish {n}.",
            join_url="https://dev.convos.org/v2?i=group" if rng.random() < 0.2 else None,
            pool=rng.choice(sorted(self.pools)),
            key=f"key-{n}" if rng.random() < 0.7 else None,
            wait_s=rng.choice((None, None, 0.0, 10.0)),
        )

    async def _until_answered(self, ask: ClaimRequest) -> Answer | None:
        """The first answer that ends it; without a key there is but one try."""
        for _ in range(TRIES if ask.key else 1):
            answer = await self._post(ask)
            if answer is not None and answer.status in (200, 400, 409, 500):
                return answer
            await asyncio.sleep(self._rng.uniform(1.0, 6.0))
        return None

    async def _post(self, ask: ClaimRequest) -> Answer | None:
        """None: the connection broke, or this client hung up."""
        since, patience_s = (
            asyncio.get_running_loop().time(),
            self._rng.choice((0.3, 3.0, 60.0, 60.0)),
        )
        sidecar = self._sidecar()
        if sidecar is None:
            return None
        try:
            async with asyncio.timeout(patience_s):
                answer: Answer = await sidecar.process.serve(sidecar.door.claim(ask))
        except (TimeoutError, ConnectionLost):
            return None
        said = f"{sidecar.process.name} answers {answer.status} for {ask.agent_id}"
        self._stage.history.say(ACTOR.get(), (answer.claim,), said)
        if isinstance(answer.body, Served):
            body = answer.body
            self._stage.facts.answered(
                Answered(since, ask.key, answer.claim, body.instance_id, body.conversation_id)
            )
        return answer

    def _sidecar(self) -> Sidecar | None:
        running = [s for s in self._stage.sidecars.values() if not s.process.dead]
        return self._rng.choice(running) if running else None

    async def _release(self, claim: str) -> None:
        sidecar = self._sidecar()
        if sidecar is not None:
            try:
                async with asyncio.timeout(20):
                    await sidecar.process.serve(sidecar.door.release(claim), actor="release")
            except (RecordsError, ConnectionLost, TimeoutError):
                return

    # ---------------------------------------------------------------- claims by record

    async def _by_record(self) -> None:
        n, rng = next(self._numbers), self._rng
        claim = a_claim(
            name=f"record-{n}",
            pool=rng.choice(sorted(self.pools)),
            instructions=f"Serve wish {n}.",
            on_empty=rng.choice(list(OnEmpty)),
            reclaim_policy=rng.choice(list(ReclaimPolicy)),
            timeout=rng.choice((None, WIDE / 2)),
        )
        [made] = await self._people.create_claims([claim])
        if isinstance(made, AgentClaim) and rng.random() < 0.6:
            await asyncio.sleep(rng.uniform(0, 40))
            await self._try(self._people.delete_claim(made))

    async def _try(self, write: Coroutine[Any, Any, object]) -> None:
        try:
            await write
        except RecordsError:
            return

    # ---------------------------------------------------------------- sudden acts

    def meddle(self) -> None:
        """Somebody does something right now, whoever is in the middle of what."""
        rng = self._sudden
        act = rng.choice(
            (self._edit, self._edit, self._drop_pool, self._release_one, self._release_one)
            + (self._touch_service,) * 3
            + (self._stage.store.sever,)
        )
        token = ACTOR.set("somebody")
        try:
            act()
        except (RecordsError, Refusal):
            pass
        finally:
            ACTOR.reset(token)

    def _edit(self) -> None:
        rng, store = self._sudden, self._stage.store
        if pools := sorted(store.tables.pools.values(), key=_name):
            pool = rng.choice(pools)
            spec = pool.spec.model_copy(update=rng.choice(EDITS)(rng, pool))
            store.replace_pool(pool.model_copy(update={"spec": spec}))

    def _drop_pool(self) -> None:
        """Deleted, and soon applied again."""
        rng, store = self._sudden, self._stage.store
        if pools := sorted(store.tables.pools.values(), key=_name):
            store.delete(rng.choice(pools), unchanged=False)
            asyncio.get_running_loop().call_later(
                rng.uniform(0, 40), self.apply_again, context=Context()
            )

    def apply_again(self) -> None:
        for pool in self.pools.values():
            if all(_name(p) != _name(pool) for p in self._stage.store.tables.pools.values()):
                self._stage.store.create(pool, ordered=True)

    def _release_one(self) -> None:
        """Of any claim, mostly of one that is just being handed over."""
        rng, store = self._sudden, self._stage.store
        claims = sorted(store.tables.claims.values(), key=_name)
        bound = [c for c in claims if c.status.phase is ClaimPhase.BOUND]
        if claims:
            store.delete(rng.choice(bound or claims), unchanged=False)

    def _touch_service(self) -> None:
        rng, stage = self._sudden, self._stage
        instances = [i for i in stage.store.tables.instances.values() if i.status.service_id]
        if not instances:
            return
        instance = rng.choice(sorted(instances, key=_name))
        doing = ["delete-service", "restart-agent", "crash-agent", "sleep-agent"]
        if instance.spec.claim_ref is None and instance.status.phase is InstancePhase.IDLE:
            doing = ["use-agent", "use-agent", *doing]
        act = rng.choice(doing)
        stage.history.say("somebody", (_name(instance),), f"{act} {_name(instance)}")
        stage.acts.do({"act": act, "service": instance.status.service_id})
        stage.writer.commit(op=act)


def _name(thing: AgentPool | AgentClaim | AgentInstance) -> str:
    return thing.metadata.name
