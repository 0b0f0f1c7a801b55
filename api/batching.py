"""Writes that arrive while a write runs go together into the next one.

One batch is under way at a time, so nothing waits on purpose and a busy store gets few, large writes.
Where one item of a batch is refused the records answer for it alone (see `Records.create_claims`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """`await batcher.put(item)` gives the item's own result; raises it where it is an exception.

    When a whole batch raises, each of its callers gets that exception: after Unavailable nobody knows
    which part was written, so nobody resends here. A caller that is cancelled takes its item along,
    unless its write has begun.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        at_most: int = 200,
    ) -> None:
        self._write = write
        self._at_most = at_most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> Result:
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while batch := self._next():
                await self._write_one(batch)
        finally:
            self._running = None
            for _, done in self._waiting:  # None, unless this task was stopped.
                done.cancel()
            self._waiting = []

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """As many as one write takes, without those whose caller hung up before it began."""
        waiting = [(item, done) for item, done in self._waiting if not done.done()]
        batch, self._waiting = waiting[: self._at_most], waiting[self._at_most :]
        return batch

    async def _write_one(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
            answers = list(zip(batch, results, strict=True))
        except Exception as error:
            answers = [(waiting, error) for waiting in batch]
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        for (_, done), result in answers:
            _answer(done, result)


def _answer(done: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if done.done():  # Its caller hung up.
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
