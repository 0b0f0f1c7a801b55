"""When Railway is looked at, and who hears of it."""

import asyncio
import random

from api.records.memory import MemoryRecords
from api.types import Key
from controller.environment import Environment
from controller.looking import LOOK_AGAIN_S, Looking
from controller.railway import RateLimited, Unclear
from controller.storetime import StoreTime
from tests.builders import a_pool
from tests.controller.world import SmallRailway, a_store, now
from tests.virtual_time import in_virtual_time

POOL = Key("default", "default")


class Rung:
    """What a `Looking` rang."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.pools: list[Key] = []


async def a_looking(railway: SmallRailway) -> tuple[Looking, Rung]:
    records, time, rung = MemoryRecords(a_store()), StoreTime(now), Rung()
    await records.create_pool(a_pool())
    environment = Environment(railway, owner_id="us", time=time, clock=now, scheme="https")
    looking = Looking(
        records,
        environment,
        time=time,
        chance=random.Random(1),
        tick_s=30.0,
        look=rung.looks.append,
        resize=lambda pool, _: rung.pools.append(pool),
    )
    return looking, rung


@in_virtual_time
async def test_a_pool_that_begins_to_move_is_looked_at_soon_and_then_often() -> None:
    looking, rung = await a_looking(SmallRailway())
    assert await looking.look_pass("") == 30.0
    for moving in (True, True, False):
        looking.note(POOL, moving)
    assert rung.looks == [5.0]
    looking.note(POOL, True)
    assert await looking.look_pass("") == 5.0


@in_virtual_time
async def test_after_a_look_every_pool_is_passed_also_when_it_failed() -> None:
    looking, rung = await a_looking(SmallRailway(errors=[None, None, Unclear("504")]))
    await looking.look_pass("")
    assert await looking.look_pass("") >= LOOK_AGAIN_S
    assert rung.pools == [POOL, POOL]


@in_virtual_time
async def test_told_to_wait_it_looks_again_no_sooner() -> None:
    looking, _ = await a_looking(SmallRailway(errors=[RateLimited("429", 77.0)]))
    assert await looking.look_pass("") == 77.0


@in_virtual_time
async def test_who_asks_while_a_look_is_under_way_waits_for_the_next() -> None:
    looking, _ = await a_looking(SmallRailway())
    look = asyncio.create_task(looking.look_pass(""))
    await asyncio.sleep(0.05)
    looking.ask(POOL)
    await look
    assert not looking.owes(POOL)
    await looking.look_pass("")
    assert looking.owes(POOL)
    await looking.answer(POOL)
    assert not looking.owes(POOL)
