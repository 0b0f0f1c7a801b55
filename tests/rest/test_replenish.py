"""Replenish: calls share a look, wait for the controller's word, and do not wait for ever."""

import asyncio

import pytest

from api.records import Bell
from api.replenish import Replenish
from tests.rest.world import World, a_world, now_s
from tests.virtual_time import in_virtual_time


async def looks_asked(world: World, into: list[float]) -> None:
    """Note when somebody asks for a look, and say two seconds later that it is done."""
    async for bell in world.control.bells():
        if bell.kind == "look":
            into.append(now_s())
            await asyncio.sleep(2)
            await world.control.ring(Bell("looked", bell.namespace, bell.name))


@in_virtual_time
async def test_it_returns_once_the_pool_was_looked_at() -> None:
    looks: list[float] = []
    async with a_world(lambda world: looks_asked(world, looks)) as world:
        await world.idle()
        await Replenish(world.records, world.waiters, "default")()
        assert now_s() == pytest.approx(2, abs=0.1)
        assert len(looks) == 1


@in_virtual_time
async def test_calls_within_five_seconds_share_one_look_and_later_ones_do_not() -> None:
    looks: list[float] = []
    async with a_world(lambda world: looks_asked(world, looks)) as world:
        await world.idle()
        replenish = Replenish(world.records, world.waiters, "default")
        await asyncio.gather(*(replenish() for _ in range(20)))
        await replenish()
        assert len(looks) == 1
        await asyncio.sleep(4)
        await replenish()
        assert len(looks) == 2


@in_virtual_time
async def test_without_a_controller_it_gives_up_after_half_a_minute() -> None:
    async with a_world() as world:
        await world.idle()
        await Replenish(world.records, world.waiters, "default")()
        assert now_s() == pytest.approx(30, abs=0.1)


@in_virtual_time
async def test_a_caller_that_hangs_up_takes_the_look_from_nobody() -> None:
    looks: list[float] = []
    async with a_world(lambda world: looks_asked(world, looks)) as world:
        await world.idle()
        replenish = Replenish(world.records, world.waiters, "default")
        first, second = (asyncio.create_task(replenish()) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await second
        assert now_s() == pytest.approx(2, abs=0.1)
        assert len(looks) == 1


@in_virtual_time
async def test_without_pools_there_is_nothing_to_wait_for() -> None:
    async with a_world() as world:
        await Replenish(world.records, world.waiters, "default")()
        assert now_s() < 1
