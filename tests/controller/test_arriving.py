"""What is being moved in is left alone by every pass: decided purely, and by a whole controller."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from api.records import Bindable, View
from api.records.memory import MemoryRecords
from api.records.memory_moving import MemoryMoving
from api.records.moving import CREATED, IMPORT, ORIGIN
from api.settings import SettingError
from api.types import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase, key_of
from controller.arriving import arrived, still_arriving
from controller.declared import declare
from controller.railway import Service
from tests.builders import NOW, a_claim, a_pool, an_instance
from tests.controller.test_declared import some_records, some_settings
from tests.controller.test_term import a_world, running
from tests.controller.world import ScriptedAgents, SmallRailway, a_store
from tests.virtual_time import in_virtual_time

MARK = {IMPORT: "true", ORIGIN: "there"}


def a_view(pool: AgentPool | None = None, *, claims: Any = (), instances: Any = ()) -> View:
    return View(NOW, pool or a_pool(), tuple(claims), tuple(instances), {})


def test_a_pool_waits_for_the_last_of_what_arrives() -> None:
    marked: dict[str, Any] = {"annotations": MARK}
    assert still_arriving(a_view(a_pool(**marked)))
    assert still_arriving(a_view(claims=[a_claim(), a_claim(**marked)]))
    assert still_arriving(a_view(instances=[an_instance(**marked), an_instance()]))
    assert still_arriving(View(NOW, None, (), (an_instance(**marked),), {}))
    assert not still_arriving(a_view(claims=[a_claim()], instances=[an_instance()]))


def test_nobody_is_bound_while_anything_arrives() -> None:
    """Not even those who have: the idle one that arrives last may be the one they are refused for."""
    claim, idle, pool = a_claim(), an_instance(), a_pool()
    there = Bindable(NOW, (claim,), (idle,), pool)
    assert arrived(there) == there
    for other in (
        Bindable(NOW, (claim, a_claim(annotations=MARK)), (idle,), pool),
        Bindable(NOW, (claim,), (idle, an_instance(annotations=MARK)), pool),
        Bindable(NOW, (claim,), (idle,), a_pool(annotations=MARK)),
    ):
        assert arrived(other) == Bindable(NOW, (), (), other.pool)


def long_ago(**overrides: Any) -> AgentClaim:
    """Its time was over before it arrived."""
    told = {**MARK, CREATED: (NOW - timedelta(days=1)).isoformat()}
    return a_claim(annotations=told, **overrides)


@in_virtual_time
async def test_a_controller_leaves_alone_what_arrives_and_goes_on_with_it_once_it_has() -> None:
    store, railway, agents = a_store(), SmallRailway(), ScriptedAgents()
    records = MemoryRecords(store)
    railway.services["svc-warm"] = Service(id="svc-warm", name="convos-agent-warm")
    moving = MemoryMoving(records)
    async with running(store, railway, agents):
        pools = await moving.bring([a_pool(min_idle=2, annotations=MARK)])
        patient = a_claim(name="new", timeout=timedelta(hours=1), annotations=MARK)
        claims = await moving.bring([long_ago(name="late"), patient])
        ready = {"phase": InstancePhase.IDLE, "url": "https://warm.test", "service_id": "svc-warm"}
        warm = an_instance(name="warm", annotations=MARK, **ready)
        instances: list[AgentInstance] = await moving.bring([warm])
        before = len(store.log)
        await asyncio.sleep(300)
        assert len(store.log) == before
        assert agents.told == []
        assert "create_empty" not in railway.sent

        await moving.admit(claims)
        await moving.admit(instances)
        before = len(store.log)
        await asyncio.sleep(300)
        assert len(store.log) == before

        await moving.admit(pools)
        await asyncio.sleep(60)
        late, new = await records.claims([key_of(c) for c in claims])
        assert (late.status.phase, new.status.phase) == (ClaimPhase.FAILED, ClaimPhase.READY)
        assert new.status.instance is not None
        assert new.status.instance.name == "warm"
        assert "create_empty" in railway.sent


@in_virtual_time
async def test_an_import_beside_it_is_no_affair_of_another_pool() -> None:
    store, railway, agents, records = await a_world(min_idle=1, name="default")
    await MemoryMoving(records).bring([a_pool(name="arriving", min_idle=5, annotations=MARK)])
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        assert railway.sent.count("create_empty") == 1


async def test_changed_variables_do_not_overwrite_a_pool_that_arrives() -> None:
    records = some_records()
    [pool] = await MemoryMoving(records).bring([a_pool(annotations=MARK)])
    with pytest.raises(SettingError, match="the pool `default` is being moved in"):
        await declare(records, some_settings())
    assert await records.pools() == [pool]
