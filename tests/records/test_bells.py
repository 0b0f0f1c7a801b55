"""Doorbells and events: what rings, who hears it, and that losing a ring costs only time."""

from datetime import timedelta

from api.records import Bell, Mark, Outcome
from api.types import ClaimPhase, InstancePhase
from tests.builders import a_claim, a_pool, an_event
from tests.records.harness import Store
from tests.records.steps import (
    POOL,
    Listener,
    changed,
    idle,
    intended,
    listening,
    one,
    pending,
    pool_with,
    promise,
    seen,
    settle,
    the_pool,
)

DONE = Bell("looked", "default", "default")


async def test_a_listener_is_first_told_to_look_at_everything(store: Store) -> None:
    records = await store.client()
    await one(records, a_claim())
    listener = Listener(store, records.bells())
    assert await listener.hear() == Bell("resync")


async def test_each_moment_of_a_claim_rings_with_its_pool_and_phase(store: Store) -> None:
    records, other = await store.client(), await store.client()
    [instance] = await idle(store, records)
    async with listening(store, other) as listener:
        claim = await one(records, a_claim(name="c1"))
        bound = (await promise(records, claim, instance)).claim
        ready = await settle(records, bound, phase=ClaimPhase.READY)
        assert ready is not None
        await records.delete_claim(ready)
        for phase in ("Pending", "Ready", "Deleted"):  # Bound is a promise, which need not ring.
            await listener.until(Bell("claim", "default", "c1", "default", phase))


async def test_each_moment_of_an_instance_rings(store: Store) -> None:
    records, other = await store.client(), await store.client()
    await the_pool(records)
    async with listening(store, other) as listener:
        [instance] = await intended(store, records)
        name = instance.metadata.name
        for phase in (InstancePhase.IDLE, InstancePhase.RETIRING, InstancePhase.GONE):
            [written] = await records.write_instances([changed(instance, phase=phase)])
            assert written is not None
            instance = written
        await records.delete_instance(instance)
        for then in ("Provisioning", "Idle", "Retiring", "Gone", "Deleted"):
            await listener.until(Bell("instance", "default", name, "default", then))


async def test_a_mark_rings_for_the_instance_too(store: Store) -> None:
    records, other = await store.client(), await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    async with listening(store, other) as listener:
        bind = await promise(records, claim, instance)
        await records.settle([Outcome(bind.claim, claim.status, Mark("Heard", failed=True))])
        name = instance.metadata.name
        await listener.until(Bell("instance", "default", name, "default", "Failed"))


async def test_each_moment_of_a_pool_rings(store: Store) -> None:
    records, other = await store.client(), await store.client()
    async with listening(store, other) as listener:
        rings = 0
        pool = await records.create_pool(a_pool())
        pool = await records.replace_pool(pool_with(pool, min_idle=1))
        await records.delete_pool(pool)
        while rings < 3:
            bell = await listener.hear()
            rings += (bell.kind, bell.namespace, bell.name) == ("pool", "default", "default")


async def test_a_write_that_changes_nothing_rings_nothing(store: Store) -> None:
    records, other = await store.client(), await store.client()
    [instance] = await intended(store, records)
    [claim] = await pending(store, records)
    async with listening(store, other) as listener:
        await records.ring(DONE)
        await listener.until(DONE)  # What was written before has rung by now.
        pool = await records.pool(POOL)  # A ring may be a write of its own.
        await records.replace_pool(pool)
        await records.write_pool_status(pool)
        await records.write_instances([instance])
        await settle(records, claim)
        await records.ring(DONE)
        assert await listener.until(DONE) == [DONE]


async def test_whatever_is_rung_is_heard_by_all_as_it_was_rung(store: Store) -> None:
    clients = [await store.client() for _ in range(3)]
    await the_pool(clients[0])
    look = Bell("look", "default", "default")
    async with listening(store, clients[0]) as first, listening(store, clients[1]) as second:
        await clients[2].ring(look)
        assert (await first.until(look))[-1] == look
        assert (await second.until(look))[-1] == look
        await clients[0].ring(DONE)
        assert (await first.until(DONE))[-1] == DONE


async def test_bells_lost_in_a_break_are_repaired_by_looking_again(store: Store) -> None:
    records, other = await store.client(), await store.client()
    async with listening(store, other) as listener:
        async with store.deaf():
            claim = await one(records, a_claim(name="c1"))
        await listener.until(Bell("resync"))
        view = await seen(store, lambda: other.view(POOL), lambda view: bool(view.claims))
        assert view.claims == (claim,)
        await records.delete_claim(claim)
        await listener.until(Bell("claim", "default", "c1", "default", "Deleted"))


async def test_equal_events_are_counted_and_others_are_not(store: Store) -> None:
    records = await store.client()
    await records.note([an_event(reason="A"), an_event(reason="A"), an_event(reason="B")])
    await records.note([an_event(reason="A"), an_event(reason="A", message="other")])
    assert sorted(await store.events()) == [("A", 1), ("A", 3), ("B", 1)]


async def test_an_event_of_ten_minutes_ago_is_told_anew(store: Store) -> None:
    records = await store.client()
    await records.note([an_event(reason="A")])
    await store.age_events(timedelta(minutes=11))
    await records.note([an_event(reason="A")])
    assert await store.events() == [("A", 1), ("A", 1)]
