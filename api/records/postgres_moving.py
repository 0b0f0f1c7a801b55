"""A move out of or into rows. A record is brought by one transaction, in the order that it is to keep."""

from collections.abc import Callable, Sequence

import asyncpg

from api.records import AlreadyExists, Installation, Invalid, Outcome, Thing
from api.records import columns as to
from api.records.connection import Borrowed
from api.records.moving import IMPORT, Lead, may_drop, must_arrive, pool_of_it
from api.records.postgres import PostgresRecords
from api.records.rows import claim_of, created, instance_of, pool_of
from api.records.sql import SQL
from api.types import AgentClaim, AgentInstance, AgentPool, Kind, key_of

_ONE = {"AgentPool": "pool", "AgentClaim": "claim", "AgentInstance": "instance"}


class PostgresMoving:
    """`Moving` of one database."""

    def __init__(self, records: PostgresRecords) -> None:
        self._records = records

    async def leads(self) -> list[Lead]:
        rows = await self._records._rows("leases")
        return [Lead(row["name"], row["holder"], row["changed_at"]) for row in rows]

    async def adopt(self, installation: Installation) -> bool:
        if await self._records.installation() == installation:
            return False
        told = (installation.owner_id, installation.instance_secret)
        if not await self._records._rows("adopt", *told):
            said = "the database is another installation's, which has instances here"
            raise Invalid(f"{said}: import into a new one")
        return True

    async def bring(self, things: Sequence[Thing]) -> list[Thing]:
        return [await self._bring(thing) for thing in things]

    async def _bring(self, thing: Thing) -> Thing:
        must_arrive(thing)

        async def write(c: Borrowed) -> asyncpg.Record | None:
            async with c.transaction():
                return await _insert(c, thing)

        try:
            row = await self._records._ask(write)
        except Invalid as error:
            raise Invalid(f"{_ONE[thing.kind]} {key_of(thing)}: {error}") from None
        if row is None:
            raise AlreadyExists(f"{_ONE[thing.kind]} {key_of(thing)} exists")
        return _of(thing, row)

    async def admit(self, things: Sequence[Thing]) -> list[Thing]:
        return [await self._admit(thing) for thing in things]

    async def _admit(self, thing: Thing) -> Thing:
        meta, one = thing.metadata, _ONE[thing.kind]
        row = await self._records._row(
            f"admit_{one}", meta.namespace, meta.name, meta.uid, to.version_of(meta), IMPORT
        )
        if row is None:
            raise await self._records._lost(one, meta)
        return _of(thing, row)

    async def drop(self, thing: Kind) -> None:
        pools = {key_of(pool): pool for pool in await self._records.pools()}
        if not may_drop(thing, pools.get(pool_of_it(thing))):
            raise Invalid(f"{_ONE[thing.kind]} {key_of(thing)} is no part of an import")
        meta, one = thing.metadata, _ONE[thing.kind]
        args = (meta.namespace, meta.name, meta.uid, to.version_of(meta))
        if not await self._records._rows(f"drop_{one}", *args):
            raise await self._records._lost(one, meta)


async def _insert(c: Borrowed, thing: Kind) -> asyncpg.Record | None:
    """Itself and its status; None where its key is taken."""
    if isinstance(thing, AgentInstance):
        return await c.fetchrow(SQL["bring_instance"], _columns(thing))
    if isinstance(thing, AgentPool):
        [row] = await c.fetch(SQL["create_pool"], to.pool_columns(thing))
        whole = pool_of(row).model_copy(update={"status": thing.status})
        return await c.fetchrow(SQL["write_pool_status"], to.pool_status_columns(whole))
    born = await c.fetchrow(SQL["create_claims"], [to.claim_columns(thing)])
    if born is None:
        return None
    await c.fetch(SQL["settle"], [to.outcome_columns(Outcome(created(thing, born), thing.status))])
    return await c.fetchrow(SQL["claim"], *_key(thing))


def _columns(instance: AgentInstance) -> to.Columns:
    ref = instance.spec.claim_ref
    return {
        **to.instance_columns(instance),
        **to.instance_status_columns(instance),
        "claim_name": ref.name if ref else None,
        "claim_uid": ref.uid if ref else None,
        "claim_reclaim_policy": ref.reclaim_policy if ref else None,
    }


def _key(thing: Kind) -> tuple[str, str]:
    return thing.metadata.namespace, thing.metadata.name


def _of(thing: Thing, row: asyncpg.Record) -> Thing:
    read: dict[type[Kind], Callable[[asyncpg.Record], Kind]] = {
        AgentPool: pool_of,
        AgentClaim: claim_of,
        AgentInstance: instance_of,
    }
    return read[type(thing)](row)  # type: ignore[return-value]
