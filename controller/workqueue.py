"""A keyed queue: one pass at a time for a key, rings in between coalesced, failures backed off.

    handle(key) -> when to look again, in seconds, or None: only when somebody rings

A key rung while its pass runs gets another pass afterwards, so no ring is ever swallowed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 60.0
REST_MAX_S = 2.0
LEAST_S = 0.000_001  # What is due so soon is due: less might not move a clock, and we would wait for ever.
NOT_NOW_S = 1.0  # A pass that may not run is put off, never dropped: its ring is owed.

Item = TypeVar("Item", bound=Hashable)


class Jitter(Protocol):
    """The one thing needed of `random.Random`."""

    def uniform(self, a: float, b: float) -> float: ...


def backoff_s(failures: int, jitter: Jitter) -> float:
    """0.5 s, doubled at each failure up to 60 s, less a random half so that nobody marches in step."""
    full = min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10), BACKOFF_MAX_S)
    return jitter.uniform(full / 2, full)


class WorkQueue(Generic[Item]):
    """Runs `handle` for keys that are due, at most `workers` at once. `clock`: monotonic seconds.

    After a pass its key rests for `rest` times as long as the pass took (2 s at most), whoever rings: what
    is dear and often wished leaves most of the time to others.
    """

    def __init__(
        self,
        handle: Callable[[Item], Awaitable[float | None]],
        *,
        clock: Callable[[], float],
        jitter: Jitter,
        workers: int,
        may_run: Callable[[], bool] = lambda: True,
        rest: float = 0.0,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._jitter = jitter
        self._workers = workers
        self._may_run = may_run
        self._rest = rest
        self._rests_until: dict[Item, float] = {}
        self._due: dict[Item, float] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._order = count()
        self._running: dict[Item, asyncio.Task[None]] = {}
        self._failures: dict[Item, int] = {}
        self._bell = asyncio.Event()

    def add(self, key: Item, after_s: float = 0.0) -> None:
        """Look at this key, at the latest in `after_s`: the soonest wish wins."""
        at = max(self._clock() + after_s, self._rests_until.get(key, 0.0))
        if at < self._due.get(key, float("inf")):
            self._due[key] = at
            if key not in self._running:  # Else its pass puts it in line when it ends.
                self._line_up(key)

    def _line_up(self, key: Item) -> None:
        heappush(self._heap, (self._due[key], next(self._order), key))
        self._bell.set()

    def known(self, key: Item) -> bool:
        """Whether this key is due some time, or being looked at."""
        return key in self._due or key in self._running

    async def run(self) -> None:
        """For ever; cancelled, it cancels the passes under way and waits for them."""
        try:
            while True:
                self._bell.clear()
                wait_s = self._start_due()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._bell.wait()
                except TimeoutError:
                    pass
        finally:
            await self._stop()

    def _start_due(self) -> float | None:
        """Start what may start; how long until the next is due. None: a bell or a pass's end tells."""
        now = self._clock()
        while self._heap and len(self._running) < self._workers:
            at, _, key = self._heap[0]
            if at > now + LEAST_S and self._due.get(key) == at:
                return at - now
            heappop(self._heap)
            if self._due.get(key) == at and key not in self._running:
                del self._due[key]
                self._running[key] = asyncio.create_task(self._pass(key))
        return None

    async def _pass(self, key: Item) -> None:
        again_s: float | None = NOT_NOW_S
        began = self._clock()
        try:
            if self._may_run():
                again_s = await self._handle(key)
            self._failures.pop(key, None)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again_s = backoff_s(failures, self._jitter)
            log.warning(
                "pass over %s failed: %s; again in %.1f s", key, type(error).__name__, again_s
            )
            log.debug("pass over %s failed", key, exc_info=True)
        finally:
            del self._running[key]
            if self._rest:
                self._lay_to_rest(key, began)
            if key in self._due:
                self._line_up(key)
            if again_s is not None:
                self.add(key, again_s)
            self._bell.set()

    def _lay_to_rest(self, key: Item, began: float) -> None:
        now = self._clock()
        until = self._rests_until[key] = now + min(self._rest * (now - began), REST_MAX_S)
        if key in self._due:
            self._due[key] = max(self._due[key], until)

    async def _stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
