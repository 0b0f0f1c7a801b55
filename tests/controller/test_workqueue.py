"""The keyed queue: one pass at a time for a key, no ring swallowed, failures backed off, workers bounded."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controller.workqueue import BACKOFF_MAX_S, NOT_NOW_S, REST_MAX_S, WorkQueue, backoff_s
from tests.virtual_time import in_virtual_time

Handle = Callable[[str], Awaitable[float | None]]


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running(
    handle: Handle,
    workers: int = 1,
    may_run: Callable[[], bool] = lambda: True,
    rest: float = 0.0,
) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(handle, clock=now, jitter=Most(), workers=workers, may_run=may_run, rest=rest)
    task = asyncio.create_task(queue.run())
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Most(random.Random):
    """No jitter: always the most."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Log:
    """A handler that takes `takes_s`, and keeps when each pass over which key began."""

    def __init__(self, takes_s: float = 0.0, again_s: float | None = None) -> None:
        self.began: list[tuple[float, str]] = []
        self.open = self.most_open = 0
        self._takes_s = takes_s
        self._again_s = again_s

    async def __call__(self, key: str) -> float | None:
        self.began.append((now(), key))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(self._takes_s)
        self.open -= 1
        return self._again_s


@in_virtual_time
async def test_rings_that_come_together_share_a_pass() -> None:
    log = Log()
    async with running(log) as queue:
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(10)
    assert log.began == [(0.0, "a")]


@in_virtual_time
async def test_a_ring_during_a_pass_gets_a_pass_of_its_own_afterwards() -> None:
    log = Log(takes_s=3)
    async with running(log, workers=2) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        await asyncio.sleep(10)
    assert (log.began, log.most_open) == ([(0.0, "a"), (3.0, "a")], 1)


@in_virtual_time
async def test_the_soonest_wish_wins() -> None:
    log = Log()
    async with running(log) as queue:
        queue.add("a", 30)
        queue.add("a", 5)
        queue.add("a", 60)
        await asyncio.sleep(100)
    assert log.began == [(5.0, "a")]


@in_virtual_time
async def test_a_later_wish_made_during_a_pass_is_kept_too() -> None:
    log = Log(takes_s=3)
    async with running(log) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a", 30)
        await asyncio.sleep(100)
    assert log.began == [(0.0, "a"), (31.0, "a")]


@in_virtual_time
async def test_a_pass_says_itself_when_to_look_again() -> None:
    log = Log(again_s=30)
    async with running(log) as queue:
        queue.add("a")
        await asyncio.sleep(65)
    assert log.began == [(0.0, "a"), (30.0, "a"), (60.0, "a")]


@in_virtual_time
async def test_no_more_passes_run_at_once_than_there_are_workers() -> None:
    log = Log(takes_s=1)
    async with running(log, workers=3) as queue:
        for n in range(10):
            queue.add(f"key-{n}")
        await asyncio.sleep(10)
    assert (len(log.began), log.most_open) == (10, 3)


@in_virtual_time
async def test_a_key_that_always_comes_back_starves_nobody() -> None:
    log = Log(takes_s=1, again_s=0)
    async with running(log) as queue:
        for key in ("greedy", "b", "c"):
            queue.add(key)
        await asyncio.sleep(5.5)
    assert [key for _, key in log.began] == ["greedy", "b", "c", "greedy", "b", "c"]


@in_virtual_time
async def test_failures_are_backed_off_and_forgotten_by_a_success() -> None:
    outcomes = [ValueError(), ValueError(), None, ValueError(), None]
    began: list[float] = []

    async def handle(_: str) -> float | None:
        began.append(now())
        if (error := outcomes[len(began) - 1]) is not None:
            raise error
        return 10.0 if len(began) < len(outcomes) else None

    async with running(handle) as queue:
        queue.add("a")
        await asyncio.sleep(60)
    assert began == [0.0, 0.5, 1.5, 11.5, 12.0]


@in_virtual_time
async def test_a_ring_is_not_held_back_by_an_earlier_failure() -> None:
    began: list[float] = []

    async def handle(_: str) -> float | None:
        began.append(now())
        if len(began) == 1:
            raise ValueError
        return None

    async with running(handle) as queue:
        queue.add("a")
        await asyncio.sleep(0.1)
        queue.add("a")
        await asyncio.sleep(60)
    assert began == [0.0, 0.1]


@in_virtual_time
async def test_a_pass_that_may_not_run_is_put_off_and_never_dropped() -> None:
    log, may_act = Log(), False
    async with running(log, may_run=lambda: may_act) as queue:
        queue.add("a")
        await asyncio.sleep(2.5 * NOT_NOW_S)
        may_act = True
        await asyncio.sleep(60)
    assert log.began == [(3 * NOT_NOW_S, "a")]


@in_virtual_time
async def test_stopped_it_cuts_the_passes_under_way_and_starts_no_more() -> None:
    log = Log(takes_s=100)
    async with running(log) as queue:
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
    await asyncio.sleep(1000)
    assert log.began == [(0.0, "a")]


@pytest.mark.parametrize(("failures", "most"), [(1, 0.5), (2, 1.0), (5, 8.0), (50, BACKOFF_MAX_S)])
def test_back_off_doubles_up_to_a_minute_less_a_random_half(failures: int, most: float) -> None:
    rng = random.Random(1)
    waits = [backoff_s(failures, rng) for _ in range(200)]
    assert most / 2 <= min(waits) < max(waits) <= most


@in_virtual_time
async def test_a_key_rests_after_a_dear_pass_and_others_do_not() -> None:
    log = Log(takes_s=0.1)
    async with running(log, workers=2, rest=4.0) as queue:
        queue.add("a")
        await asyncio.sleep(0.05)
        queue.add("a")  # While its pass runs: it is owed one, after its rest.
        await asyncio.sleep(0.1)
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
    assert [(round(at, 2), key) for at, key in log.began] == [(0.0, "a"), (0.15, "b"), (0.5, "a")]


@in_virtual_time
async def test_no_rest_is_longer_than_two_seconds() -> None:
    log = Log(takes_s=3.0)
    async with running(log, rest=9.0) as queue:
        queue.add("a")
        await asyncio.sleep(3.5)
        queue.add("a")
        await asyncio.sleep(5)
    assert [at for at, _ in log.began] == [0.0, 3.0 + REST_MAX_S]
