"""What only memory records promise: their seams for storms, lagging looks, and binds in two writes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from api.records import Bell, Bind, Conflict, Fate, Outcome, Unavailable
from api.records.memory import LAG_MAX, MemoryRecords, Shape
from api.records.memory_bells import BELLS_MAX
from api.records.memory_store import ABANDONED
from api.types import ClaimPhase, InstancePhase, key_of
from tests.builders import a_claim, a_pool, an_instance
from tests.records.harness import MemoryHarness
from tests.records.steps import (
    POOL,
    agreed,
    an_attempt,
    bind_what_waits,
    changed,
    idle,
    listening,
    mend,
    one,
    pending,
    promise,
    settle,
    unpromise,
)


@pytest.fixture
def store() -> MemoryHarness:
    return MemoryHarness(Shape.TWO)


def failing_at(op: str) -> Callable[[str], Awaitable[None]]:
    """A pause in which the store cannot be reached at this moment."""

    async def pause(at: str) -> None:
        if at == op:
            raise Unavailable(op)

    return pause


def dying(store: MemoryHarness, op: str) -> MemoryRecords:
    """A client that never gets past this moment."""
    return MemoryRecords(store.store, store.shape, pause=failing_at(op))


# ---------------------------------------------------------------- two writes


async def test_who_dies_between_the_two_writes_leaves_a_half_bind(store: MemoryHarness) -> None:
    records, dead = await store.client(), dying(store, "bind claim after")
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    with pytest.raises(Unavailable):
        await promise(dead, claim, instance)
    half = await records.claim(key_of(claim))
    assert half.status.phase is ClaimPhase.BOUND
    assert (await records.instance(key_of(instance))).spec.claim_ref is None
    [bind] = await mend(records, half, await an_attempt(records, "p2"))
    assert bind.claim.status.attempt == half.status.attempt
    assert await agreed(records, [claim]) == {claim.metadata.name: instance.metadata.name}


async def test_a_bind_whose_answer_was_lost_holds(store: MemoryHarness) -> None:
    records, dead = await store.client(), dying(store, "bind instance after")
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    with pytest.raises(Unavailable):
        await promise(dead, claim, instance)
    assert await agreed(records, [claim]) == {claim.metadata.name: instance.metadata.name}


async def test_who_is_overtaken_between_the_two_writes_does_not_hold_the_bind(
    store: MemoryHarness,
) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)

    async def overtaken(op: str) -> None:
        if op == "bind claim after":
            half = await records.claim(key_of(claim))
            assert await mend(records, half, await an_attempt(records, "p2"))

    slow = MemoryRecords(store.store, Shape.TWO, pause=overtaken)
    assert await slow.bind([Bind(claim, instance)], await an_attempt(slow, "p1")) == []
    assert await agreed(records, [claim]) == {claim.metadata.name: instance.metadata.name}


async def test_a_claim_that_ended_between_the_two_writes_is_not_held(store: MemoryHarness) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)

    async def timed_out(op: str) -> None:
        if op == "bind claim after":
            half = await records.claim(key_of(claim))
            assert await settle(records, half, phase=ClaimPhase.FAILED)

    slow = MemoryRecords(store.store, Shape.TWO, pause=timed_out)
    assert await slow.bind([Bind(claim, instance)], await an_attempt(slow)) == []


async def test_a_claim_whose_instance_went_to_another_between_the_writes_is_bound_anew(
    store: MemoryHarness,
) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    first, second = await pending(store, records, 2)

    async def overtaken(op: str) -> None:
        if op == "bind claim after":
            await promise(records, first, i1)

    slow = MemoryRecords(store.store, Shape.TWO, pause=overtaken)
    assert await slow.bind([Bind(second, i1)], await an_attempt(slow)) == []
    half = await records.claim(key_of(second))
    freed = await unpromise(records, half)
    assert freed is not None
    bind = await promise(records, freed, i2)
    assert await records.fate(bind.instance) is Fate.KEPT
    assert await records.fate(await records.instance(key_of(i1))) is Fate.KEPT


async def test_who_looks_late_cannot_take_a_completed_bind_apart(store: MemoryHarness) -> None:
    records, dead = await store.client(), dying(store, "bind claim after")
    i1, _ = await idle(store, records, 2)
    [claim] = await pending(store, records)
    with pytest.raises(Unavailable):
        await promise(dead, claim, i1)
    half = await records.claim(key_of(claim))
    [failed] = await records.write_instances([changed(i1, phase=InstancePhase.FAILED)])
    assert failed is not None
    [again] = await records.write_instances([changed(failed, phase=InstancePhase.IDLE)])
    assert again is not None
    await mend(records, half, await an_attempt(records, "p2"))
    late = [changed(failed, barred="HalfBind")]  # What replacing a half bind would begin with.
    assert await records.write_instances(late) == [None]
    assert await agreed(records, [claim]) == {claim.metadata.name: i1.metadata.name}


async def test_an_intent_too_many_is_taken_back(store: MemoryHarness) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool(min_idle=0, max_total=1))
    assert len(await records.intend(pool, [an_instance(), an_instance()], orphans=0)) == 1
    assert len(store.store.tables.instances) == 1


async def test_an_intent_that_nobody_counted_is_taken_back_after_a_while(
    store: MemoryHarness,
) -> None:
    records, dead = await store.client(), dying(store, "intend count before")
    pool = await records.create_pool(a_pool())
    with pytest.raises(Unavailable):
        await dead.intend(pool, [an_instance()], orphans=0)
    await records.tidy(POOL)
    assert len(store.store.tables.instances) == 1
    store.now += ABANDONED + timedelta(seconds=1)
    await records.tidy(POOL)
    assert len(store.store.tables.instances) == 0


async def test_a_backup_put_back_is_what_was_and_versions_go_on(store: MemoryHarness) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool())
    lease = await records.write_lease(await records.lease("l"), "p1")
    kept = store.store.backup()
    await records.create_claims([a_claim()])
    await records.delete_pool(pool)
    store.store.restore(kept)
    assert store.store.tables.claims == {}
    again = await records.pool(POOL)
    assert (again.metadata.uid, again.spec) == (pool.metadata.uid, pool.spec)
    assert again.metadata.resource_version != pool.metadata.resource_version
    with pytest.raises(Conflict):
        await records.write_lease(lease, "p1")


# ---------------------------------------------------------------- lagging looks


async def test_looks_lag_behind_others_by_no_more_than_the_bound(store: MemoryHarness) -> None:
    writer, reader = await store.client(), await store.client()
    shown = []
    for n in range(60):
        await one(writer, a_claim(name=f"c{n}"))
        shown.append(n + 1 - len((await reader.view(POOL)).claims))
    assert max(shown) > 0
    assert max(shown) <= LAG_MAX
    assert min(shown) == 0


async def test_a_client_sees_its_own_writes_at_once(store: MemoryHarness) -> None:
    other, records = await store.client(), await store.client()
    for n in range(30):
        await one(other, a_claim(name=f"other-{n}"))
        mine = await one(records, a_claim(name=f"mine-{n}"))
        assert mine in (await records.view(POOL)).claims
        failed = await settle(records, mine, phase=ClaimPhase.FAILED)
        assert [failed] == await records.claims([key_of(mine)])
        await records.delete_claim(mine)
        assert await records.claims([key_of(mine)]) == []


async def test_what_was_seen_is_never_unseen(store: MemoryHarness) -> None:
    writer, reader = await store.client(), await store.client()
    claims = 0
    for n in range(60):
        await one(writer, a_claim(name=f"c{n}"))
        now = len((await reader.view(POOL)).claims)
        assert now >= claims
        claims = now


async def test_what_a_bell_speaks_of_is_seen_by_then(store: MemoryHarness) -> None:
    writer, reader = await store.client(), await store.client()
    async with listening(store, reader) as listener:
        for n in range(30):
            claim = await one(writer, a_claim(name=f"c{n}"))
            await listener.until(Bell("claim", "default", f"c{n}", "default", "Pending"))
            assert await reader.claims([key_of(claim)]) == [claim]


# ---------------------------------------------------------------- bells and pauses


async def test_a_storm_may_lose_double_and_delay_bells(store: MemoryHarness) -> None:
    records, other = await store.client(), await store.client()
    lost, late, twice = (Bell("look", "default", n) for n in ("lost", "late", "twice"))
    store.store.arrivals = lambda bell: {"lost": (), "late": (0.01,), "twice": (0.0, 0.0)}[
        bell.name
    ]
    async with listening(store, other) as listener:
        for bell in (lost, late, twice):
            await records.ring(bell)
        assert [await listener.hear() for _ in range(3)] == [twice, twice, late]


async def test_a_listener_that_does_not_listen_is_told_to_look_at_everything(
    store: MemoryHarness,
) -> None:
    records = await store.client()
    bells = records.bells()
    assert await anext(bells) == Bell("resync")
    for n in range(BELLS_MAX + 1):
        await records.ring(Bell("look", "default", str(n)))
    assert await anext(bells) == Bell("resync")
    assert await anext(bells) == Bell("look", "default", str(BELLS_MAX))


async def test_before_its_effect_a_write_may_be_cancelled_and_after_it_is_done(
    store: MemoryHarness,
) -> None:
    for moment, written in (("before", False), ("after", True)):
        dead = dying(store, f"create_claims {moment}")
        claim = a_claim(name=moment)
        with pytest.raises(Unavailable):
            await one(dead, claim)
        assert (key_of(claim) in store.store.tables.claims) is written


async def test_every_write_pauses_before_and_after_its_effect() -> None:
    ops: list[str] = []

    async def heard(op: str) -> None:
        ops.append(op)

    store = MemoryHarness(Shape.ONE)
    store.store.pause = heard
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    ops.clear()
    bind = await promise(records, claim, instance)
    await records.settle([Outcome(bind.claim, bind.claim.status)])
    assert ops == ["bind before", "bind after", "settle before", "settle after"]


async def test_the_same_seed_makes_the_same_uids_and_the_same_race() -> None:
    async def run() -> list[object]:
        store = MemoryHarness(Shape.TWO)
        clients = [await store.client() for _ in range(3)]
        await idle(store, clients[0], 4)
        await pending(store, clients[0], 4)
        await asyncio.gather(
            *(bind_what_waits(c, f"p{n}", random.Random(n)) for n, c in enumerate(clients))
        )
        return [store.store.installation, *store.store.log]

    assert await run() == await run()
