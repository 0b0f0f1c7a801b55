"""A move out of or into memory records, in the shape of rows or of Kubernetes."""

from collections.abc import Sequence
from functools import partial

from api.records import Conflict, Installation, Invalid, Thing
from api.records.memory import MemoryRecords, Shape
from api.records.moving import (
    CREATED,
    Lead,
    admitted,
    created_at,
    may_drop,
    must_arrive,
    pool_of_it,
)
from api.types import Kind, key_of


class MemoryMoving:
    """`Moving` of one client's store."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records
        self._store = records.store

    async def leads(self) -> list[Lead]:
        store = self._store
        return [Lead(n, store.leases[n].holder, store.renewed[n]) for n in sorted(store.leases)]

    async def adopt(self, installation: Installation) -> bool:
        if self._store.installation == installation:
            return False
        if self._store.tables.instances:
            raise Invalid("the store is another installation's: import into an empty one")
        self._store.installation = installation
        return True

    async def bring(self, things: Sequence[Thing]) -> list[Thing]:
        return [await self._bring(thing) for thing in things]

    async def _bring(self, thing: Thing) -> Thing:
        must_arrive(thing)
        if self._records.shape is Shape.ONE:
            return await self._records._write("bring", lambda: self._tell(self._born(thing), thing))
        born = await self._records._write("bring", lambda: self._born(thing))
        return await self._records._write("bring status", lambda: self._tell(born, thing))

    def _born(self, thing: Thing) -> Thing:
        made = self._store.create(thing, ordered=self._records.shape is Shape.ONE)
        meta, told = made.metadata, thing.metadata.annotations.get(CREATED)
        created = created_at(told, meta.creation_timestamp or self._store.clock())
        meta = meta.model_copy(update={"creation_timestamp": created})
        return self._store._put(made.model_copy(update={"metadata": meta}))

    def _tell(self, born: Thing, thing: Thing) -> Thing:
        now = self._now(born)
        if now.status == thing.status:
            return now
        return self._store._put(now.model_copy(update={"status": thing.status}))

    async def admit(self, things: Sequence[Thing]) -> list[Thing]:
        return [await self._records._write("admit", partial(self._admit, t)) for t in things]

    def _admit(self, thing: Thing) -> Thing:
        now = self._now(thing)
        return self._store._put(now.model_copy(update={"metadata": admitted(now.metadata)}))

    async def drop(self, thing: Kind) -> None:
        await self._records._write("drop", lambda: self._drop(thing))  # type: ignore[type-var]

    def _drop(self, thing: Thing) -> None:
        if not may_drop(thing, self._store.tables.pools.get(pool_of_it(thing))):
            raise Invalid(f"{thing.kind} {key_of(thing)} is no part of an import")
        self._store.delete(thing, unchanged=True)

    def _now(self, read: Thing) -> Thing:
        """Raises Conflict, NotFound."""
        now = self._store._still(read)
        if not self._store.as_read(now, read):
            raise Conflict(f"{read.kind} {key_of(read)} has changed")
        return now
