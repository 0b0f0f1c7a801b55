"""Instances: intents within maxTotal, statuses over the version read, and the two final phases."""

import asyncio
from datetime import UTC, datetime

import pytest

from api.records import Conflict, Invalid, NotFound
from api.types import (
    AgentInstance,
    Condition,
    DeploymentRef,
    InstancePhase,
    key_of,
    oldest_first,
)
from tests.builders import a_pool, an_instance
from tests.records.harness import Store
from tests.records.steps import POOL, changed, intended, pool_with, seen


async def test_an_intent_is_on_record_before_anything_else(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool())
    intent = an_instance()
    [made] = await records.intend(pool, [intent], orphans=0)
    assert made == await records.instance(key_of(intent))
    assert made.spec == intent.spec
    assert made.status.phase is InstancePhase.PROVISIONING
    assert made.metadata.uid


async def test_as_many_intents_as_fit_are_written_orphans_counted(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool(max_total=5))
    first = await records.intend(pool, [an_instance() for _ in range(2)], orphans=1)
    more = await records.intend(pool, [an_instance() for _ in range(9)], orphans=1)
    none = await records.intend(pool, [an_instance()], orphans=1)
    assert [len(first), len(more), len(none)] == [2, 2, 0]
    assert len(await records.instances()) == 4


async def test_the_pool_that_counts_is_the_one_on_record(store: Store) -> None:
    records = await store.client()
    read = await records.create_pool(a_pool(max_total=10))
    await records.replace_pool(pool_with(read, max_total=3))
    assert len(await records.intend(read, [an_instance() for _ in range(9)], orphans=0)) == 3


async def test_a_deleted_pool_gets_no_intents_and_leaves_its_successor_none(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool())
    await records.delete_pool(pool)
    assert await records.intend(pool, [an_instance()], orphans=0) == []
    await records.create_pool(a_pool())
    assert await records.intend(pool, [an_instance()], orphans=0) == []
    assert await records.instances() == []


async def test_what_is_gone_takes_no_room_and_another_pools_neither(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool(max_total=3))
    other = await records.create_pool(a_pool(name="other"))
    await records.intend(other, [an_instance(pool="other") for _ in range(4)], orphans=0)
    first = await records.intend(pool, [an_instance() for _ in range(3)], orphans=0)
    await records.write_instances([changed(first[0], phase=InstancePhase.GONE)])
    await records.write_instances([changed(first[1], phase=InstancePhase.RETIRING)])
    assert len(await records.intend(pool, [an_instance() for _ in range(3)], orphans=0)) == 1


async def test_a_name_that_is_taken_is_not_intended_twice(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool())
    [made] = await records.intend(pool, [an_instance(name="i1")], orphans=0)
    again = await records.intend(pool, [an_instance(name="i1"), an_instance(name="i2")], 0)
    assert [i.metadata.name for i in again] == ["i2"]
    assert await records.instance(key_of(made)) == made


async def test_raced_by_ten_the_intents_never_exceed_max_total(store: Store) -> None:
    clients = [await store.client() for _ in range(5)]
    pool = await clients[0].create_pool(a_pool(max_total=8))

    async def intend(n: int) -> list[AgentInstance]:
        wanted = [an_instance() for _ in range(3)]
        return await clients[n % 5].intend(pool, wanted, orphans=1)

    made = [i for batch in await asyncio.gather(*map(intend, range(10))) for i in batch]
    assert len(made) <= 7
    while len(made) < 7:  # In two writes, all who raced may have given way.
        more = await clients[0].intend(pool, [an_instance()], orphans=1)
        assert more
        made += more
    assert await clients[0].intend(pool, [an_instance()], orphans=1) == []
    names = {i.metadata.name for i in made}
    await seen(store, clients[1].instances, lambda now: {i.metadata.name for i in now} == names)


async def test_what_it_is_made_of_may_change_only_while_it_is_being_made(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    spec = instance.spec.model_copy(update={"template_hash": "new", "key_id": "k2"})
    [made] = await records.write_instances([instance.model_copy(update={"spec": spec})])
    assert made is not None
    assert made.spec == spec
    assert made.metadata.generation == instance.metadata.generation + 1
    [idle] = await records.write_instances([changed(made, phase=InstancePhase.IDLE)])
    assert idle is not None
    again = idle.model_copy(update={"spec": instance.spec})
    assert await records.write_instances([again]) == [None]


async def test_before_an_intent_come_older_ones_and_all_that_have_a_service(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool(max_total=5))
    made = await records.intend(pool, [an_instance() for _ in range(4)], orphans=0)
    first, second, third, fourth = sorted(made, key=oldest_first)
    [gone] = await records.write_instances([changed(first, phase=InstancePhase.GONE)])
    assert gone is not None
    assert [await records.before(i) for i in (second, third, fourth)] == [0, 1, 2]
    await records.write_instances([changed(fourth, service_id="s4")])
    assert [await records.before(i) for i in (second, third, fourth)] == [1, 2, 2]


async def test_what_comes_before_an_intent_is_counted_by_a_live_read(store: Store) -> None:
    records, another = await store.client(), await store.client()
    pool = await records.create_pool(a_pool(max_total=5))
    made = await records.intend(pool, [an_instance() for _ in range(2)], orphans=0)
    first, second = sorted(made, key=oldest_first)
    for n in range(6):  # Each time what another client wrote a moment ago counts at once.
        service_id = None if n % 2 else "s2"
        [written] = await another.write_instances([changed(second, service_id=service_id)])
        assert written is not None
        assert await records.before(first) == (service_id is not None)
        second = written


async def test_every_field_of_a_status_comes_back_as_it_was_written(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    at = datetime(2026, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
    ready = Condition(
        type="Ready", status="True", reason="Probed", message="m", last_transition_time=at
    )
    new = changed(
        instance,
        phase=InstancePhase.IDLE,
        service_id="s1",
        url="https://i.test",
        deployment=DeploymentRef(id="d1", status="SUCCESS"),
        ready_at=at,
        conditions=(ready,),
    )
    [written] = await records.write_instances([new])
    assert written is not None
    assert written.status == new.status
    assert await records.instance(key_of(instance)) == written
    [cleared] = await records.write_instances([changed(written, url=None, deployment=None)])
    assert cleared is not None
    assert cleared.status == changed(new, url=None, deployment=None).status


async def test_a_status_is_written_only_over_the_version_that_was_read(store: Store) -> None:
    one, two = await store.client(), await store.client()
    i1, i2 = await intended(store, one, 2)
    [won] = await two.write_instances([changed(i1, service_id="two")])
    lost, other = await one.write_instances(
        [changed(i1, service_id="one"), changed(i2, service_id="one")]
    )
    assert lost is None
    assert other is not None
    assert await one.instance(key_of(i1)) == won


async def test_of_twenty_statuses_over_one_read_one_is_written(store: Store) -> None:
    clients = [await store.client() for _ in range(4)]
    [read] = await intended(store, clients[0])
    every = [clients[n % 4].write_instances([changed(read, service_id=f"s{n}")]) for n in range(20)]
    written = [w for [w] in await asyncio.gather(*every) if w is not None]
    assert len(written) == 1
    assert await clients[0].instance(key_of(read)) == written[0]


async def test_a_status_that_repeats_what_is_there_changes_nothing(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    await records.write_instances([instance])
    assert await records.instance(key_of(instance)) == instance


async def test_a_namesakes_status_is_not_written(store: Store) -> None:
    records = await store.client()
    [old] = await intended(store, records)
    [gone] = await records.write_instances([changed(old, phase=InstancePhase.GONE)])
    assert gone is not None
    await records.delete_instance(gone)
    pool = await records.pool(POOL)
    [new] = await records.intend(pool, [an_instance(name=old.metadata.name)], orphans=0)
    assert await records.write_instances([changed(old, service_id="s1")]) == [None]
    with pytest.raises((Conflict, NotFound)):
        await records.delete_instance(gone)
    assert await records.instance(key_of(new)) == new


async def test_retiring_ends_in_gone_and_gone_in_nothing(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    for final, never in (
        (InstancePhase.RETIRING, (InstancePhase.IDLE, InstancePhase.FAILED)),
        (InstancePhase.GONE, (InstancePhase.IDLE, InstancePhase.RETIRING)),
    ):
        now = await records.instance(key_of(instance))
        [reached] = await records.write_instances([changed(now, phase=final)])
        assert reached is not None
        for phase in never:
            assert await records.write_instances([changed(reached, phase=phase)]) == [None]
        assert await records.instance(key_of(instance)) == reached
        [seen_] = await records.write_instances([changed(reached, service_id=f"{final}")])
        assert seen_ is not None


async def test_only_an_instance_that_is_gone_is_deleted(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    for phase in (InstancePhase.IDLE, InstancePhase.FAILED, InstancePhase.RETIRING):
        [written] = await records.write_instances([changed(instance, phase=phase)])
        assert written is not None
        instance = written
        with pytest.raises(Invalid):
            await records.delete_instance(instance)
    [gone] = await records.write_instances([changed(instance, phase=InstancePhase.GONE)])
    assert gone is not None
    await records.delete_instance(gone)
    with pytest.raises(NotFound):
        await records.instance(key_of(instance))
    with pytest.raises(NotFound):
        await records.delete_instance(gone)


async def test_an_instance_is_deleted_only_at_the_version_that_was_read(store: Store) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    [gone] = await records.write_instances([changed(instance, phase=InstancePhase.GONE)])
    assert gone is not None
    [later] = await records.write_instances([changed(gone, service_id="s1")])
    with pytest.raises(Conflict):
        await records.delete_instance(gone)
    assert await records.instance(key_of(instance)) == later
