"""People who want agents: they claim and hang up, ask again, ask twice at once, look on, release."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from typing import Any

from api.answers import Answer, Served
from api.door import ClaimRequest
from api.records import RecordsError
from api.records.memory import MemoryRecords
from api.records.memory_store import no_pause
from api.types import AgentClaim, AgentPool, OnEmpty, ReclaimPolicy
from tests.builders import a_claim
from tests.history.events import Answered, Asked
from tests.storm.processes import ACTOR, ConnectionLost
from tests.storm.stage import WIDE, Sidecar, Stage
from tests.storm.witness import wish

CUSTOMERS = (*((3, 8),) * 6, (8, 16))  # At the same time; by the dice.
CROWD = (40, 60)
CROWDED_FROM = 1_000_000  # From this seed on it is a crowd each time: most claims for the time.
TRIES = 8  # Of a key; then its owner has lost patience.
FINAL = (200, 400, 409, 500)
TROUBLE = (RecordsError, ConnectionLost, TimeoutError)
Work = Callable[[], Coroutine[Any, Any, None]]


class Users:
    """`found()` the pools, then `start()` lets customers come until the storm is over."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rng = stage.chance("users")
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
        kinds: list[Work] = [self._by_door] * 5 + [self._by_record] * 2 + [self._looks_on]
        crowded = self._stage.seed >= CROWDED_FROM
        many = CROWD if crowded else self._rng.choice(CUSTOMERS)
        for n in range(self._rng.randint(*many)):
            work = self._rng.choice(kinds)
            self.customers.append(self._person(f"customer-{n}", self._comes_again(work, storm_s)))

    def _person(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        context = Context()
        context.run(ACTOR.set, name)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def _comes_again(self, work: Work, storm_s: float) -> None:
        loop, began = asyncio.get_running_loop(), self._rng.uniform(0, storm_s / 3)
        await asyncio.sleep(began)
        while loop.time() < storm_s:
            if self._stage.fate.befalls(work.__name__.strip("_")):
                await work()
            await asyncio.sleep(self._rng.expovariate(1 / 4))

    # ---------------------------------------------------------------- claims by the door

    async def _by_door(self) -> None:
        ask = self._ask()
        if ask.key is not None:
            self._stage.witness.say(Asked(ACTOR.get(), ask.key, wish(ask.instructions)))
        answer = await self._until_answered(ask)
        if answer is None or answer.status != 200:
            return
        if ask.key is not None and self._rng.random() < 0.4:
            await asyncio.sleep(self._rng.uniform(0, 5))
            await self._ask_again(ask)
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0, 30))
            await self._release(answer.claim)
            if ask.key is not None and self._rng.random() < 0.5:
                await self._anew(ask)

    def _ask(self) -> ClaimRequest:
        rng, n = self._rng, next(self._numbers)
        return ClaimRequest(
            agent_id=f"agent-{n}",
            instructions=f"Serve wish {n}.",
            join_url="https://dev.convos.org/v2?i=group" if rng.random() < 0.2 else None,
            pool=rng.choice(sorted(self.pools)),
            key=f"key-{n}" if rng.random() < 0.7 else None,
            wait_s=rng.choice((None, 0.0, 10.0)),
        )

    async def _ask_again(self, ask: ClaimRequest) -> None:
        """By the same key: the same, the same twice at once, or something else."""
        luck = self._rng.random()
        if luck < 0.2:
            await self._post(replace(ask, instructions=f"{ask.instructions} No, another."))
        elif luck < 0.5:
            await asyncio.gather(self._until_answered(ask), self._until_answered(ask))
        else:
            await self._until_answered(ask)

    async def _anew(self, ask: ClaimRequest) -> None:
        """The key is free: another agent, if any. Asked often at once, one may still see the old claim."""
        asks = [self._until_answered(ask) for _ in range(self._rng.choice((1, 2, 4)))]
        await asyncio.gather(*asks)

    async def _until_answered(self, ask: ClaimRequest) -> Answer | None:
        """The first answer that ends it; without a key there is but one try."""
        for _ in range(TRIES if ask.key else 1):
            answer = await self._post(ask)
            if answer is not None and answer.status in FINAL:
                return answer
            await asyncio.sleep(self._rng.uniform(1.0, 6.0))
        if ask.key is not None:
            self._stage.witness.happened("gives up", ask.key)
        return None

    async def _post(self, ask: ClaimRequest) -> Answer | None:
        """None: the connection broke, or this client hung up."""
        since = asyncio.get_running_loop().time()
        patience_s = self._rng.choice((0.3, 3.0, 60.0, 60.0))
        sidecar = self._sidecar()
        if sidecar is None:
            return None
        try:
            async with asyncio.timeout(patience_s):
                answer: Answer = await sidecar.process.serve(sidecar.door.claim(ask))
        except (TimeoutError, ConnectionLost):
            return None
        self._stage.witness.said(sidecar.process.name, repr(answer.body))
        if answer.status in FINAL:
            self._stage.witness.say(_answered(ask, answer, since))
        return answer

    def _sidecar(self) -> Sidecar | None:
        running = [s for s in self._stage.sidecars.values() if not s.process.dead]
        return self._rng.choice(running) if running else None

    async def _release(self, claim: str) -> None:
        sidecar = self._sidecar()
        if sidecar is not None:
            await self._call(sidecar, sidecar.door.release(claim), "release")

    async def _call(
        self, sidecar: Sidecar, work: Coroutine[Any, Any, object], actor: str = ""
    ) -> None:
        try:
            async with asyncio.timeout(40):
                await sidecar.process.serve(work, actor=actor)
        except TROUBLE:
            return

    # ---------------------------------------------------------------- others

    async def _looks_on(self) -> None:
        """Reads claims, waits for one, or wants the pool looked at."""
        if (sidecar := self._sidecar()) is None:
            return
        luck, claims = self._rng.random(), sorted(k.name for k in self._stage.store.tables.claims)
        if luck < 0.3:
            await self._call(sidecar, sidecar.replenish())
        elif luck < 0.5 or not claims:
            await self._call(sidecar, sidecar.door.newest())
        else:
            await self._call(sidecar, sidecar.door.read(self._rng.choice(claims), luck * 20))

    async def _by_record(self) -> None:
        n, rng = next(self._numbers), self._rng
        claim = a_claim(
            name=f"record-{n}",
            pool=rng.choice(sorted(self.pools)),
            instructions=f"Serve wish {n}.",
            on_empty=rng.choice(list(OnEmpty)),
            reclaim_policy=rng.choice(list(ReclaimPolicy)),
            timeout=rng.choice((None, WIDE / 2, WIDE / 6)),
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


def _answered(ask: ClaimRequest, answer: Answer, since: float) -> Answered:
    served = answer.body if isinstance(answer.body, Served) else None
    return Answered(
        actor=ACTOR.get(),
        key=ask.key,
        claim=answer.claim,
        wish=wish(ask.instructions),
        since=since,
        status=answer.status,
        instance=served.instance_id if served else None,
        conversation=served.conversation_id if served else None,
    )
