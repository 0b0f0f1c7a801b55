"""A move in memory: whole, cut off at each step and repeated, and never half of it open to anybody."""

import random
from datetime import timedelta

import pytest

from api.records import Fate, NotFound
from api.records.memory import MemoryRecords, Shape
from api.records.memory_moving import MemoryMoving
from api.records.memory_store import MemoryStore, no_pause
from api.records.moving import IMPORT, is_arriving
from api.types import AgentClaim, InstancePhase, Key, Kind, key_of
from controller.arriving import still_arriving
from controller.cli.exits import Exit
from controller.cli.importing import Import
from tests.builders import NOW, a_claim, a_pool
from tests.moves import exported, furnish, told
from tests.records.steps import POOL, changed

SHAPES = pytest.mark.parametrize("shape", Shape, ids=str)


class Cut(Exception):
    """The process is gone."""


def a_store(seed: int = 1) -> MemoryStore:
    return MemoryStore(lambda: NOW + timedelta(minutes=seed), random.Random(seed))


async def a_source() -> MemoryRecords:
    records = MemoryRecords(a_store())
    await furnish(records)
    return records


async def move(store: MemoryStore, shape: Shape, records: list[Kind]) -> list[str]:
    """As one run of `apply`; what it printed."""
    said: list[str] = []
    client = MemoryRecords(store, shape, lag=0)
    work = Import(client, MemoryMoving(client), records, settle_s=0, tell=said.append)
    await work.look()
    await work.run()
    return said


async def there(store: MemoryStore, shape: Shape) -> list[Kind]:
    return await exported(MemoryRecords(store, shape, lag=0))


@SHAPES
async def test_everything_moves_and_stays_what_it_is(shape: Shape) -> None:
    source, target = await a_source(), a_store(2)
    records = await exported(source)
    said = await move(target, shape, records)
    assert len(said) == len(records)
    assert all(line.endswith(" imported") for line in said)
    moved = await there(target, shape)
    assert told(moved) == told(records)
    assert not {r.metadata.uid for r in moved} & {r.metadata.uid for r in records}
    view = await MemoryRecords(target, shape, lag=0).view(POOL)
    assert not still_arriving(view)
    assert view.fates == (await source.view(POOL)).fates
    assert view.fates == {"ready": Fate.KEPT, "bound": Fate.KEPT, "released": Fate.RELEASED}


@SHAPES
async def test_who_waited_longest_waits_longest_still_whatever_his_name(shape: Shape) -> None:
    target = a_store(2)
    await move(target, shape, await exported(await a_source()))
    view = await MemoryRecords(target, shape, lag=0).view(POOL)
    assert [c.metadata.name for c in view.claims] == ["bound", "wait-b", "wait-a"]
    assert view.claims[1].metadata.creation_timestamp == NOW + timedelta(minutes=1, microseconds=3)


@SHAPES
async def test_cut_off_at_any_step_it_is_nobodys_and_completed_when_repeated(shape: Shape) -> None:
    records = await exported(await a_source())
    steps = 0
    while True:
        target, left = a_store(2), steps

        async def cut(op: str) -> None:
            nonlocal left
            if not op.startswith(("bring", "admit", "drop")):
                return
            left -= 1
            if left < 0:
                raise Cut

        target.pause = cut
        try:
            await move(target, shape, records)
            break
        except Cut:
            target.pause = no_pause
        view = await MemoryRecords(target, shape, lag=0).view(POOL)
        nothing = (view.pool, view.claims, view.instances) == (None, (), ())
        whole = told(await there(target, shape)) == told(records)
        assert nothing or still_arriving(view) or whole
        await move(target, shape, records)
        assert told(await there(target, shape)) == told(records)
        steps += 1
    assert steps > 2 * len(records)


@SHAPES
@pytest.mark.parametrize("steps", range(2, 60, 3))
async def test_what_changed_at_the_source_meanwhile_is_moved_as_it_is_now(
    shape: Shape, steps: int
) -> None:
    source, target = await a_source(), a_store(2)
    left = steps

    async def cut(op: str) -> None:
        nonlocal left
        left -= op.startswith(("bring", "admit"))
        if left < 0:
            raise Cut

    target.pause = cut
    try:
        await move(target, shape, await exported(source))
    except Cut:
        target.pause = no_pause
    else:
        return
    await source.delete_claim(await source.claim(Key("default", "wait-a")))
    idle = await source.instance(Key("default", "idle1"))
    await source.write_instances([changed(idle, phase=InstancePhase.RETIRING)])
    gone = await source.instance(Key("default", "retiring"))
    [gone] = filter(None, await source.write_instances([changed(gone, phase=InstancePhase.GONE)]))
    await source.delete_instance(gone)
    now = await exported(source)
    if not still_arriving(await MemoryRecords(target, shape, lag=0).view(POOL)):
        return  # It was whole.
    await move(target, shape, now)
    assert in_any_order(await there(target, shape)) == in_any_order(now)
    view = await MemoryRecords(target, shape, lag=0).view(POOL)
    assert [c.metadata.name for c in view.claims] == ["bound", "wait-b"]


def in_any_order(records: list[Kind]) -> list[str]:
    return sorted(map(repr, told(records)))


@SHAPES
async def test_repeated_after_its_end_it_changes_nothing_that_was_done_since(shape: Shape) -> None:
    target, records = a_store(2), await exported(await a_source())
    await move(target, shape, records)
    client = MemoryRecords(target, shape, lag=0)
    await client.delete_claim(await client.claim(Key("default", "ready")))
    before = await there(target, shape)
    said = await move(target, shape, records)
    assert all(line.endswith(" unchanged") for line in said)
    assert await there(target, shape) == before


@SHAPES
async def test_where_somebody_elses_records_are_nothing_is_written(shape: Shape) -> None:
    target, records = a_store(2), await exported(await a_source())
    client = MemoryRecords(target, shape, lag=0)
    await client.create_claims([a_claim(name="ready"), a_claim(name="of-somebody")])
    with pytest.raises(Exit, match=r"^agentclaim/ready: there already, and not by an import"):
        await move(target, shape, records)
    assert len(await there(target, shape)) == 2
    await client.create_pool(a_pool())
    with pytest.raises(Exit, match="agentpool/default, agentclaim/ready: there already"):
        await move(target, shape, records)


@SHAPES
async def test_what_belongs_to_a_deleted_pool_moves_too(shape: Shape) -> None:
    source, target = await a_source(), a_store(2)
    await source.delete_pool(await source.pool(POOL))
    records = await exported(source)
    await move(target, shape, records)
    assert told(await there(target, shape)) == told(records)
    assert not any(map(is_arriving, await there(target, shape)))


@SHAPES
async def test_moved_on_to_a_third_store_it_is_the_same_still(shape: Shape) -> None:
    records = await exported(await a_source())
    second, third = a_store(2), a_store(3)
    await move(second, Shape.TWO, records)
    await move(third, shape, await there(second, Shape.TWO))
    assert told(await there(third, shape)) == told(records)
    first = {key_of(r): r.metadata.creation_timestamp for r in records if isinstance(r, AgentClaim)}
    for claim in await MemoryRecords(third, shape, lag=0).list_claims("default"):
        then = first[key_of(claim)]
        assert then is not None
        assert claim.metadata.creation_timestamp is not None
        assert abs(claim.metadata.creation_timestamp - then) < timedelta(milliseconds=1)


async def test_nothing_of_the_first_store_is_written() -> None:
    source = await a_source()
    before = len(source.store.log)
    await move(a_store(2), Shape.ONE, await exported(source))
    assert len(source.store.log) == before
    with pytest.raises(NotFound):
        await source.claim(Key("default", IMPORT.partition("/")[2]))
