"""An event loop whose time jumps to the next timer when nothing is ready: no test waits, none is flaky."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Result = TypeVar("Result")
Given = ParamSpec("Given")


class _Jumping(selectors.DefaultSelector):
    """Never waits: what it is asked to wait for becomes time that has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if ready := super().select(0):
            return ready
        if timeout is None:
            raise RuntimeError("nothing is ready and nothing is due: this waits for ever")
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only when every task waits. Same steps, same times, each run."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def in_virtual_time(
    test: Callable[Given, Coroutine[Any, Any, Result]],
) -> Callable[Given, Result]:
    """An async test as one that pytest calls like any other."""

    @functools.wraps(test)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        return run(test(*args, **kwargs))

    return call


def clock() -> float:
    """Virtual seconds: what a constructor takes as `clock`."""
    return asyncio.get_running_loop().time()
