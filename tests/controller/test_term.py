"""The whole controller in virtual time: it fills a pool, rests, serves, and goes on from where it was cut."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.records import Bell
from api.records.memory import MemoryRecords
from api.records.memory_store import MemoryStore
from api.types import (
    AgentClaim,
    AgentInstance,
    ClaimPhase,
    InstancePhase,
    Key,
    OnEmpty,
    ReclaimPolicy,
)
from controller.leading import Controller
from controller.railway import Unclear
from controller.template import Recipe
from controller.term import Charge, Ports
from tests.builders import RAILWAY, a_claim, a_pool
from tests.controller.world import ScriptedAgents, SmallRailway, a_store, now
from tests.virtual_time import in_virtual_time

DEFAULT = Key("default", "default")
MADE = ["create_empty", "create_domain", "patch"]


def a_controller(
    store: MemoryStore,
    railway: SmallRailway,
    agents: ScriptedAgents,
    me: str = "one",
    records: type[MemoryRecords] = MemoryRecords,
) -> Controller:
    keys = {"INSTANCE_ANTHROPIC_API_KEY": "sk"}
    recipe = Recipe(owner_id="us", secrets=(b"s" * 32,), instance_variables=keys)
    ports = Ports(records(store), railway, agents, now, random.Random(me))
    return Controller(ports, Charge(me=me, recipe=recipe, where=RAILWAY))


@asynccontextmanager
async def running(
    store: MemoryStore, railway: SmallRailway, agents: ScriptedAgents, **how: Any
) -> AsyncIterator[Controller]:
    controller = a_controller(store, railway, agents, **how)
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def a_world(**pool: Any) -> tuple[MemoryStore, SmallRailway, ScriptedAgents, MemoryRecords]:
    store = a_store()
    records = MemoryRecords(store)
    await records.create_pool(a_pool(**pool))
    return store, SmallRailway(), ScriptedAgents(), records


async def in_phase(records: MemoryRecords, phase: InstancePhase) -> list[AgentInstance]:
    return [i for i in await records.instances() if i.status.phase is phase]


async def claim(records: MemoryRecords, **overrides: Any) -> AgentClaim:
    (made,) = await records.create_claims([a_claim(**overrides)])
    assert isinstance(made, AgentClaim)
    return made


async def status_of(records: MemoryRecords, made: AgentClaim) -> ClaimPhase:
    return (await records.claim(Key("default", made.metadata.name))).status.phase


@in_virtual_time
async def test_a_full_pass_in_the_middle_of_our_own_bind_does_not_take_it_for_anothers() -> None:
    """Seen before the bind's answer, the claim would first be asked about, and told a minute later."""
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)

        async def slow(op: str) -> None:
            await asyncio.sleep(2 if op == "bind after" else 0)

        store.pause = slow
        made = await claim(records)
        await asyncio.sleep(1)
        await records.ring(Bell("pool", "default", "default"))
        await asyncio.sleep(5)
        assert await status_of(records, made) is ClaimPhase.READY


# ---------------------------------------------------------------- a pool


@in_virtual_time
async def test_a_pool_is_filled_with_three_requests_for_each_instance() -> None:
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        assert len(await in_phase(records, InstancePhase.IDLE)) == 3
    writes = [name for name in railway.sent if name not in ("probe", "observe", "owner_of")]
    assert sorted(writes) == sorted(MADE * 3)


@in_virtual_time
async def test_a_pool_at_rest_causes_no_write() -> None:
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        written, looked = len(store.log), railway.sent.count("observe")
        await asyncio.sleep(3600)
        assert len(store.log) == written
    assert railway.sent.count("observe") - looked <= 3600 / 30 + 1
    assert (await records.pool(DEFAULT)).status.idle == 3


@in_virtual_time
async def test_a_restart_of_a_pool_at_rest_causes_no_write_either() -> None:
    store, railway, agents, _ = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
    written = len(store.log)
    async with running(store, railway, agents, me="two"):
        await asyncio.sleep(120)
    assert len(store.log) == written


@in_virtual_time
async def test_a_paused_pool_makes_nothing() -> None:
    store, railway, agents, _ = await a_world(paused=True)
    async with running(store, railway, agents):
        await asyncio.sleep(120)
    assert "create_empty" not in railway.sent


@in_virtual_time
async def test_a_service_deleted_by_hand_is_replaced() -> None:
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        railway.services.popitem()
        await asyncio.sleep(180)
        assert len(await in_phase(records, InstancePhase.IDLE)) == 3
        assert len(await records.instances()) == 3


@in_virtual_time
async def test_a_surplus_is_deleted_under_the_policy_that_allows_it() -> None:
    store, railway, agents, records = await a_world(reclaim_policy=ReclaimPolicy.DELETE)
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        pool = await records.pool(DEFAULT)
        spec = pool.spec.model_copy(update={"min_idle": 1})
        await records.replace_pool(pool.model_copy(update={"spec": spec}))
        await asyncio.sleep(120)
        assert len(await records.instances()) == len(railway.services) == 1
    assert railway.sent.count("delete") == 2


class Cut(SmallRailway):
    """Breaks off at the `cut_at`-th write, before or after its effect, for ever silent about it."""

    cut_at = 0
    after = False
    writes = 0

    async def _call(self, name: str) -> None:
        await super()._call(name)
        if name in MADE:
            self.writes += 1
            if self.writes == self.cut_at + self.after:
                await asyncio.Event().wait()


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("cut_at", [1, 2, 3])
def test_a_controller_cut_off_at_any_step_is_followed_by_one_that_goes_on(
    cut_at: int, after: bool
) -> None:
    @in_virtual_time
    async def case() -> None:
        store, _, agents, records = await a_world(min_idle=1)
        railway = Cut()
        railway.cut_at, railway.after = cut_at, after
        async with running(store, railway, agents):
            await asyncio.sleep(60)
        railway.cut_at = 0
        async with running(store, railway, agents, me="two"):
            await asyncio.sleep(180)
            assert len(await in_phase(records, InstancePhase.IDLE)) == 1
        assert len(railway.services) == len(await records.instances()) == 1
        assert railway.sent.count("patch") <= 2

    case()


@in_virtual_time
async def test_creates_whose_answers_are_lost_make_as_many_services_as_instances() -> None:
    class Lossy(SmallRailway):
        async def create_empty(self, name: str) -> str:
            await super().create_empty(name)
            raise Unclear("504")

    store, _, agents, records = await a_world()
    railway = Lossy()
    async with running(store, railway, agents):
        await asyncio.sleep(180)
        assert len(await in_phase(records, InstancePhase.IDLE)) == 3
    assert len(railway.services) == railway.sent.count("create_empty") == 3


# ---------------------------------------------------------------- claims


@in_virtual_time
async def test_a_claim_is_ready_within_a_second_and_its_place_is_filled_again() -> None:
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        made = await claim(records)
        await asyncio.sleep(1)
        assert await status_of(records, made) is ClaimPhase.READY
        await asyncio.sleep(120)
        assert (await records.pool(DEFAULT)).status.idle == 3
    assert len(agents.told) == 1


@in_virtual_time
async def test_a_claimed_service_is_renamed_so_that_it_can_be_found() -> None:
    store, railway, agents, records = await a_world(name_prefix="agent-")
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        await claim(records, agent_id="tokyo")
        await asyncio.sleep(120)
    names = [s.name for s in railway.services.values() if "tokyo" in s.name]
    assert (len(names), railway.sent.count("rename")) == (1, 1)


class Down(SmallRailway):
    """Its API hangs, then says nothing of use."""

    down = False

    async def _call(self, name: str) -> None:
        if self.down:
            await asyncio.sleep(90)
            raise Unclear("no answer")
        await super()._call(name)


@in_virtual_time
async def test_while_railway_hangs_a_controller_that_starts_serves_claims_at_once() -> None:
    store, _, agents, records = await a_world()
    railway = Down()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
    railway.down = True
    early = await claim(records)
    async with running(store, railway, agents, me="two"):
        await asyncio.sleep(7)
        assert await status_of(records, early) is ClaimPhase.READY
        late = await claim(records)
        await asyncio.sleep(1)
        assert await status_of(records, late) is ClaimPhase.READY


class CountingRecords(MemoryRecords):
    looks = 0

    async def bindable(self, *args: Any, **kwargs: Any) -> Any:
        CountingRecords.looks += 1
        return await super().bindable(*args, **kwargs)


@in_virtual_time
async def test_claims_that_wait_for_nobody_cost_next_to_nothing() -> None:
    store, railway, agents, records = await a_world(min_idle=0, max_total=0)
    await records.create_claims([a_claim() for _ in range(250)])
    async with running(store, railway, agents, records=CountingRecords):
        await asyncio.sleep(300)
    assert 0 < CountingRecords.looks < 50


class SmallBatches(MemoryRecords):
    together = 4

    async def bind(self, binds: Any, attempt: Any) -> Any:
        assert len(binds) <= self.together
        return await super().bind(binds, attempt)


@in_virtual_time
async def test_no_more_are_bound_at_once_than_the_store_takes_together() -> None:
    """Else the first of two hundred binds is on record for seconds before its agent may be told."""
    store, railway, agents, records = await a_world(min_idle=10, max_total=20)
    async with running(store, railway, agents, records=SmallBatches):
        await asyncio.sleep(120)
        made = [await claim(records) for _ in range(10)]
        await asyncio.sleep(1)
        assert [await status_of(records, each) for each in made] == [ClaimPhase.READY] * 10


@in_virtual_time
async def test_who_would_not_wait_is_refused_at_once_and_who_waits_gets_the_next() -> None:
    store, railway, agents, records = await a_world(min_idle=0)
    async with running(store, railway, agents):
        await asyncio.sleep(60)
        refused = await claim(records, on_empty=OnEmpty.FAIL)
        await asyncio.sleep(1)
        assert await status_of(records, refused) is ClaimPhase.FAILED
        waits = await claim(records)
        await asyncio.sleep(60)
        assert await status_of(records, waits) is ClaimPhase.READY


@pytest.mark.parametrize(("pool_there", "why"), [(True, "TimedOut"), (False, "PoolNotFound")])
def test_a_claim_that_nobody_can_serve_fails_at_its_deadline_and_the_log_says_why(
    pool_there: bool, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    @in_virtual_time
    async def case() -> None:
        store, railway, agents, records = await a_world(min_idle=0, max_total=0)
        if not pool_there:
            await records.delete_pool(await records.pool(DEFAULT))
        async with running(store, railway, agents):
            made = await claim(records)
            await asyncio.sleep(599)
            assert await status_of(records, made) is ClaimPhase.PENDING
            await asyncio.sleep(2)
            assert await status_of(records, made) is ClaimPhase.FAILED
            assert f"claim is Failed: {why}" in [r.getMessage() for r in caplog.records]

    case()


@pytest.mark.parametrize(("policy", "left"), [(ReclaimPolicy.RETAIN, 2), (ReclaimPolicy.DELETE, 1)])
def test_a_released_claims_service_goes_only_if_the_claim_said_so(
    policy: ReclaimPolicy, left: int
) -> None:
    @in_virtual_time
    async def case() -> None:
        store, railway, agents, records = await a_world(min_idle=1)
        async with running(store, railway, agents):
            await asyncio.sleep(60)
            made = await claim(records, reclaim_policy=policy)
            await asyncio.sleep(60)
            await records.delete_claim(made)
            await asyncio.sleep(120)
        assert len(railway.services) == left

    case()


@in_virtual_time
async def test_who_asked_for_a_look_hears_of_it_only_after_the_look() -> None:
    store, railway, agents, records = await a_world()
    heard: list[float] = []

    async def listen() -> None:
        async for bell in records.bells():
            if bell.kind == "looked":
                heard.append(now())

    listening = asyncio.create_task(listen())
    async with running(store, railway, agents):
        await asyncio.sleep(125)
        await records.ring(Bell("look", "default", "default"))
        await records.ring(Bell("pool", "default", "default"))
        await asyncio.sleep(10)
    listening.cancel()
    looked_in_s = [at - 125 for at in heard]
    assert len(looked_in_s) == 1
    assert looked_in_s[0] > 0.09  # A look takes 0.1 s.


@in_virtual_time
async def test_of_two_controllers_one_leads_and_the_other_follows_its_death() -> None:
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents, me="two") as two:
        async with running(store, railway, agents, me="one"):
            await asyncio.sleep(60)
        await asyncio.sleep(60)
        assert two.elector.leading
        assert len(await in_phase(records, InstancePhase.IDLE)) == 3
    assert railway.sent.count("create_empty") == 3
