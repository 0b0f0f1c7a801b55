"""What is halfway when something else happens: a bind without an answer, a create that waits in line."""

import asyncio

from api.records import Unavailable
from api.types import ClaimPhase, InstancePhase
from controller.agents import Heard
from tests.builders import an_instance
from tests.controller.test_term import DEFAULT, a_world, claim, running, status_of
from tests.controller.world import answers
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_bind_whose_answer_was_lost_is_told_soon_and_a_strangers_409_is_known() -> None:
    """Its binder knows that nobody was told; taken for anybody's, it would take the conversation over."""
    store, railway, agents, records = await a_world()
    async with running(store, railway, agents):
        await asyncio.sleep(120)
        lost = iter([True])

        async def lose(op: str) -> None:
            if op == "bind after" and next(lost, False):
                raise Unavailable("no answer to bind")

        store.pause = lose
        agents.scripts.append(answers(Heard.ALREADY))
        made = await claim(records)
        await asyncio.sleep(10)
        assert await status_of(records, made) is ClaimPhase.READY
    assert len({url for _, url in agents.told}) == 2


@in_virtual_time
async def test_what_is_let_go_while_its_create_waits_in_line_leaves_no_orphan() -> None:
    """Gone is not believed, and its record not forgotten, before the create must have shown."""
    store, railway, agents, records = await a_world(paused=True, min_idle=0)
    pool = await records.pool(DEFAULT)
    [intent] = await records.intend(pool, [an_instance(name="anew1234")], 0)
    async with running(store, railway, agents):
        await asyncio.sleep(120)

        async def slow(op: str) -> None:
            await asyncio.sleep(4 if op == "before before" else 0)

        store.pause, pool = slow, await records.pool(DEFAULT)
        spec = pool.spec.model_copy(update={"paused": False})
        await records.replace_pool(pool.model_copy(update={"spec": spec}))
        await asyncio.sleep(3)
        status = intent.status.model_copy(update={"phase": InstancePhase.RETIRING})
        assert await records.write_instances([intent.model_copy(update={"status": status})])
        await asyncio.sleep(180)
    assert railway.sent.count("create_empty") == railway.sent.count("delete") == 1
    assert (railway.services, await records.instances()) == ({}, [])


@in_virtual_time
async def test_a_service_that_does_not_fit_any_more_is_not_made() -> None:
    """maxTotal sank between its intent and its create; the older intent has the place."""
    store, railway, agents, records = await a_world(paused=True, min_idle=1, max_total=2)
    pool = await records.pool(DEFAULT)
    await records.intend(pool, [an_instance(name=name) for name in ("older123", "young123")], 0)
    spec = pool.spec.model_copy(update={"paused": False, "max_total": 1})
    await records.replace_pool(pool.model_copy(update={"spec": spec}))
    async with running(store, railway, agents):
        await asyncio.sleep(60)
    assert railway.sent.count("create_empty") == 1


@in_virtual_time
async def test_a_create_does_not_stand_on_room_that_was_read_long_ago() -> None:
    """It took a minute to learn what stands before it, and meanwhile maxTotal sank: it is asked again."""
    store, railway, agents, records = await a_world(paused=True, min_idle=0, max_total=2)
    pool = await records.pool(DEFAULT)
    await records.intend(pool, [an_instance(name=name) for name in ("older123", "young123")], 0)
    late = iter([0, 60])  # The older's answer comes at once, the younger's in a minute.

    async def slow(op: str) -> None:
        await asyncio.sleep(next(late, 0) if op == "before before" else 0)

    async with running(store, railway, agents):
        await asyncio.sleep(60)
        store.pause, pool = slow, await records.pool(DEFAULT)
        spec = pool.spec.model_copy(update={"paused": False})
        pool = await records.replace_pool(pool.model_copy(update={"spec": spec}))
        await asyncio.sleep(30)
        pool = await records.pool(DEFAULT)
        spec = pool.spec.model_copy(update={"max_total": 1})
        await records.replace_pool(pool.model_copy(update={"spec": spec}))
        await asyncio.sleep(120)
    assert railway.sent.count("create_empty") == 1
