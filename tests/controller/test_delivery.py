"""Hand-overs under way: who tells, how often, how many at once, and what a restart leaves."""

import asyncio
from collections.abc import Callable

import pytest

from api.records import Bind, Unavailable
from api.records.memory import MemoryRecords, Shape
from api.types import AgentClaim, AgentInstance, Attempt, ClaimPhase, key_of
from controller.agents import Heard, Status
from controller.delivery import VIEWS_LAST_S, Deliveries, Promise
from controller.handover import LONG_AGO, Rules
from controller.storetime import StoreTime
from tests.builders import NOW, a_claim
from tests.controller.parts import reasons, seconds
from tests.controller.world import ScriptedAgents, a_store, answers, bound, now, warm
from tests.virtual_time import in_virtual_time

LATER = NOW + seconds(600)


def some_deliveries(
    records: MemoryRecords,
    agents: ScriptedAgents,
    me: str = "me",
    may_act: Callable[[], bool] = lambda: True,
    calls_at_once: int = 10,
) -> Deliveries:
    time = StoreTime(now)
    time.saw(records.store.clock())
    return Deliveries(
        records,
        agents,
        keys=lambda _: ("key",),
        rules=Rules(me, handover_timeout_s=60.0),
        time=time,
        clock=now,
        may_act=may_act,
        calls_at_once=calls_at_once,
    )


async def carried(
    records: MemoryRecords, deliveries: Deliveries, pair: tuple[AgentClaim, AgentInstance]
) -> AgentClaim:
    """Carry it as its binder; the claim when nobody carries it any more."""
    deliveries.start(Promise(*pair, LATER), bound_at=now())
    return await ended(records, deliveries, pair[0])


async def ended(records: MemoryRecords, deliveries: Deliveries, claim: AgentClaim) -> AgentClaim:
    async with asyncio.timeout(1000):
        while len(deliveries):
            await asyncio.sleep(0.1)
    return await records.claim(key_of(claim))


@in_virtual_time
async def test_a_claim_that_we_bound_is_told_at_once_and_is_ready() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    pair = await bound(records, by="me")
    claim = await carried(records, some_deliveries(records, agents), pair)
    assert (claim.status.phase, claim.status.conversation_id) == ("Ready", "conversation")
    assert agents.told == [(0.0, "https://agent0.test")]


@in_virtual_time
async def test_a_promise_is_carried_once_however_often_it_is_seen() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    deliveries, pair = some_deliveries(records, agents), await bound(records, by="me")
    for _ in range(3):
        deliveries.start(Promise(*pair, LATER), bound_at=now())
    await ended(records, deliveries, pair[0])
    assert len(agents.told) == 1


@in_virtual_time
async def test_a_pass_that_looked_before_the_end_begins_nothing_anew() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    deliveries, pair = some_deliveries(records, agents), await bound(records, by="me")
    await carried(records, deliveries, pair)
    deliveries.start(Promise(*pair, LATER))  # By an old view.
    assert len(deliveries) == 0
    await asyncio.sleep(VIEWS_LAST_S + 1)
    deliveries.start(Promise(*pair, LATER))  # No view is that old: it is so on record again.
    assert len(deliveries) == 1
    await deliveries.stop()


@in_virtual_time
async def test_a_bind_that_took_longer_than_its_attempt_is_fresh_is_renewed_before_it_tells() -> (
    None
):
    """As after a stop of this process between the bind's write and its answer."""
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    pair = await bound(records, by="me")
    began = now()
    await asyncio.sleep(70)
    deliveries = some_deliveries(records, agents)
    deliveries.start(Promise(*pair, LATER), bound_at=began)
    claim = await ended(records, deliveries, pair[0])
    assert claim.status.attempt == Attempt(by="me", at=NOW + seconds(70))
    assert len(agents.told) == 1


@in_virtual_time
async def test_who_waits_in_line_to_renew_for_longer_than_that_is_fresh_is_told_all_the_same() -> (
    None
):
    """A store that makes one write a second, and ten binds that all took too long."""

    async def pause(op: str) -> None:
        if op == "settle before":
            await asyncio.sleep(1.0)

    records = MemoryRecords(a_store(), Shape.TWO, pause=pause)
    records.together = 4
    claims = await records.create_claims([a_claim(name=f"claim-{n}") for n in range(10)])
    pairs = zip(claims, await warm(records, "agent", 10), strict=True)
    binds = [Bind(claim, i) for claim, i in pairs if isinstance(claim, AgentClaim)]
    held = await records.bind(binds, Attempt(by="me", at=await records.now()))
    began = now()
    await asyncio.sleep(10)
    agents = ScriptedAgents()
    deliveries = some_deliveries(records, agents)
    for bind in held:
        deliveries.start(Promise(bind.claim, bind.instance, LATER), bound_at=began)
    async with asyncio.timeout(60):
        while len(deliveries):
            await asyncio.sleep(0.1)
    assert len(agents.told) == 10


async def test_a_bind_that_was_found_by_an_old_look_is_not_told_once_its_claim_is_released() -> (
    None
):
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    pair = await bound(records, by="me")
    await records.delete_claim(pair[0])
    deliveries = some_deliveries(records, agents)
    deliveries.start(Promise(*pair, LATER), bound_at=LONG_AGO)
    await asyncio.sleep(1)
    assert (len(deliveries), agents.told) == (0, [])


@in_virtual_time
async def test_whose_attempt_was_taken_over_meanwhile_tells_nobody() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    claim, instance = await bound(records, by="another")
    deliveries, began = some_deliveries(records, agents), now()
    await asyncio.sleep(50)
    deliveries.start(Promise(claim, instance, LATER), bound_at=began)
    await asyncio.sleep(59)
    assert agents.told == []


@in_virtual_time
async def test_a_take_over_whose_answer_came_late_is_made_again_before_it_tells() -> None:
    store, agents, stopped_s = a_store(), ScriptedAgents(), 70.0

    async def pause(op: str) -> None:
        nonlocal stopped_s
        if op == "settle after":
            stop_s, stopped_s = stopped_s, 0.0
            await asyncio.sleep(stop_s)

    claim, instance = await bound(MemoryRecords(store), by="dead")
    records = MemoryRecords(store, pause=pause)
    deliveries = some_deliveries(records, agents)
    deliveries.start(Promise(claim, instance, LATER))
    await ended(records, deliveries, claim)
    ((told_at, _),) = agents.told
    attempt = (await records.claim(key_of(claim))).status.attempt
    assert attempt is not None
    assert told_at - (attempt.at - NOW).total_seconds() < 5.0


@in_virtual_time
async def test_another_process_takes_over_only_after_the_attempt_ran_out() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    claim, instance = await bound(records, by="dead")
    deliveries = some_deliveries(records, agents)
    deliveries.start(Promise(claim, instance, LATER))
    claim = await ended(records, deliveries, claim)
    assert claim.status.phase is ClaimPhase.READY
    assert 60.0 <= agents.told[0][0] < 65.0


@in_virtual_time
async def test_what_a_dead_process_has_told_is_found_by_asking() -> None:
    records = MemoryRecords(a_store())
    serves = Status(reached=True, ready=True, provisioned=True, conversation_id="conversation")
    agents = ScriptedAgents(says=serves)
    claim, instance = await bound(records, by="dead")
    deliveries = some_deliveries(records, agents)
    deliveries.start(Promise(claim, instance, LATER))
    claim = await ended(records, deliveries, claim)
    assert (claim.status.phase, agents.told) == (ClaimPhase.READY, [])
    assert now() < 1


@in_virtual_time
async def test_of_two_processes_that_watch_a_dead_one_only_one_tells() -> None:
    store, agents = a_store(), ScriptedAgents()
    records = MemoryRecords(store)
    claim, instance = await bound(records, by="dead")
    both = [some_deliveries(MemoryRecords(store), agents, me) for me in ("one", "two")]
    for deliveries in both:
        deliveries.start(Promise(claim, instance, LATER))
    for deliveries in both:
        claim = await ended(records, deliveries, claim)
    assert (claim.status.phase, len(agents.told)) == (ClaimPhase.READY, 1)


@in_virtual_time
async def test_a_silent_agent_is_never_told_twice_at_once_and_in_the_end_barred() -> None:
    records = MemoryRecords(a_store())
    agents = ScriptedAgents([answers(after_s=1000)], says=Status(reached=False))
    pair = await bound(records, by="me")
    claim = await carried(records, some_deliveries(records, agents), pair)
    assert (claim.status.phase, agents.most_open) == (ClaimPhase.PENDING, 1)
    assert 60.0 <= now() < 66.0
    assert (await records.instance(key_of(pair[1]))).status.barred == "Silent"


@in_virtual_time
async def test_an_agent_that_was_only_slow_is_asked_and_told_again_after_its_time() -> None:
    records = MemoryRecords(a_store())
    agents = ScriptedAgents([answers(Heard.SILENT)])
    pair = await bound(records, by="me")
    claim = await carried(records, some_deliveries(records, agents), pair)
    assert claim.status.phase is ClaimPhase.READY
    first, second = (at for at, _ in agents.told)
    assert second - first >= 60.0


@in_virtual_time
async def test_calls_are_bounded_and_nobody_is_told_under_an_attempt_that_grew_old_in_line() -> (
    None
):
    records, agents = MemoryRecords(a_store()), ScriptedAgents([answers(after_s=4)] * 6)
    instances = await warm(records, "agent", 6)
    deliveries = some_deliveries(records, agents, calls_at_once=2)
    claims = await claimed(records, instances)
    for claim, instance in zip(claims, instances, strict=True):
        deliveries.start(Promise(claim, instance, LATER), bound_at=now())
    for claim in claims:
        at_end = await ended(records, deliveries, claim)
        assert at_end.status.phase is ClaimPhase.READY
    assert (agents.most_open, [at for at, _ in agents.told]) == (2, [0, 0, 4, 4, 8, 8])


async def claimed(records: MemoryRecords, instances: list[AgentInstance]) -> list[AgentClaim]:
    wishes = await records.create_claims([a_claim() for _ in instances])
    binds = [
        Bind(c, i) for c, i in zip(wishes, instances, strict=True) if isinstance(c, AgentClaim)
    ]
    held = await records.bind(binds, Attempt(by="me", at=await records.now()))
    return [bind.claim for bind in held]


@in_virtual_time
async def test_nobody_is_told_by_a_process_that_may_not_act() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents()
    pair = await bound(records, by="me")
    deliveries = some_deliveries(records, agents, may_act=lambda: False)
    deliveries.start(Promise(*pair, LATER), bound_at=now())
    await asyncio.sleep(100)
    assert agents.told == []
    await deliveries.stop()


@in_virtual_time
async def test_what_an_agent_said_is_not_forgotten_in_a_gap_of_the_lease() -> None:
    """Stopped for longer than its lease, the binder finds it still its own: its 409 came but once."""
    agents = ScriptedAgents([answers(Heard.ALREADY, after_s=5)])
    agents.says = Status(reached=True, ready=True, provisioned=True, conversation_id="a stranger's")
    records, began = MemoryRecords(a_store()), now()
    deliveries = some_deliveries(records, agents, may_act=lambda: not 4 < now() - began < 8)
    claim = await carried(records, deliveries, await bound(records, by="me"))
    left = claim.status.conditions
    assert (claim.status.phase, reasons(left)["Bound"]) == (ClaimPhase.PENDING, "UsedByStranger")


@in_virtual_time
async def test_a_stop_cuts_every_call() -> None:
    records, agents = MemoryRecords(a_store()), ScriptedAgents([answers(after_s=50)])
    deliveries, pair = some_deliveries(records, agents), await bound(records, by="me")
    deliveries.start(Promise(*pair, LATER), bound_at=now())
    await asyncio.sleep(1)
    await deliveries.stop()
    await asyncio.sleep(0)
    assert (agents.open, len(deliveries)) == (0, 0)


@in_virtual_time
async def test_what_an_agent_said_is_not_forgotten_while_the_store_does_not_answer() -> None:
    """A stranger's conversation would be taken for ours by whoever only asks: its 409 came but once."""
    store, agents = a_store(), ScriptedAgents([answers(Heard.ALREADY)])
    agents.says = Status(reached=True, ready=True, provisioned=True, conversation_id="a stranger's")
    records, down = MemoryRecords(store), True

    async def pause(op: str) -> None:
        if down and op == "settle before":
            raise Unavailable(op)

    deliveries = some_deliveries(MemoryRecords(store, pause=pause), agents)
    claim, instance = await bound(records, by="me")
    deliveries.start(Promise(claim, instance, LATER), bound_at=now())
    await asyncio.sleep(5)
    assert (await records.claim(key_of(claim))).status.phase is ClaimPhase.BOUND
    down = False
    claim = await ended(records, deliveries, claim)
    assert (claim.status.phase, len(agents.told)) == (ClaimPhase.PENDING, 1)
    assert (await records.instance(key_of(instance))).status.barred == "UsedByStranger"


@in_virtual_time
async def test_a_write_that_was_made_although_its_answer_was_lost_is_not_made_twice() -> None:
    store, agents = a_store(), ScriptedAgents()
    records, lost = MemoryRecords(store), ["settle after"]

    async def pause(op: str) -> None:
        if op in lost:
            lost.remove(op)
            raise Unavailable(op)

    deliveries = some_deliveries(MemoryRecords(store, pause=pause), agents)
    claim = await carried(records, deliveries, await bound(records, by="me"))
    assert (claim.status.phase, len(agents.told)) == (ClaimPhase.READY, 1)


@pytest.mark.parametrize("heard", [Heard.UNREACHED, Heard.WRONG_KEY])
def test_agents_that_no_call_gets_through_to_are_counted_until_one_is_reached(
    heard: Heard,
) -> None:
    @in_virtual_time
    async def case() -> None:
        records = MemoryRecords(a_store())
        deliveries = some_deliveries(records, ScriptedAgents([answers(heard)]))
        await carried(records, deliveries, await bound(records, by="me"))
        assert deliveries.unreached == 1

    case()


@in_virtual_time
async def test_why_a_claim_was_let_go_stands_in_its_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    records = MemoryRecords(a_store())
    deliveries = some_deliveries(records, ScriptedAgents([answers(Heard.UNREACHED)]))
    await carried(records, deliveries, await bound(records, by="me"))
    said = [r for r in caplog.records if r.getMessage() == "claim is Pending: Unreached"]
    assert [vars(r)["claim"] for r in said] == ["claim-1"]
