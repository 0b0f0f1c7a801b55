"""The door without sockets: every row of DESIGN.md section 7's table about `POST /api/pool/claim`."""

import asyncio

import pytest

from api.answers import (
    NO_IDLE,
    NO_POOL,
    NO_VERDICT,
    OTHER_BODY,
    UNDER_WAY,
    UNREACHABLE,
    Answer,
    Failure,
    Queued,
    Served,
)
from api.door import Patience
from api.records import Unavailable
from api.records.memory import Shape
from api.types import ClaimPhase, OnEmpty
from tests.rest.world import World, a_world, an_ask, now_s
from tests.virtual_time import in_virtual_time


def error_of(answer: Answer) -> str:
    assert isinstance(answer.body, Failure)
    return answer.body.error


@in_virtual_time
async def test_a_claim_is_answered_with_the_invite_of_the_agent_that_serves_it() -> None:
    async with a_world(World.control_for_ever) as world:
        [instance] = await world.idle()
        answer = await world.door.claim(an_ask())
    assert answer.status == 200
    assert isinstance(answer.body, Served)
    assert answer.body.instance_id == instance.metadata.name
    assert answer.body.invite_url == world.claims[0].status.invite_url
    assert answer.body.joined is None


@in_virtual_time
async def test_on_a_join_the_invite_is_the_url_that_was_joined() -> None:
    async with a_world(World.control_for_ever) as world:
        await world.idle()
        answer = await world.door.claim(an_ask(join_url="https://dev.convos.org/v2?i=theirs"))
    assert isinstance(answer.body, Served)
    assert answer.body.invite_url == "https://dev.convos.org/v2?i=theirs"
    assert answer.body.joined is True


@pytest.mark.parametrize("shape", Shape)
def test_fifty_posts_of_one_key_at_once_are_one_claim_and_one_answer(shape: Shape) -> None:
    @in_virtual_time
    async def fifty() -> None:
        async with a_world(World.control_for_ever, shape=shape) as world:
            await world.idle(3)
            asking = [world.door.claim(an_ask(key="k")) for _ in range(50)]
            answers = await asyncio.gather(*asking)
        assert len(world.claims) == 1
        assert answers == [answers[0]] * 50
        assert answers[0].status == 200

    fifty()


@in_virtual_time
async def test_a_key_asked_again_later_gets_the_answer_it_got_before() -> None:
    async with a_world(World.control_for_ever) as world:
        await world.idle(2)
        first = await world.door.claim(an_ask(key="k"))
        assert await world.door.claim(an_ask(key="k")) == first
        assert await world.door.claim(an_ask(key="k", wait_s=5)) == first


@pytest.mark.parametrize(
    "other",
    [
        {"instructions": "Be somebody else."},
        {"agent_id": "other"},
        {"join_url": "https://x.org/y"},
        {"pool": "other"},
    ],
)
def test_a_key_used_again_with_another_body_is_a_conflict(other: dict[str, str]) -> None:
    @in_virtual_time
    async def twice() -> None:
        async with a_world(World.control_for_ever) as world:
            await world.idle(2)
            await world.door.claim(an_ask(key="k"))
            answer = await world.door.claim(an_ask(key="k", **other))
        assert (answer.status, error_of(answer)) == (409, OTHER_BODY)
        assert len(world.claims) == 1

    twice()


@in_virtual_time
async def test_nobody_idle_is_a_refusal_that_leaves_nothing_behind() -> None:
    async with a_world(World.control_for_ever) as world:
        answer = await world.door.claim(an_ask())
    assert (answer.status, error_of(answer)) == (503, NO_IDLE)
    assert answer.retry_after_s
    assert not answer.located
    assert world.claims == []


@in_virtual_time
async def test_after_a_refusal_the_same_key_may_try_again() -> None:
    async with a_world(World.control_for_ever) as world:
        assert (await world.door.claim(an_ask(key="k"))).status == 503
        await world.idle()
        assert (await world.door.claim(an_ask(key="k"))).status == 200


@in_virtual_time
async def test_a_refusal_left_on_record_by_a_dead_sidecar_is_begun_anew_by_its_key() -> None:
    async with a_world() as world:
        dead = asyncio.create_task(world.door.claim(an_ask(key="k")))
        refused = await world.only_claim()
        dead.cancel()
        await world.fail(refused, "NoneIdle")
        again = asyncio.create_task(world.door.claim(an_ask(key="k")))
        await asyncio.sleep(1)
        anew = await world.only_claim()
        assert anew.metadata.uid != refused.metadata.uid
        await world.idle()
        await world.decide()
        assert (await again).status == 200


@in_virtual_time
async def test_any_other_failure_is_an_answer_and_stays_one() -> None:
    async with a_world() as world:
        asking = asyncio.create_task(world.door.claim(an_ask(key="k")))
        await world.fail(await world.only_claim(), "TimedOut", "no agent took it in 10m")
        answer = await asking
        assert (answer.status, error_of(answer)) == (500, "no agent took it in 10m")
        assert await world.door.claim(an_ask(key="k")) == answer


@in_virtual_time
async def test_without_a_verdict_in_ten_seconds_the_claim_is_withdrawn() -> None:
    async with a_world() as world:
        await world.idle()
        answer = await world.door.claim(an_ask())
    assert (answer.status, error_of(answer)) == (503, NO_VERDICT)
    assert now_s() == pytest.approx(10, abs=0.1)
    assert world.claims == []


@in_virtual_time
async def test_a_claim_from_a_pool_that_is_not_there_says_so() -> None:
    async with a_world() as world:
        answer = await world.door.claim(an_ask(pool="none"))
    assert (answer.status, error_of(answer)) == (404, NO_POOL)
    assert world.claims == []


@in_virtual_time
async def test_a_claim_that_was_bound_is_not_withdrawn_but_waited_for() -> None:
    async with a_world() as world:
        await world.idle()
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await world.only_claim()
        [bound] = await world.bind()
        await asyncio.sleep(60)
        await world.ready(bound)
        assert (await asking).status == 200


@in_virtual_time
async def test_a_bind_in_the_very_moment_of_the_withdrawal_wins() -> None:
    async with a_world() as world:
        await world.idle()

        async def bind_first(op: str) -> None:
            if op == "delete_claim before":
                await world.bind()

        world.records.pause = bind_first
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await asyncio.sleep(15)
        [bound] = world.claims
        assert bound.status.phase is ClaimPhase.BOUND
        await world.ready(bound)
        assert (await asking).status == 200


@in_virtual_time
async def test_after_two_minutes_the_client_learns_where_its_claim_is() -> None:
    async with a_world() as world:
        await world.idle()
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await world.only_claim()
        await world.bind()
        answer = await asking
    assert now_s() == pytest.approx(120, abs=0.1)
    assert (answer.status, error_of(answer)) == (503, UNDER_WAY)
    assert answer.located
    assert answer.retry_after_s
    assert world.claims[0].metadata.name == answer.claim


@in_virtual_time
async def test_a_stop_answers_everybody_who_waits_at_once() -> None:
    async with a_world() as world:
        plain = asyncio.create_task(world.door.claim(an_ask()))
        patient = asyncio.create_task(world.door.claim(an_ask(wait_s=100)))
        await world.claims_on_record(2)
        await world.door.close()
        refused, queued = await plain, await patient
    assert now_s() < 1
    assert (refused.status, refused.located) == (503, True)
    assert (queued.status, queued.located) == (202, True)
    assert len(world.claims) == 2


@in_virtual_time
async def test_who_may_wait_is_told_the_position_when_the_time_is_over() -> None:
    async with a_world(World.control_for_ever) as world:
        first = await world.door.claim(an_ask(wait_s=0))
        second = await world.door.claim(an_ask(wait_s=7))
    assert now_s() == pytest.approx(7, abs=0.1)
    assert [a.status for a in (first, second)] == [202, 202]
    assert [a.located for a in (first, second)] == [True, True]
    assert [a.body.position for a in (first, second) if isinstance(a.body, Queued)] == [1, 2]


@in_virtual_time
async def test_who_may_wait_is_served_once_somebody_is_idle() -> None:
    async with a_world(World.control_for_ever) as world:
        asking = asyncio.create_task(world.door.claim(an_ask(wait_s=60)))
        await asyncio.sleep(30)
        await world.idle()
        assert (await asking).status == 200
        assert now_s() < 31


@in_virtual_time
async def test_who_may_wait_makes_a_refused_claim_of_its_key_anew() -> None:
    async with a_world() as world:
        plain = asyncio.create_task(world.door.claim(an_ask(key="k")))
        refused = await world.only_claim()
        patient = asyncio.create_task(world.door.claim(an_ask(key="k", wait_s=60)))
        await asyncio.sleep(1)
        await world.fail(refused, "NoneIdle")
        assert (await plain).status == 503
        await asyncio.sleep(1)
        anew = await world.only_claim()
        assert anew.spec.on_empty is OnEmpty.WAIT
        await world.idle()
        await world.decide()
        assert (await patient).status == 200


@in_virtual_time
async def test_a_plain_post_never_withdraws_a_claim_that_may_wait() -> None:
    async with a_world(World.control_for_ever) as world:
        await world.door.claim(an_ask(key="k", wait_s=0))
        asking = asyncio.create_task(world.door.claim(an_ask(key="k")))
        await asyncio.sleep(60)
        assert len(world.claims) == 1
        await world.idle()
        assert (await asking).status == 200


@pytest.mark.parametrize(("key", "left"), [(None, 0), ("k", 1)])
def test_a_client_that_hangs_up_keeps_its_claim_only_with_a_key(key: str | None, left: int) -> None:
    @in_virtual_time
    async def hang_up() -> None:
        async with a_world() as world:
            asking = asyncio.create_task(world.door.claim(an_ask(key=key)))
            await world.only_claim()
            asking.cancel()
            await asyncio.sleep(1)
            assert len(world.claims) == left

    hang_up()


@in_virtual_time
async def test_a_client_that_hangs_up_while_its_claim_is_being_written_leaves_nothing() -> None:
    async with a_world() as world:

        async def slowly(op: str) -> None:
            await asyncio.sleep(1 if op == "create_claims before" else 0)

        world.records.pause = slowly
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await asyncio.sleep(0.5)
        asking.cancel()
        await asyncio.sleep(0.6)
        await asyncio.sleep(1)
        assert len(world.store.log) == 2, "written after its client had gone, and deleted"
        assert world.claims == []


@in_virtual_time
async def test_a_client_that_hangs_up_once_its_claim_is_bound_takes_nothing_back() -> None:
    async with a_world() as world:
        await world.idle()
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await world.only_claim()
        await world.bind()
        asking.cancel()
        await asyncio.sleep(60)
        assert [c.status.phase for c in world.claims] == [ClaimPhase.BOUND]


@in_virtual_time
async def test_a_claim_released_while_somebody_waits_for_it_ends_the_wait() -> None:
    async with a_world() as world:
        asking = asyncio.create_task(world.door.claim(an_ask(key="k", wait_s=100)))
        claim = await world.only_claim()
        await world.door.release(claim.metadata.name)
        answer = await asking
    assert answer.status == 503
    assert now_s() < 1


@in_virtual_time
async def test_records_out_of_reach_are_a_503_and_the_claim_is_withdrawn_when_they_are_back() -> (
    None
):
    async with a_world() as world:
        down = True

        async def lost(op: str) -> None:
            if down and (op == "create_claims after" or op.startswith("claim ")):
                raise Unavailable("no answer")

        world.records.pause = lost
        answer = await world.door.claim(an_ask())
        assert (answer.status, error_of(answer)) == (503, UNREACHABLE)
        assert answer.retry_after_s
        assert len(world.claims) == 1, "the write happened, though nobody heard of it"
        down = False
        await asyncio.sleep(5)
        assert world.claims == []


@in_virtual_time
async def test_with_a_key_a_lost_answer_of_the_records_is_asked_for_again() -> None:
    async with a_world(World.control_for_ever) as world:
        await world.idle(2)
        losses = ["create_claims after"]

        async def lose_one(op: str) -> None:
            if op in losses:
                losses.remove(op)
                raise Unavailable("no answer")

        world.records.pause = lose_one
        assert (await world.door.claim(an_ask(key="k"))).status == 503
        assert (await world.door.claim(an_ask(key="k"))).status == 200
        assert len(world.claims) == 1


@in_virtual_time
async def test_claims_that_arrive_while_an_insert_runs_go_together_into_the_next() -> None:
    async with a_world(World.control_for_ever) as world:
        inserts = 0

        async def count(op: str) -> None:
            nonlocal inserts
            inserts += op == "create_claims before"
            await asyncio.sleep(0.001)

        world.records.pause = count
        await world.idle(100)
        answers = await asyncio.gather(*(world.door.claim(an_ask()) for _ in range(100)))
        assert {a.status for a in answers} == {200}
        assert len({a.claim for a in answers}) == 100
        assert inserts <= 2


@in_virtual_time
async def test_patience_is_a_setting_of_the_door() -> None:
    async with a_world(patience=Patience(verdict_s=1, answer_s=2)) as world:
        await world.idle()
        assert (await world.door.claim(an_ask())).status == 503
        assert now_s() == pytest.approx(1, abs=0.1)
