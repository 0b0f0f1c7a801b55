"""The one watch: one read for all who wait, and nothing lost with a bell."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from api.records import Bell, Unavailable
from api.types import Key
from api.waiters import Closing
from tests.builders import a_claim
from tests.rest.world import World, a_world, an_ask, now_s
from tests.virtual_time import in_virtual_time

KEY = Key("default", "claim-1")


def losing(phase: str) -> Callable[[Bell], Sequence[float]]:
    return lambda bell: () if bell.phase == phase else (0.0,)


@in_virtual_time
async def test_a_lost_bell_costs_five_seconds_and_no_answer() -> None:
    async with a_world(World.control_for_ever) as world:
        world.store.arrivals = losing("Ready")
        await world.idle()
        assert (await world.door.claim(an_ask())).status == 200
        assert 0.01 < now_s() <= 5.1


@in_virtual_time
async def test_a_doubled_and_late_bell_does_no_harm() -> None:
    async with a_world(World.control_for_ever) as world:
        world.store.arrivals = lambda bell: (0.0, 0.5, 3.0)
        await world.idle(2)
        assert (await world.door.claim(an_ask())).status == 200
        assert (await world.door.claim(an_ask())).status == 200


@in_virtual_time
async def test_a_broken_watch_is_repaired_by_its_resync() -> None:
    async with a_world() as world:
        await world.idle()
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await world.only_claim()
        [bound] = await world.bind()
        world.store.arrivals = lambda bell: ()
        await world.ready(bound)
        world.store.sever()
        assert (await asking).status == 200
        assert now_s() < 1


@in_virtual_time
async def test_a_hundred_who_wait_cost_few_reads() -> None:
    async with a_world(World.control_for_ever) as world:
        reads = 0

        async def count(op: str) -> None:
            nonlocal reads
            reads += op.startswith("claim")
            await asyncio.sleep(0.001)

        world.records.pause = count
        asking = [asyncio.create_task(world.door.claim(an_ask(wait_s=100))) for _ in range(100)]
        await asyncio.sleep(30)
        assert reads <= 30 / 5 + 1
        await world.idle(100)
        assert {a.status for a in await asyncio.gather(*asking)} == {200}


@in_virtual_time
async def test_bells_of_claims_nobody_waits_for_cost_no_read() -> None:
    async with a_world(World.control_for_ever) as world:
        reads: list[str] = []

        async def note(op: str) -> None:
            reads.append(op)

        world.records.pause = note
        for n in range(10):
            await world.control.ring(Bell("claim", "default", f"other-{n}", phase="Ready"))
        await asyncio.sleep(30)
        assert reads == []


@in_virtual_time
async def test_a_read_that_fails_is_made_again() -> None:
    async with a_world() as world:
        await world.idle()
        asking = asyncio.create_task(world.door.claim(an_ask()))
        await world.only_claim()
        down = True

        async def lost(op: str) -> None:
            if down:
                raise Unavailable("no answer")

        world.records.pause = lost
        [bound] = await world.bind()
        await world.ready(bound)
        await asyncio.sleep(3)
        assert not asking.done()
        down = False
        assert (await asking).status == 200


@in_virtual_time
async def test_a_claim_made_anew_under_the_same_name_is_another_claim() -> None:
    async with a_world() as world:
        asking = asyncio.create_task(world.door.claim(an_ask(key="k", wait_s=100)))
        claim = await world.only_claim()
        world.store.arrivals = lambda bell: ()
        await world.control.delete_claim(claim)
        await world.control.create_claims([claim])
        answer = await asking
        assert answer.status == 503, "its own claim was released"


@in_virtual_time
async def test_who_comes_after_the_stop_is_answered_at_once() -> None:
    async with a_world() as world:
        world.waiters.close()
        [claim] = await world.records.create_claims([a_claim(name="claim-1")])
        with world.waiters.watch(KEY) as waiting, pytest.raises(Closing):
            async with asyncio.timeout(10):
                await waiting.ended(claim)  # type: ignore[arg-type]
        assert len(world.waiters) == 0
