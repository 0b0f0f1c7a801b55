"""Half binds as they are mended, on real records that write the two sides one after the other."""

import pytest

from api.records.memory import Shape
from api.types import AgentClaim, AgentInstance, ClaimPhase, InstancePhase, key_of
from controller.halfbinds import mend
from tests.records.harness import MemoryHarness
from tests.records.steps import agreed, changed, half_bind, idle, pending


@pytest.fixture
def store() -> MemoryHarness:
    return MemoryHarness(Shape.TWO)


async def a_half_bind(store: MemoryHarness) -> tuple[AgentClaim, AgentInstance]:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    return await half_bind(records, claim, instance), instance


async def a_half_bind_of_a_failed_one(store: MemoryHarness) -> tuple[AgentClaim, AgentInstance]:
    claim, instance = await a_half_bind(store)
    records = await store.client()
    [failed] = await records.write_instances([changed(instance, phase=InstancePhase.FAILED)])
    assert failed is not None
    return claim, failed


async def test_it_is_completed_while_the_instance_may_be_offered(store: MemoryHarness) -> None:
    claim, instance = await a_half_bind(store)
    records = await store.client()
    [bind] = await mend(records, claim, instance, await records.now())
    assert bind.claim.metadata.uid == claim.metadata.uid
    assert await agreed(records, [claim]) == {claim.metadata.name: instance.metadata.name}


async def test_an_instance_that_may_be_idle_again_is_barred_before_its_claim_is_let_go(
    store: MemoryHarness,
) -> None:
    claim, failed = await a_half_bind_of_a_failed_one(store)
    records = await store.client()
    assert await mend(records, claim, failed, await records.now()) == ()
    assert (await records.instance(key_of(failed))).status.barred == "HalfBind"
    assert (await records.claim(key_of(claim))).status.phase is ClaimPhase.PENDING


async def test_its_claim_waits_where_the_instance_has_changed_meanwhile(
    store: MemoryHarness,
) -> None:
    claim, failed = await a_half_bind_of_a_failed_one(store)
    records = await store.client()
    [again] = await records.write_instances([changed(failed, phase=InstancePhase.IDLE)])
    assert again is not None
    assert await mend(records, claim, failed, await records.now()) == ()
    assert (await records.claim(key_of(claim))).status.phase is ClaimPhase.BOUND
