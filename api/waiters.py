"""One watch of the records for everybody who waits: bells say where to look, one read answers all.

A bell carries no truth and may be lost, so everything waited for is looked at again every few seconds.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from api.records import Bell, NotFound, Records, RecordsError
from api.types import AgentClaim, ClaimPhase, Key, key_of

LOOK_AGAIN_S = 5.0  # What a lost bell costs; one read for all who wait.
AFTER_TROUBLE_S = 0.5
_NO_NEWS = (ClaimPhase.PENDING, ClaimPhase.BOUND)  # Nobody waits for these.

logger = logging.getLogger(__name__)


class Closing(Exception):
    """The sidecar stops: whoever waits answers its client now."""


class Waiting:
    """One request's place at the watch: what the shared reads last said of its claim."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._latest: AgentClaim | None = None
        self._told = asyncio.Event()
        self._closing = False

    def tell(self, claim: AgentClaim | None) -> None:
        self._latest = claim
        self._told.set()

    def close(self) -> None:
        self._closing = True
        self._told.set()

    async def ended(self, claim: AgentClaim) -> AgentClaim | None:
        """That very claim (by uid) once it is Ready or Failed; None once it is gone. Raises Closing."""
        if self._latest is None and not self._closing:
            self._told.clear()  # Read before the claim was written; if it is gone, the next look says so.
        while not claim.ended:
            told = await self._next()
            if told is None or told.metadata.uid != claim.metadata.uid:
                told = await self._still_there(claim)
            if told is None:
                return None
            claim = told
        return claim

    async def _next(self) -> AgentClaim | None:
        await self._told.wait()
        if self._closing:
            raise Closing
        self._told.clear()
        return self._latest

    async def _still_there(self, claim: AgentClaim) -> AgentClaim | None:
        """A shared read may be older than the claim: only a read begun now says that it is gone."""
        try:
            found = await self._records.claim(key_of(claim))
        except NotFound:
            return None
        except RecordsError:
            return claim
        return found if found.metadata.uid == claim.metadata.uid else None


class Waiters:
    """All who wait, for claims to end and for looks to be done. `run` serves them until cancelled."""

    def __init__(self, records: Records, *, look_again_s: float = LOOK_AGAIN_S) -> None:
        self._records = records
        self._look_again_s = look_again_s
        # Dicts, not sets, so that the same storm takes the same course.
        self._waiting: dict[Key, dict[Waiting, None]] = {}
        self._to_read: set[Key] = set()
        self._wake = asyncio.Event()
        self._looks: dict[Key, asyncio.Future[None]] = {}
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def watch(self, key: Key) -> Iterator[Waiting]:
        """A place at the watch. Take it before the claim is written or read: no end is missed then."""
        waiting = Waiting(self._records)
        if self._closed:
            waiting.close()
        self._waiting.setdefault(key, {})[waiting] = None
        try:
            yield waiting
        finally:
            del self._waiting[key][waiting]
            if not self._waiting[key]:
                del self._waiting[key]

    def looked(self, pool: Key) -> "asyncio.Future[None]":
        """Done once somebody says that pool was looked at. Ask before ringing `look`."""
        return self._looks.setdefault(pool, asyncio.get_running_loop().create_future())

    def close(self) -> None:
        """Everybody who waits, now or later, gets Closing."""
        self._closed = True
        for waiting in self._everybody():
            waiting.close()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._read())
            tasks.create_task(self._look_again())

    def _everybody(self) -> list[Waiting]:
        return [waiting for same in self._waiting.values() for waiting in same]

    async def _listen(self) -> None:
        while True:
            try:
                async for bell in self._records.bells():
                    self._heard(bell)
            except RecordsError:
                logger.warning("the records' bells broke off; listening again")
            await asyncio.sleep(AFTER_TROUBLE_S)

    def _heard(self, bell: Bell) -> None:
        key = Key(bell.namespace, bell.name)
        if bell.kind == "resync":
            self._look_at(self._waiting)
        elif bell.kind == "claim" and bell.phase not in _NO_NEWS and key in self._waiting:
            self._look_at([key])
        elif bell.kind == "looked" and (look := self._looks.pop(key, None)) and not look.done():
            look.set_result(None)

    def _look_at(self, keys: Iterable[Key]) -> None:
        self._to_read.update(keys)
        if self._to_read:
            self._wake.set()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._look_again_s)
            self._look_at(self._waiting)

    async def _read(self) -> None:
        """One read at a time; what rings meanwhile goes together into the next."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._to_read = sorted(self._to_read & self._waiting.keys()), set()
            try:
                found = await self._records.claims(keys) if keys else []
            except RecordsError:
                await asyncio.sleep(AFTER_TROUBLE_S)
                self._look_at(keys)
                continue
            self._tell(keys, {key_of(claim): claim for claim in found})

    def _tell(self, keys: Iterable[Key], found: dict[Key, AgentClaim]) -> None:
        for key in keys:
            for waiting in self._waiting.get(key, ()):
                waiting.tell(found.get(key))
