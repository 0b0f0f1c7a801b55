"""What the suite's tests do again and again, by the port alone."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from api.records import Bell, Bind, NotFound, Outcome, Records, bound_status
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    ClaimStatus,
    InstancePhase,
    Key,
    key_of,
    pool_key,
)
from tests.builders import a_claim, a_pool, an_instance
from tests.records.harness import Store

T = TypeVar("T")
POOL = Key("default", "default")
FINAL = (InstancePhase.RETIRING, InstancePhase.GONE)
LOOKS = 200  # A cache that lags for more looks than these, and longer than a bell, is broken.


async def seen(store: Store, look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """What a look shows once it holds: looks may lag, but not for ever."""
    looks, end = 0, time.monotonic() + store.patience_s
    while looks < LOOKS or time.monotonic() < end:
        value = await look()
        if holds(value):
            return value
        looks += 1
        await asyncio.sleep(0.01 if looks > LOOKS else 0)
    raise AssertionError(f"not seen in {looks} looks; the last one: {value!r}")


def changed(thing: AgentInstance, **status: object) -> AgentInstance:
    """The instance with these fields of its status changed."""
    return thing.model_copy(update={"status": thing.status.model_copy(update=status)})


def pool_with(pool: AgentPool, **spec: object) -> AgentPool:
    """The pool with these fields of its spec changed."""
    return pool.model_copy(update={"spec": pool.spec.model_copy(update=spec)})


async def an_attempt(records: Records, by: str = "p1") -> Attempt:
    return Attempt(by=by, at=await records.now())


async def pending(
    store: Store, records: Records, count: int = 1, *, apart: bool = True
) -> list[AgentClaim]:
    """Claims on record, oldest first; their names sort the other way. Not `apart`: as old as they are."""
    made = []
    for n in range(count):
        if n and apart:
            await store.tick()
        made.append(await one(records, a_claim(name=f"claim-{count - n:03}")))
    return made


async def one(records: Records, claim: AgentClaim) -> AgentClaim:
    """This claim on record."""
    [made] = await records.create_claims([claim])
    assert isinstance(made, AgentClaim), made
    return made


async def intended(
    store: Store, records: Records, count: int = 1, *, apart: bool = True
) -> list[AgentInstance]:
    """Intents on record, oldest first; made with the pool `default`, of which there is one then."""
    pool = await the_pool(records)
    made = []
    for n in range(count):
        if n and apart:
            await store.tick()
        made += await records.intend(pool, [an_instance(name=f"i{count - n:03}")], orphans=0)
    assert len(made) == count
    return made


async def idle(
    store: Store, records: Records, count: int = 1, *, apart: bool = True
) -> list[AgentInstance]:
    """Idle instances on record, oldest first."""
    ready = [
        changed(i, phase=InstancePhase.IDLE, url=f"https://{i.metadata.name}.test")
        for i in await intended(store, records, count, apart=apart)
    ]
    return list(filter(None, await records.write_instances(ready)))


async def the_pool(records: Records) -> AgentPool:
    """The pool `default`, with room for 100."""
    try:
        return await records.pool(POOL)
    except NotFound:
        return await records.create_pool(a_pool(max_total=100))


async def promise(records: Records, claim: AgentClaim, instance: AgentInstance) -> Bind:
    """A bind that holds."""
    [bind] = await records.bind([Bind(claim, instance)], await an_attempt(records))
    return bind


async def half_bind(records: Records, claim: AgentClaim, instance: AgentInstance) -> AgentClaim:
    """The claim's side of a bind alone, as its maker's death would leave it."""
    status = bound_status(claim, instance, await an_attempt(records, by="the dead"))
    [half] = await records.settle([Outcome(claim, status)])
    assert half is not None
    return half


async def settle(records: Records, read: AgentClaim, **status: object) -> AgentClaim | None:
    """One outcome: these fields of the status as it was read, changed."""
    [settled] = await records.settle([Outcome(read, read.status.model_copy(update=status))])
    return settled


# ---------------------------------------------------------------- a binder


async def bind_what_waits(records: Records, by: str, rng: random.Random) -> list[Bind]:
    """One look of a controller at the pool `default`: mend half binds, then promise what is free."""
    view = await records.view(POOL)
    attempt = await an_attempt(records, by)
    held: list[Bind] = []
    for claim in view.claims:
        if claim.status.phase is ClaimPhase.BOUND:
            held += await mend(records, claim, attempt)
    light = await records.bindable(POOL, limit=100)
    claims, free = list(light.claims), list(light.idle)
    rng.shuffle(claims)
    rng.shuffle(free)
    binds = [Bind(c, i) for c, i in zip(claims, free, strict=False)]
    return held + await records.bind(binds, attempt)


async def mend(records: Records, claim: AgentClaim, attempt: Attempt) -> Sequence[Bind]:
    """Complete a half bind whose instance may still be offered; replace one whose instance never will.

    An instance that is somebody else's, barred, retiring or gone stays so, hence nobody can complete that
    bind behind our back. One that is only not ready may be idle again: it is barred first.
    """
    assert claim.status.instance is not None
    instance = await records.instance(Key(POOL.namespace, claim.status.instance.name))
    ref, status = instance.spec.claim_ref, instance.status
    if ref is not None and ref.uid == claim.metadata.uid:
        return ()
    if ref is None and status.barred is None and status.phase is InstancePhase.IDLE:
        return await records.bind([Bind(claim, instance)], attempt)
    final = ref is not None or status.barred is not None or status.phase in FINAL
    if final or await records.write_instances([changed(instance, barred="HalfBind")]) != [None]:
        await unpromise(records, claim)
    return ()


async def unpromise(records: Records, claim: AgentClaim) -> AgentClaim | None:
    """The claim Pending again, without instance, if it still is as it was read."""
    [free] = await records.settle([Outcome(claim, ClaimStatus())])
    return free


async def agreed(records: Records, claims: Sequence[AgentClaim]) -> dict[str, str]:
    """By claim name, the instance that both sides name; live, and it fails where a Bound one is one-sided."""
    names = {}
    for claim in claims:
        now = await records.claim(key_of(claim))
        if now.status.instance is not None:
            instance = await records.instance(Key(POOL.namespace, now.status.instance.name))
            assert instance.spec.claim_ref is not None
            assert instance.spec.claim_ref.uid == now.metadata.uid
            assert pool_key(instance) == pool_key(now)
            names[now.metadata.name] = instance.metadata.name
    return names


# ---------------------------------------------------------------- a listener


class Listener:
    """Hears bells within the store's patience."""

    def __init__(self, store: Store, bells: AsyncIterator[Bell]) -> None:
        self._store = store
        self._bells = bells

    async def hear(self) -> Bell:
        async with asyncio.timeout(self._store.patience_s):
            return await anext(self._bells)

    async def until(self, *wanted: Bell) -> list[Bell]:
        """All that rang up to the first of these, that one included."""
        heard = [await self.hear()]
        while heard[-1] not in wanted:
            heard.append(await self.hear())
        return heard


@asynccontextmanager
async def listening(store: Store, records: Records) -> AsyncIterator[Listener]:
    """A listener that has heard its first `resync`."""
    bells = records.bells()
    listener = Listener(store, bells)
    await listener.until(Bell("resync"))
    try:
        yield listener
    finally:
        close = getattr(bells, "aclose", None)
        if close is not None:
            await close()
