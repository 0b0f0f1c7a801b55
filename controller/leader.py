"""Who may act: one elector over the records' leases. It saves work; safety never depends on it.

A lease has run out when its record did not change for 5 s of the *watcher's own* monotonic clock: no
two clocks are ever compared. The holder renews each 1.5 s and counts itself leader only until 4 s
after the start of its last good renewal, so it stops before anybody else may begin.
"""

import asyncio
import logging
from collections.abc import Callable

from api.records import Conflict, Lease, Records, RecordsError

log = logging.getLogger(__name__)

RUNS_OUT_AFTER_S = 5.0
RENEW_EVERY_S = 1.5
LEADS_FOR_S = 4.0
CALL_TIMEOUT_S = 2.0


class Elector:
    """`leading` is true only while acting is allowed; `won()` and `lost()` wait for the change."""

    def __init__(self, records: Records, lease: str, me: str, clock: Callable[[], float]) -> None:
        self._records = records
        self._name = lease
        self._me = me
        self._clock = clock
        self._until = 0.0
        self._seen: tuple[int, float] | None = None  # Version, and when we first saw it.
        self._held: Lease | None = None
        self._changed = asyncio.Event()
        self.trouble: str | None = (
            "not looked at yet"  # Why the records cannot be asked, for /readyz.
        )

    @property
    def leading(self) -> bool:
        return self._clock() < self._until

    async def won(self) -> None:
        while not self.leading:
            await self._changed.wait()
            self._changed.clear()

    async def lost(self) -> None:
        """Until leadership has really run out: a renewal in between prolongs it."""
        while (left := self._until - self._clock()) > 0:  # noqa: ASYNC110 (only time tells)
            await asyncio.sleep(left)

    async def run(self) -> None:
        """For ever: take, renew, watch. Cancelled, it gives the lease up."""
        try:
            while True:
                started = self._clock()
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        await self._once()
                    self.trouble = None
                except (RecordsError, TimeoutError) as error:
                    if not isinstance(error, Conflict):
                        self.trouble = "the records cannot be reached"
                    self._held = None
                    log.debug("lease %s: %s", self._name, type(error).__name__)
                every_s = RENEW_EVERY_S if self._held else RENEW_EVERY_S / 3
                # From start to start: a store that is slow to answer is not also asked less often.
                await asyncio.sleep(max(started + every_s - self._clock(), RENEW_EVERY_S / 10))
        finally:
            self._until = 0.0

    async def give_up(self) -> None:
        """On a clean stop, best effort: the next one need not wait until it runs out."""
        self._until = 0.0
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._records.write_lease(held, "")
        except (RecordsError, TimeoutError) as error:
            log.debug("lease %s runs out by itself: %s", self._name, type(error).__name__)

    async def _once(self) -> None:
        started = self._clock()
        lease = self._held or await self._records.lease(self._name)
        if not (self._held or lease.holder in ("", self._me) or self._has_run_out(lease, started)):
            return
        try:
            self._held = await self._records.write_lease(lease, self._me)
        except Conflict:
            self._held, self._until = None, 0.0
            raise
        if not self.leading:
            log.info("leading %s", self._name)
        self._until = started + LEADS_FOR_S
        self._changed.set()

    def _has_run_out(self, lease: Lease, asked: float) -> bool:
        """`asked`: before this read, which may have taken long; seen it is only now."""
        if self._seen is None or self._seen[0] != lease.version:
            self._seen = (lease.version, self._clock())
        return asked - self._seen[1] >= RUNS_OUT_AFTER_S
