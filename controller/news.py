"""What is worth telling an operator: kept for a moment, written off the path, lost rather than late."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

from api.records import Event, Records, RecordsError
from api.types import Kind, key_of

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 1.0
KEEP_AT_MOST = 500


class News:
    """`tell(...)` never waits; `run()` writes what came together, once a second."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._events: list[Event] = []
        self._bell = asyncio.Event()

    def tell(
        self,
        thing: Kind,
        reason: str,
        message: str,
        severity: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        if len(self._events) < KEEP_AT_MOST:
            self._events.append(Event(thing.kind, key_of(thing), severity, reason, message))
            self._bell.set()

    async def run(self) -> None:
        while True:
            await self._bell.wait()
            await asyncio.sleep(FLUSH_EVERY_S)
            self._bell.clear()
            events, self._events = self._events, []
            await self._write(events)

    async def _write(self, events: Sequence[Event]) -> None:
        try:
            await self._records.note(events)
        except RecordsError as error:
            log.info("%d events were lost: %s", len(events), type(error).__name__)
