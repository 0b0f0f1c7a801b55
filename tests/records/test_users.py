"""What users write: creating, replacing and deleting pools and claims, and what is refused."""

from collections.abc import Callable

import pytest

from api.records import AlreadyExists, Conflict, Invalid, NotFound, Outcome
from api.types import (
    AgentClaim,
    ClaimPhase,
    Key,
    LocalRef,
    PoolRailway,
    PoolSpec,
    PoolStatus,
    key_of,
)
from tests.builders import a_claim, a_pool
from tests.records.harness import Store
from tests.records.steps import POOL, intended, one, pool_with, seen, settle


async def test_a_created_claim_is_pending_and_the_store_says_who_it_is(store: Store) -> None:
    records = await store.client()
    made = await one(records, a_claim(name="c1", labels={"team": "a"}))
    meta = made.metadata
    assert made.status.phase is ClaimPhase.PENDING
    assert meta.uid
    assert meta.generation == 1
    assert meta.resource_version
    assert meta.creation_timestamp is not None
    assert meta.labels == {"team": "a"}
    assert await records.claim(Key("default", "c1")) == made


async def test_a_key_is_given_once_and_a_refusal_costs_nobody_else(store: Store) -> None:
    records = await store.client()
    first = await one(records, a_claim(name="c1"))
    again, other = await records.create_claims([a_claim(name="c1"), a_claim(name="c2")])
    assert isinstance(again, AlreadyExists)
    assert isinstance(other, AgentClaim)
    assert await records.claim(key_of(first)) == first
    await records.create_pool(a_pool())
    with pytest.raises(AlreadyExists):
        await records.create_pool(a_pool(min_idle=1))


async def test_a_claim_is_read_live_also_one_that_another_client_released(store: Store) -> None:
    records, another = await store.client(), await store.client()
    for _ in range(4):
        made = await one(another, a_claim(name="c1"))
        assert (await records.claim(key_of(made))).metadata.uid == made.metadata.uid
        await another.delete_claim(made)
        with pytest.raises(NotFound):
            await records.claim(key_of(made))


async def test_the_same_name_in_another_namespace_is_another_record(store: Store) -> None:
    records = await store.client()
    here = await one(records, a_claim(name="c1"))
    there = await one(records, a_claim(name="c1", namespace="other"))
    assert here.metadata.uid != there.metadata.uid


async def test_a_batch_is_answered_in_its_own_order(store: Store) -> None:
    records = await store.client()
    names = ["b", "a", "c"]
    made = await records.create_claims([a_claim(name=n) for n in names])
    assert [m.metadata.name for m in made if isinstance(m, AgentClaim)] == names


async def test_a_status_given_at_creation_does_not_count(store: Store) -> None:
    records = await store.client()
    made = await one(records, a_claim(name="c1", phase=ClaimPhase.READY, conversation_id="x"))
    assert made.status.phase is ClaimPhase.PENDING
    assert made.status.conversation_id is None
    pool = await records.create_pool(a_pool(idle=7))
    assert pool.status == PoolStatus()


async def test_a_claim_that_breaks_its_kind_is_refused_by_field_and_costs_nobody_else(
    store: Store,
) -> None:
    records = await store.client()
    good, canary = a_claim(name="c1"), "canary" * 30
    spec = good.spec.model_copy(update={"agent_id": canary})
    bad = good.model_copy(update={"spec": spec})
    refused, other = await records.create_claims([bad, a_claim(name="c2")])
    assert isinstance(refused, Invalid)
    assert "agent" in str(refused)
    assert "canary" not in str(refused)
    assert isinstance(other, AgentClaim)
    with pytest.raises(NotFound):
        await records.claim(Key("default", "c1"))


async def test_a_pool_whose_fields_contradict_each_other_is_refused(store: Store) -> None:
    records = await store.client()
    with pytest.raises(Invalid):
        await records.create_pool(pool_with(a_pool(), min_idle=11))
    pool = await records.create_pool(a_pool())
    with pytest.raises(Invalid):
        await records.replace_pool(pool_with(pool, min_idle=11))
    assert await records.pool(POOL) == pool


async def test_every_field_of_a_pool_comes_back_as_it_was_written(store: Store) -> None:
    records = await store.client()
    spec = PoolSpec.model_validate_json(
        """{"minIdle": 1, "maxTotal": 2, "namePrefix": "p-", "paused": true,
        "template": {"source": {"repo": {"name": "a/b", "branch": "main", "rootDirectory": "x"}},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"env": "INSTANCE_B"}}],
            "port": 81, "healthcheckPath": "/h"},
        "provisionTimeout": "1h2m3s", "claimTimeout": "45s", "reclaimPolicy": "Delete",
        "railway": {"projectId": "p", "environmentId": "e"}}"""
    )
    pool = a_pool().model_copy(update={"spec": spec})
    assert (await records.create_pool(pool)).spec == spec
    assert (await records.pool(POOL)).spec == spec


async def test_the_generation_moves_with_the_spec_alone(store: Store) -> None:
    records = await store.client()
    made = await records.create_pool(a_pool())
    status = made.status.model_copy(update={"idle": 2})
    seen_ = await records.write_pool_status(made.model_copy(update={"status": status}))
    meta = seen_.metadata.model_copy(update={"annotations": {"a": "1"}})
    noted = await records.replace_pool(seen_.model_copy(update={"metadata": meta}))
    grown = await records.replace_pool(pool_with(noted, min_idle=5))
    generations = [p.metadata.generation for p in (made, seen_, noted, grown)]
    assert generations == [1, 1, 1, 2]
    assert len({p.metadata.resource_version for p in (made, seen_, noted, grown)}) == 4
    assert grown.status.idle == 2
    assert grown.metadata.annotations == {"a": "1"}


async def test_a_pool_is_replaced_only_over_the_version_that_was_read(store: Store) -> None:
    one_, two = await store.client(), await store.client()
    read = await one_.create_pool(a_pool())
    won = await two.replace_pool(pool_with(read, min_idle=5))
    with pytest.raises(Conflict):
        await one_.replace_pool(pool_with(read, min_idle=7))
    with pytest.raises(Conflict):
        await one_.write_pool_status(read.model_copy(update={"status": PoolStatus(idle=1)}))
    assert await one_.pool(POOL) == won


async def test_a_write_that_repeats_what_is_there_changes_nothing(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool())
    assert await records.replace_pool(pool) == pool
    assert await records.write_pool_status(pool) == pool
    assert await records.pool(POOL) == pool


async def test_the_railway_project_of_a_pool_is_immutable(store: Store) -> None:
    records = await store.client()
    pool = await records.create_pool(a_pool(railway=PoolRailway(project_id="mine")))
    with pytest.raises(Invalid):
        await records.replace_pool(pool_with(pool, railway=PoolRailway(project_id="yours")))


async def test_whatever_is_written_of_it_a_claims_spec_stays(store: Store) -> None:
    records = await store.client()
    made = await one(records, a_claim(name="c1"))
    spec = made.spec.model_copy(update={"agent_id": "another", "pool_ref": LocalRef(name="p2")})
    status = made.status.model_copy(update={"phase": ClaimPhase.FAILED})
    await records.settle([Outcome(made.model_copy(update={"spec": spec}), status)])
    now = await records.claim(key_of(made))
    assert now.spec == made.spec
    assert now.metadata.generation == 1


async def test_a_deleted_pool_keeps_its_instances_and_the_same_name_takes_over(
    store: Store,
) -> None:
    records = await store.client()
    [instance] = await intended(store, records)
    claim = await one(records, a_claim())
    old = await records.pool(POOL)
    await records.delete_pool(old)
    view = await seen(store, lambda: records.view(POOL), lambda view: view.pool is None)
    assert view.instances == (instance,)
    assert view.claims == (claim,)
    new = await records.create_pool(a_pool())
    assert new.metadata.uid != old.metadata.uid
    view = await seen(store, lambda: records.view(POOL), lambda view: view.pool == new)
    assert view.instances == (instance,)


async def test_writes_meant_for_a_deleted_pool_do_not_touch_its_successor(store: Store) -> None:
    records = await store.client()
    old = await records.create_pool(a_pool())
    await records.delete_pool(old)
    with pytest.raises(NotFound):
        await records.delete_pool(old)
    new = await records.create_pool(a_pool())
    with pytest.raises(NotFound):
        await records.delete_pool(old)
    with pytest.raises((NotFound, Conflict)):
        await records.replace_pool(pool_with(old, min_idle=9))
    with pytest.raises((NotFound, Conflict)):
        await records.write_pool_status(old.model_copy(update={"status": PoolStatus(idle=1)}))
    assert await records.pool(POOL) == new


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    records, nowhere = await store.client(), Key("default", "nowhere")
    looks: list[Callable[[Key], object]] = [records.pool, records.claim, records.instance]
    for look in looks:
        with pytest.raises(NotFound):
            await look(nowhere)  # type: ignore[misc]
    with pytest.raises(NotFound):
        await records.replace_pool(a_pool(uid="u", resource_version="1"))


async def test_a_released_name_may_be_used_again_and_is_somebody_else(store: Store) -> None:
    records = await store.client()
    old = await one(records, a_claim(name="c1"))
    await records.delete_claim(old)
    new = await one(records, a_claim(name="c1"))
    assert new.metadata.uid != old.metadata.uid
    with pytest.raises(NotFound):
        await records.delete_claim(old)
    assert await settle(records, old, phase=ClaimPhase.FAILED) is None
    assert await records.claim(key_of(new)) == new


async def test_a_withdrawal_holds_only_while_the_claim_is_unchanged(store: Store) -> None:
    records = await store.client()
    read = await one(records, a_claim(name="c1"))
    failed = await settle(records, read, phase=ClaimPhase.FAILED)
    with pytest.raises(Conflict):
        await records.delete_claim(read, unchanged=True)
    assert await records.claim(key_of(read)) == failed
    assert failed is not None
    await records.delete_claim(failed, unchanged=True)
    with pytest.raises(NotFound):
        await records.claim(key_of(read))


async def test_one_installation_has_one_owner_and_one_secret(store: Store) -> None:
    one_, two = await store.client(), await store.client()
    installation = await one_.installation()
    assert installation == await two.installation()
    assert len(installation.owner_id) >= 8
    assert len(installation.instance_secret) >= 32
