"""Who may act: never two at once by their own clocks, whatever the store or a stop of a process does."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from api.records import Unavailable
from api.records.memory import MemoryRecords
from api.records.memory_store import MemoryStore, no_pause
from controller.leader import LEADS_FOR_S, RUNS_OUT_AFTER_S, Elector
from tests.builders import NOW
from tests.virtual_time import in_virtual_time

Pause = Callable[[str], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def a_store() -> MemoryStore:
    return MemoryStore(lambda: NOW, random.Random(1))


def an_elector(store: MemoryStore, me: str, pause: Pause = no_pause) -> Elector:
    return Elector(MemoryRecords(store, pause=pause), "lease", me, now)


@asynccontextmanager
async def running(elector: Elector) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(elector.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def win(elector: Elector) -> float:
    """When it began to lead; TimeoutError instead of waiting for ever."""
    async with asyncio.timeout(100):
        await elector.won()
    return now()


class Line:
    """The way to a store: each step takes `takes_s`, or fails while it is cut."""

    def __init__(self) -> None:
        self.takes_s, self.cut = 0.0, False

    async def __call__(self, op: str) -> None:
        await asyncio.sleep(self.takes_s)
        if self.cut:
            raise Unavailable(op)


@in_virtual_time
async def test_a_free_lease_is_taken_at_once_and_kept() -> None:
    elector = an_elector(a_store(), "a")
    async with running(elector):
        assert await win(elector) == 0.0
        led = []
        for _ in range(100):
            await asyncio.sleep(0.5)
            led.append(elector.leading)
    assert all(led)


@in_virtual_time
async def test_a_lease_is_first_seen_when_it_was_read_and_not_when_that_was_begun() -> None:
    store, ways = a_store(), (Line(), Line())
    one, two = an_elector(store, "one", ways[0]), an_elector(store, "two", ways[1])
    async with running(one):
        await win(one)
        ways[1].takes_s = 1.9
        async with running(two):
            await asyncio.sleep(1.6)  # What two reads in a moment was written a moment ago.
            ways[0].cut, ways[1].takes_s = True, 0.0
            await win(two)
            assert not one.leading


@in_virtual_time
async def test_a_clean_stop_hands_over_at_once() -> None:
    store = a_store()
    one, two = an_elector(store, "one"), an_elector(store, "two")
    async with running(one) as leading, running(two):
        await win(one)
        await asyncio.sleep(10)
        leading.cancel()
        await asyncio.sleep(0)
        assert not one.leading
        gave_up = now()
        await one.give_up()
        assert await win(two) - gave_up <= 1.0


@in_virtual_time
async def test_a_dead_leader_is_followed_after_its_lease_ran_out_and_not_before() -> None:
    store = a_store()
    one, two = an_elector(store, "one"), an_elector(store, "two")
    async with running(one) as leading, running(two):
        await win(one)
        await asyncio.sleep(20)
        leading.cancel()
        died = now()
        assert RUNS_OUT_AFTER_S - 2 < await win(two) - died < RUNS_OUT_AFTER_S + 1


@in_virtual_time
async def test_a_leader_cut_off_from_the_store_stops_before_another_begins() -> None:
    store, line = a_store(), Line()
    one, two = an_elector(store, "one", line), an_elector(store, "two")
    async with running(one), running(two):
        await win(one)
        await asyncio.sleep(10)
        line.cut = True
        await one.lost()
        stopped = now()
        assert await win(two) - stopped >= RUNS_OUT_AFTER_S - LEADS_FOR_S - 0.01
        assert not one.leading


@in_virtual_time
async def test_a_slow_store_does_not_make_leadership_flap() -> None:
    line = Line()
    elector = an_elector(a_store(), "a", line)
    async with running(elector):
        await win(elector)
        line.takes_s = 0.9  # Each way; a call may take 2 s.
        led = []
        for _ in range(200):
            await asyncio.sleep(0.1)
            led.append(elector.leading)
    assert all(led)


@in_virtual_time
async def test_two_who_see_a_lease_run_out_do_not_both_win_it() -> None:
    store = a_store()
    electors = [an_elector(store, str(n)) for n in range(5)]
    for elector in electors:
        asyncio.create_task(elector.run())  # noqa: RUF006 (they end with the loop)
    led = []
    for _ in range(300):
        await asyncio.sleep(0.1)
        led.append(sum(e.leading for e in electors))
    assert set(led) == {1}


@in_virtual_time
async def test_who_was_suspended_past_its_lease_does_not_lead_when_it_comes_back() -> None:
    store = a_store()
    stopped_s = 0.0
    elector = Elector(MemoryRecords(store), "lease", "a", lambda: now() + stopped_s)
    async with running(elector):
        await win(elector)
        stopped_s = LEADS_FOR_S
        assert not elector.leading


@in_virtual_time
async def test_whose_lease_was_taken_stops_at_once() -> None:
    store = a_store()
    elector, thief = an_elector(store, "a"), MemoryRecords(store)
    async with running(elector):
        await win(elector)
        await thief.write_lease(await thief.lease("lease"), "thief")
        await asyncio.sleep(2)
        assert not elector.leading


@in_virtual_time
async def test_giving_up_to_a_store_that_is_down_raises_nothing() -> None:
    line = Line()
    elector = an_elector(a_store(), "a", line)
    async with running(elector):
        await win(elector)
    line.cut = True
    await elector.give_up()
    assert not elector.leading


@in_virtual_time
async def test_giving_up_to_a_store_that_hangs_does_not_hang() -> None:
    line = Line()
    elector = an_elector(a_store(), "a", line)
    async with running(elector):
        await win(elector)
    line.takes_s = 1000.0
    began = now()
    await elector.give_up()
    assert now() - began <= 2.0


@in_virtual_time
async def test_whether_the_records_can_be_asked_is_told_by_a_leader_and_by_who_waits() -> None:
    line, store = Line(), a_store()
    first, second = an_elector(store, "a", line), an_elector(store, "b", line)
    assert first.trouble is not None
    async with running(first), running(second):
        for cut in (False, True, False):
            line.cut = cut
            await asyncio.sleep(10)
            assert [bool(each.trouble) for each in (first, second)] == [cut, cut]
