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
    which part was written, so nobody resends here.
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
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[: self._at_most],
                    self._waiting[self._at_most :],
                )
                await self._write_one(batch)
        finally:
            self._running = None

    async def _write_one(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        for (_, done), result in zip(batch, results, strict=True):
            _answer(done, result)


def _answer(done: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if done.done():  # Its caller hung up.
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
