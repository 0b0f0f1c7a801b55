"""Asking the controller for a look now, and waiting for its word that it is done."""

import asyncio

from api.records import Bell, Records
from api.types import Key, key_of
from api.waiters import Waiters

SHARED_S = 5.0  # Calls so close together share one look.
PATIENCE_S = 30.0  # Then the counts at hand must do.


class Replenish:
    """`await replenish()` returns once every pool of the namespace was looked at, or patience ends."""

    def __init__(
        self,
        records: Records,
        waiters: Waiters,
        namespace: str,
        *,
        shared_s: float = SHARED_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._records = records
        self._waiters = waiters
        self._namespace = namespace
        self._shared_s = shared_s
        self._patience_s = patience_s
        self._look: asyncio.Task[None] | None = None
        self._begun_s = 0.0

    async def __call__(self) -> None:
        """Raises Unavailable."""
        now_s = asyncio.get_running_loop().time()
        if self._look is None or now_s - self._begun_s >= self._shared_s:
            self._look, self._begun_s = asyncio.create_task(self._all()), now_s
        await asyncio.shield(self._look)

    async def _all(self) -> None:
        pools = [key_of(pool) for pool in await self._records.pools()]
        asked = [self._ask(pool) for pool in pools if pool.namespace == self._namespace]
        await asyncio.gather(*asked)

    async def _ask(self, pool: Key) -> None:
        looked = self._waiters.looked(pool)
        await self._records.ring(Bell("look", pool.namespace, pool.name))
        await asyncio.wait([looked], timeout=self._patience_s)
