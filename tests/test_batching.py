"""Batches: what arrives while a write runs goes into the next, and everybody gets his own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from api.batching import Batcher
from api.records import Invalid, Unavailable


class Writes:
    """A store that doubles numbers, one write at a time as the test lets them through."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Semaphore(0)

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        await self.gate.acquire()
        if 13 in items:
            raise Unavailable("the store did not answer")
        return [Invalid("negative") if i < 0 else 2 * i for i in items if i != 99]


async def put(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Callers that wait by now."""
    tasks = [asyncio.create_task(batcher.put(item)) for item in items]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
def writes() -> Writes:
    return Writes()


async def test_what_arrives_while_a_write_runs_goes_together_into_the_next(writes: Writes) -> None:
    batcher = Batcher(writes)
    callers = await put(batcher, 1)
    callers += await put(batcher, 2, 3)
    writes.gate.release()
    writes.gate.release()
    assert await asyncio.gather(*callers) == [2, 4, 6]
    assert writes.batches == [[1], [2, 3]]


async def test_those_who_come_at_once_are_one_batch(writes: Writes) -> None:
    batcher = Batcher(writes)
    writes.gate.release()
    assert await asyncio.gather(*await put(batcher, 1, 2, 3)) == [2, 4, 6]
    assert writes.batches == [[1, 2, 3]]


async def test_no_batch_is_larger_than_allowed_and_order_is_kept(writes: Writes) -> None:
    batcher = Batcher(writes, at_most=2)
    callers = await put(batcher, 1, 2, 3, 4, 5)
    for _ in range(3):
        writes.gate.release()
    await asyncio.gather(*callers)
    assert writes.batches == [[1, 2], [3, 4], [5]]


async def test_a_refused_item_is_its_own_callers_alone(writes: Writes) -> None:
    batcher = Batcher(writes)
    writes.gate.release()
    good, bad = await put(batcher, 1, -1)
    with pytest.raises(Invalid):
        await bad
    assert await good == 2


async def test_a_batch_that_fails_fails_for_each_of_its_callers_and_no_other(
    writes: Writes,
) -> None:
    batcher = Batcher(writes)
    failed = await put(batcher, 13, 1)
    later = await put(batcher, 2)
    writes.gate.release()
    writes.gate.release()
    for caller in failed:
        with pytest.raises(Unavailable):
            await caller
    assert await later[0] == 4
    assert writes.batches == [[13, 1], [2]]


async def test_too_few_answers_are_an_error_and_nobody_is_left_waiting(writes: Writes) -> None:
    batcher = Batcher(writes)
    writes.gate.release()
    ends = await asyncio.gather(*await put(batcher, 1, 99), return_exceptions=True)
    assert [type(end) for end in ends] == [ValueError, ValueError]


async def test_a_caller_who_hangs_up_before_the_write_takes_his_item_along(
    writes: Writes,
) -> None:
    batcher = Batcher(writes)
    first, gone, stays = await put(batcher, 1) + await put(batcher, 2, 3)
    gone.cancel()
    writes.gate.release()
    writes.gate.release()
    assert [await first, await stays] == [2, 6]
    assert writes.batches == [[1], [3]]


async def test_a_caller_who_hangs_up_during_the_write_costs_nobody_else(writes: Writes) -> None:
    batcher = Batcher(writes)
    gone, stays = await put(batcher, 1, 2)
    gone.cancel()
    writes.gate.release()
    assert await stays == 4
    assert writes.batches == [[1, 2]]


async def test_when_the_writer_is_stopped_nobody_is_left_waiting(writes: Writes) -> None:
    before = asyncio.all_tasks()
    batcher = Batcher(writes)
    callers = await put(batcher, 1)
    [writer] = asyncio.all_tasks() - before - set(callers)
    callers += await put(batcher, 2)
    writer.cancel()
    async with asyncio.timeout(1):
        ends = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    writes.gate.release()
    assert await batcher.put(3) == 6
