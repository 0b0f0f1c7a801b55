"""An event loop without real time, threads or sockets: when nobody can go on, time jumps to the next timer.

Ready callbacks run in the order in which they became ready, and tasks hash by the order of their making,
so the same program takes the same course each time.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import wraps
from heapq import heappop
from typing import Any, ParamSpec

P = ParamSpec("P")


class Counted:
    """Hashes by its number: sets of tasks and futures keep their order from run to run."""

    number: int

    def __hash__(self) -> int:
        return self.number


class CountedFuture(Counted, asyncio.Future[Any]):
    """A future of a `VirtualTimeLoop`."""


class CountedTask(Counted, asyncio.Task[Any]):
    """A task of a `VirtualTimeLoop`."""


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """`now_s` starts at 0. `run(handle)` is the seam for those who would rather run it later."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._numbers = itertools.count()
        self.set_task_factory(self.make_task)

    def time(self) -> float:
        return self.now_s

    def create_future(self) -> CountedFuture:
        future = CountedFuture(loop=self)
        future.number = next(self._numbers)
        return future

    def make_task(
        self,
        _: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> CountedTask:
        number = next(self._numbers)
        task = CountedTask.__new__(CountedTask)
        task.number = number  # A task puts itself into a set as it is made.
        CountedTask.__init__(task, coro, loop=self, **options)
        return task

    def run(self, handle: asyncio.Handle) -> None:
        handle._run()

    def _run_once(self) -> None:
        if not self._ready and not self._stopping:
            self._jump()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                self.run(handle)

    def _jump(self) -> None:
        """To the soonest timer that still counts, and with it all others of that moment."""
        while not self._ready:
            if not self._scheduled:
                raise RuntimeError("everybody waits, and nothing will happen any more")
            self._to_ready(heappop(self._scheduled))
        while self._scheduled and self._scheduled[0].when() <= self.now_s:
            self._to_ready(heappop(self._scheduled))

    def _to_ready(self, timer: asyncio.TimerHandle) -> None:
        if not timer.cancelled():
            self.now_s = max(self.now_s, timer.when())
            self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in line and is passed over."""

    def _process_events(self, event_list: object) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads to be woken by."""


ENDLESS_S = 100_000.0  # Of virtual time: a test that waits for what never comes fails, and soon.


def context_of(handle: asyncio.Handle) -> Context:
    """The context that a callback runs in."""
    context: Context = handle._context  # type: ignore[attr-defined]
    return context


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run this test on a `VirtualTimeLoop` of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), ENDLESS_S))

    return run
