"""What looks show: order, the hot path's light look, the queue, and what became of claims."""

from datetime import timedelta

from api.records import Fate
from api.types import ClaimPhase, InstancePhase, Key
from tests.builders import a_claim, a_pool, an_instance
from tests.records.harness import Store
from tests.records.steps import (
    POOL,
    changed,
    idle,
    intended,
    one,
    pending,
    promise,
    seen,
    settle,
    the_pool,
)


async def test_a_pools_claims_and_instances_come_oldest_first(store: Store) -> None:
    records = await store.client()
    instances = await intended(store, records, 3)
    claims = await pending(store, records, 3)
    view = await records.view(POOL)
    assert list(view.claims) == claims
    assert list(view.instances) == instances


async def test_lists_come_newest_first(store: Store) -> None:
    records = await store.client()
    instances = await intended(store, records, 3)
    claims = await pending(store, records, 3)
    assert await records.list_claims("default") == claims[::-1]
    assert await records.list_claims("default", limit=2) == claims[:0:-1]
    assert await records.instances() == instances[::-1]


async def test_pools_come_by_key(store: Store) -> None:
    records = await store.client()
    made = [await records.create_pool(a_pool(name=name)) for name in ("b", "a")]
    assert await records.pools() == made[::-1]


async def test_a_view_holds_its_own_pools_open_claims_alone(store: Store) -> None:
    records = await store.client()
    pool = await the_pool(records)
    mine = await one(records, a_claim(name="mine"))
    await one(records, a_claim(name="other-pool", pool="other"))
    await one(records, a_claim(name="other-namespace", namespace="other"))
    ended = await one(records, a_claim(name="ended"))
    await settle(records, ended, phase=ClaimPhase.FAILED)
    view = await records.view(POOL)
    assert view.pool == pool
    assert view.claims == (mine,)


async def test_only_the_free_and_the_waiting_are_bindable_and_no_more_than_the_limit(
    store: Store,
) -> None:
    records = await store.client()
    free1, barred, taken, failed, free2 = await idle(store, records, 5)
    [starting] = await records.intend(await the_pool(records), [an_instance()], orphans=0)
    bound, ended, waiting1, waiting2 = await pending(store, records, 4)
    await promise(records, bound, taken)
    await settle(records, ended, phase=ClaimPhase.FAILED)
    await records.write_instances(
        [changed(barred, barred="Heard"), changed(failed, phase=InstancePhase.FAILED)]
    )
    light = await records.bindable(POOL, limit=10)
    assert light.claims == (waiting1, waiting2)
    assert light.idle == (free1, free2)
    assert starting.status.phase is InstancePhase.PROVISIONING
    light = await records.bindable(POOL, limit=1)
    assert (light.claims, light.idle) == ((waiting1,), (free1,))
    assert light.pool == await records.pool(POOL)


async def test_the_light_look_of_a_pool_that_is_gone_says_so(store: Store) -> None:
    records = await store.client()
    await one(records, a_claim(pool="nowhere"))
    light = await records.bindable(Key("default", "nowhere"), limit=10)
    assert light.claims != ()
    assert light.pool is None


async def test_the_pools_to_look_at_are_those_that_exist_and_those_still_named(
    store: Store,
) -> None:
    records = await store.client()
    [instance, gone] = await intended(store, records, 2)
    await records.delete_pool(await records.pool(POOL))
    await records.create_pool(a_pool(name="empty"))
    await one(records, a_claim(pool="nowhere"))
    ended = await one(records, a_claim(pool="ended"))
    await settle(records, ended, phase=ClaimPhase.FAILED)
    keys = await records.pool_keys()
    assert sorted(keys) == [POOL, Key("default", "empty"), Key("default", "nowhere")]
    await records.write_instances([changed(i, phase=InstancePhase.GONE) for i in (instance, gone)])
    assert POOL not in await records.pool_keys()


async def test_a_claim_knows_its_place_in_the_queue(store: Store) -> None:
    records = await store.client()
    first, second, third = await pending(store, records, 3)
    assert [await records.queue_position(c) for c in (first, second, third)] == [1, 2, 3]
    failed = await settle(records, first, phase=ClaimPhase.FAILED)
    assert failed is not None
    assert await records.queue_position(failed) == 0
    assert await records.queue_position(third) == 2
    await records.delete_claim(second)
    assert await records.queue_position(third) == 1


async def test_queues_of_different_pools_do_not_meet(store: Store) -> None:
    records = await store.client()
    await pending(store, records, 2)
    other = await one(records, a_claim(pool="other"))
    assert await records.queue_position(other) == 1


async def test_those_who_wait_are_read_together_and_the_missing_are_left_out(
    store: Store,
) -> None:
    records = await store.client()
    first, second = await pending(store, records, 2)
    keys = [Key("default", n) for n in (second.metadata.name, "nobody", first.metadata.name)]
    found = await records.claims(keys)
    assert sorted(c.metadata.uid for c in found) == sorted(c.metadata.uid for c in (first, second))
    assert await records.claims([]) == []


async def test_a_look_tells_what_became_of_each_instances_claim(store: Store) -> None:
    records = await store.client()
    free, kept, moved, released = await idle(store, records, 4)
    c1, c2, c3 = await pending(store, records, 3)
    for claim, instance in ((c1, kept), (c2, moved), (c3, released)):
        await promise(records, claim, instance)
    c2 = await records.claim(Key("default", c2.metadata.name))
    await settle(records, c2, phase=ClaimPhase.PENDING, instance=None, attempt=None)
    await records.delete_claim(c3)
    view = await records.view(POOL)
    assert view.fates == {
        kept.metadata.name: Fate.KEPT,
        moved.metadata.name: Fate.MOVED,
        released.metadata.name: Fate.RELEASED,
    }
    assert free.metadata.name not in view.fates


async def test_the_gone_are_seen_until_they_are_deleted(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    [gone] = await records.write_instances([changed(instance, phase=InstancePhase.GONE)])
    assert gone is not None
    assert (await records.view(POOL)).instances == (gone,)
    await records.delete_instance(gone)
    assert (await records.view(POOL)).instances == ()


async def test_others_see_what_was_written_in_the_end(store: Store) -> None:
    one_, two = await store.client(), await store.client()
    [instance] = await idle(store, one_)
    [claim] = await pending(store, one_)
    view = await seen(store, lambda: two.view(POOL), lambda v: bool(v.claims and v.instances))
    assert view.claims == (claim,)
    view = await seen(store, lambda: two.view(POOL), lambda v: v.instances == (instance,))
    light = await seen(store, lambda: two.bindable(POOL, 5), lambda b: bool(b.claims and b.idle))
    assert light.idle == (instance,)


async def test_each_look_has_the_stores_own_time(store: Store) -> None:
    records = await store.client()
    before = await records.now()
    view = await records.view(POOL)
    light = await records.bindable(POOL, limit=1)
    claim = await one(records, a_claim())
    after = await records.now()
    assert before <= view.now <= light.now <= after
    assert claim.metadata.creation_timestamp is not None
    slack = timedelta(seconds=1)  # Kubernetes rounds creation times down to seconds.
    assert before - slack <= claim.metadata.creation_timestamp <= after
