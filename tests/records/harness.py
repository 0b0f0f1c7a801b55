"""What the suite may ask of a store beyond the port, and the stores that it runs on."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from api.records import Records
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from tests.records.kubernetes_store import kubernetes
from tests.records.postgres_store import postgres


class Store(Protocol):
    """One empty store, with its clock and its network in the test's hands."""

    patience_s: float  # How long a bell may take.

    async def client(self) -> Records:
        """A client as a further process would have it; the store closes it in the end."""
        ...

    async def tick(self) -> None:
        """What is created after it was created later, also where order comes from the creation time."""
        ...

    async def age_events(self, by: timedelta) -> None:
        """As if the events so far had been told that long ago."""
        ...

    async def events(self) -> list[tuple[str, int]]:
        """Reason and count of each event on record."""
        ...

    def deaf(self) -> AbstractAsyncContextManager[None]:
        """Inside it, listeners have lost their connection; on leaving it they may make it anew."""
        ...


class MemoryHarness:
    """A `MemoryStore` under a clock that stands still unless told."""

    patience_s = 0.2

    def __init__(
        self,
        shape: Shape = Shape.ONE,
        store: type[MemoryStore] = MemoryStore,
        client: type[MemoryRecords] = MemoryRecords,
    ) -> None:
        self.now = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
        self.store = store(lambda: self.now, random.Random(7))
        self.shape = shape
        self._client = partial(client, self.store, shape)

    async def client(self) -> MemoryRecords:
        return self._client()

    async def tick(self) -> None:
        self.now += timedelta(seconds=1)

    async def age_events(self, by: timedelta) -> None:
        self.now += by

    async def events(self) -> list[tuple[str, int]]:
        return [(noted.event.reason, noted.count) for noted in self.store.events]

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        heard, self.store.arrivals = self.store.arrivals, lambda bell: ()
        yield
        self.store.arrivals = heard
        self.store.sever()


@asynccontextmanager
async def memory(shape: Shape) -> AsyncIterator[Store]:
    """An empty store in memory, by clients of this shape."""
    yield MemoryHarness(shape)


@dataclass(frozen=True, slots=True)
class Backing:
    """How to open an empty store, and the fixtures whose values that takes."""

    open: Callable[..., AbstractAsyncContextManager[Store]]
    fixtures: tuple[str, ...] = ()


# A further store is one line here.
STORES = {
    "memory in one write": Backing(partial(memory, Shape.ONE)),
    "memory in two writes": Backing(partial(memory, Shape.TWO)),
    "postgres 18": Backing(postgres, ("postgres_url",)),
    "kubernetes": Backing(kubernetes, ("api_server",)),
    "postgres 15": Backing(postgres, ("postgres_15_url",)),
}
