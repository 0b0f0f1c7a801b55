"""Records as rows of Postgres. SQL stands in queries.sql, the rules in migrations/, the mapping in rows.py.

Each write is one statement (or one short transaction) under its condition; batches are one statement,
and go one by one only where a rule refuses one of them.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar

import asyncpg

from api.records import (
    AlreadyExists,
    Bell,
    Bind,
    Bindable,
    Conflict,
    Event,
    Fate,
    Installation,
    Invalid,
    Lease,
    NotFound,
    Outcome,
    RecordsError,
    Unavailable,
    View,
    promises,
)
from api.records import columns as to
from api.records import connection as wire
from api.records.known import Known
from api.records.migrate import check
from api.records.rows import claim_of, created, instance_of, pool_of, written
from api.records.sql import SQL
from api.types import AgentClaim, AgentInstance, AgentPool, Attempt, Key, Meta, key_of

log = logging.getLogger(__name__)

CONNECTIONS = 4  # More only make commits with NOTIFY queue (facts/speed.md).
EVENTS_KEPT = 10_000
KNOWN_AT_MOST = 50_000  # Instances kept as they were read; those that are gone must go some time.

Item = TypeVar("Item")
Result = TypeVar("Result")
Rows = list[asyncpg.Record]


class PostgresRecords:
    """`Records` on a Postgres that `migrate` has brought up to date; 15 or later."""

    together = 200  # A bind of 20 takes 0.65 ms, of 200 6 ms (measured).

    def __init__(self, dsn: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._dsn = dsn
        self._pool = pool
        self._known = Known()

    @classmethod
    async def connect(cls, dsn: str) -> Self:
        """Raises Unavailable, MigrationError, and Invalid where the URL cannot be read."""
        await check(dsn)
        pool = await asyncpg.create_pool(  # Connects when asked for the first time.
            min_size=0,
            max_size=CONNECTIONS,
            max_inactive_connection_lifetime=0,
            init=wire.prepare,
            reset=_as_it_is,
            **wire.options(dsn),
        )
        return cls(dsn, pool)

    async def close(self) -> None:
        """Does not wait for what is under way."""
        self._pool.terminate()

    # ---- how a question is asked
    async def _ask(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """The one place where a database error becomes one of ours."""
        try:
            async with self._pool.acquire(timeout=wire.CONNECT_S) as connection:
                return await work(connection)
        except wire.Failure as error:
            refused = wire.named(error)
        if isinstance(refused, Unavailable):
            self._known = Known()  # Whoever was away may come back with a backup.
        raise refused

    async def _rows(self, query: str, *args: object) -> Rows:
        async def fetch(connection: wire.Borrowed) -> Rows:
            return await connection.fetch(SQL[query], *args)

        return await self._ask(fetch)

    async def _row(self, query: str, *args: object) -> asyncpg.Record | None:
        rows = await self._rows(query, *args)
        return rows[0] if rows else None

    async def _existing(self, query: str, key: Key) -> asyncpg.Record:
        row = await self._row(query, key.namespace, key.name)
        if row is None:
            raise NotFound(f"{query} {key} does not exist")
        return row

    async def _lost(self, query: str, meta: Meta) -> RecordsError:
        """Why a conditional write of this record found nothing."""
        row = await self._row(query, meta.namespace, meta.name)
        if row is None or row["uid"] != meta.uid:
            return NotFound(f"{query} {meta.namespace}/{meta.name} does not exist")
        return Conflict(f"{query} {meta.namespace}/{meta.name} changed since it was read")

    async def _batch(
        self,
        items: Sequence[Item],
        ids: Callable[[Item], Sequence[Hashable]],
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    ) -> list[Result | RecordsError]:
        """All in one statement, or each alone where a rule refuses one or an id comes twice."""
        many = [one for item in items for one in ids(item)]
        if len(items) < 2 or len(set(many)) == len(many):
            try:
                return list(await write(items)) if items else []
            except (Invalid, AlreadyExists, Conflict) as error:
                if len(items) == 1:
                    return [error]
        return [result for item in items for result in await self._batch([item], ids, write)]

    # ---- looks
    async def now(self) -> datetime:
        [row] = await self._rows("now")
        return row["now"]  # type: ignore[no-any-return]

    async def installation(self) -> Installation:
        [row] = await self._rows("installation")
        return Installation(row["owner_id"], row["instance_secret"])

    async def view(self, pool: Key) -> View:
        """One snapshot, in which neither the claims that ended are read nor what is known already."""
        known = self._remembered()

        async def look(c: wire.Borrowed) -> tuple[list[Rows], list[AgentInstance]]:
            names = ("pool_now", "open_claims", "versions_of_pool")
            async with c.transaction(isolation="repeatable_read", readonly=True):
                rows = [await c.fetch(SQL[name], pool.namespace, pool.name) for name in names]
                return rows, await known.of(rows[2], partial(c.fetch, SQL["instances_by_key"]))

        ([first], claims, versions), instances = await self._ask(look)
        return View(
            now=first["now"],
            pool=pool_of(first) if first["name"] is not None else None,
            claims=tuple(map(claim_of, claims)),
            instances=tuple(instances),
            fates={i["name"]: Fate(i["fate"]) for i in versions if i["fate"] is not None},
        )

    async def bindable(self, pool: Key, limit: int) -> Bindable:
        """No more idle ones than there are claims for them."""
        known = self._remembered()

        async def look(c: wire.Borrowed) -> Bindable:
            rows = await c.fetch(SQL["bindable"], pool.namespace, pool.name, limit)
            idle = [_idle(row) for row in rows if row["idle_uid"] is not None]
            read_pool = partial(c.fetch, SQL["pool"], pool.namespace, pool.name)
            return Bindable(
                now=rows[0]["now"],
                claims=tuple(claim_of(row) for row in rows if row["name"] is not None),
                idle=tuple(await known.of(idle, partial(c.fetch, SQL["instances_by_key"]))),
                pool=await known.pool(rows[0], read_pool),
            )

        return await self._ask(look)

    def _remembered(self) -> Known:
        """For one look: its own to the end, whoever begins anew meanwhile."""
        if len(self._known) > KNOWN_AT_MOST:
            self._known = Known()
        return self._known

    async def pools(self) -> list[AgentPool]:
        return sorted(map(pool_of, await self._rows("pools")), key=key_of)

    async def pool_keys(self) -> list[Key]:
        return sorted(Key(*row) for row in await self._rows("pool_keys"))

    async def instances(self) -> list[AgentInstance]:
        versions = await self._rows("versions")
        return await self._remembered().of(versions, partial(self._rows, "instances_by_key"))

    async def claims(self, keys: Sequence[Key]) -> list[AgentClaim]:
        asked = [{"namespace": key.namespace, "name": key.name} for key in set(keys)]
        found = {key_of(c): c for c in map(claim_of, await self._rows("claims", asked))}
        return [found[key] for key in keys if key in found]

    async def list_claims(self, namespace: str, limit: int = 500) -> list[AgentClaim]:
        return list(map(claim_of, await self._rows("list_claims", namespace, limit)))

    async def queue_position(self, claim: AgentClaim) -> int:
        meta = claim.metadata
        [row] = await self._rows("queue_position", meta.namespace, meta.name, meta.uid)
        return int(row["count"])

    async def before(self, instance: AgentInstance) -> int:
        meta = instance.metadata
        [row] = await self._rows("before", meta.namespace, meta.name)
        return int(row["count"])

    async def pool(self, key: Key) -> AgentPool:
        return pool_of(await self._existing("pool", key))

    async def claim(self, key: Key) -> AgentClaim:
        return claim_of(await self._existing("claim", key))

    async def instance(self, key: Key) -> AgentInstance:
        return instance_of(await self._existing("instance", key))

    async def secret(self, name: Key, key: str) -> str:
        raise Invalid("secretKeyRef: Kubernetes only; use valueFrom.env")

    async def fate(self, instance: AgentInstance) -> Fate:
        meta, ref = instance.metadata, instance.spec.claim_ref
        if ref is None:
            raise ValueError("fate is asked of instances with a claim_ref only")
        row = await self._row("fate", meta.namespace, ref.name, ref.uid, meta.name)
        return Fate(row["fate"]) if row else Fate.RELEASED

    # ---- what users write
    async def create_pool(self, pool: AgentPool) -> AgentPool:
        [row] = await self._rows("create_pool", to.pool_columns(pool))
        return pool_of(row)

    async def create_claims(self, claims: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
        async def write(some: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
            rows = await self._rows("create_claims", [to.claim_columns(c) for c in some])
            made = {Key(row["namespace"], row["name"]): row for row in rows}
            return [_made(claim, made.get(key_of(claim))) for claim in some]

        return await self._batch(claims, lambda claim: [key_of(claim)], write)

    async def replace_pool(self, pool: AgentPool) -> AgentPool:
        row = await self._row("replace_pool", to.pool_columns(pool))
        if row is None:
            raise await self._lost("pool", pool.metadata)
        return pool_of(row)

    async def delete_pool(self, pool: AgentPool) -> None:
        meta = pool.metadata
        if not await self._rows("delete_pool", meta.namespace, meta.name, meta.uid):
            raise await self._lost("pool", meta)

    async def delete_claim(self, claim: AgentClaim, *, unchanged: bool = False) -> None:
        meta = claim.metadata
        args: list[object] = [meta.namespace, meta.name, meta.uid]
        if unchanged:
            gone = await self._rows("delete_claim_unchanged", *args, to.version_of(meta))
        else:
            gone = await self._rows("delete_claim", *args)
        if not gone:
            raise await self._lost("claim", meta)

    # ---- what the controller writes
    async def bind(self, binds: Sequence[Bind], attempt: Attempt) -> list[Bind]:
        async def write(some: Sequence[Bind]) -> list[Bind | None]:
            return await promises.bind(self._rows, self._remembered(), some, attempt)

        made = await self._batch(
            binds, lambda b: [("c", key_of(b.claim)), key_of(b.instance)], write
        )
        return [bind for bind in _unrefused(made) if bind is not None]

    async def settle(self, outcomes: Sequence[Outcome]) -> list[AgentClaim | None]:
        async def write(some: Sequence[Outcome]) -> list[AgentClaim | None]:
            versions = await self._ask(lambda c: promises.settle(c, some))
            return [_written(outcome, versions) for outcome in some]

        return _unrefused(await self._batch(outcomes, lambda o: [key_of(o.read)], write))

    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        meta = pool.metadata
        intents = [to.instance_columns(instance) for instance in instances]

        async def write(c: wire.Borrowed) -> Rows:
            async with c.transaction():
                most = await c.fetchval(SQL["lock_pool"], meta.namespace, meta.name, meta.uid)
                if most is None:  # The pool was deleted meanwhile.
                    return []
                return await c.fetch(
                    SQL["intend"], intents, meta.namespace, meta.name, most - orphans
                )

        return list(map(instance_of, await self._ask(write)))

    async def tidy(self, pool: Key) -> None:
        """An intent is one write here."""

    async def write_instances(self, changed: Sequence[AgentInstance]) -> list[AgentInstance | None]:
        async def write(some: Sequence[AgentInstance]) -> list[AgentInstance | None]:
            rows = await self._rows(
                "write_instances", [to.instance_status_columns(i) for i in some]
            )
            now = {key_of(i): i for i in map(instance_of, rows)}
            return [now.get(key_of(i)) for i in some]

        return _unrefused(await self._batch(changed, lambda i: [key_of(i)], write))

    async def write_pool_status(self, pool: AgentPool) -> AgentPool:
        row = await self._row("write_pool_status", to.pool_status_columns(pool))
        if row is None:
            raise await self._lost("pool", pool.metadata)
        return pool_of(row)

    async def delete_instance(self, instance: AgentInstance) -> None:
        meta = instance.metadata
        args = (meta.namespace, meta.name, meta.uid, to.version_of(meta))
        if not await self._rows("delete_instance", *args):
            raise await self._lost("instance", meta)

    async def note(self, events: Sequence[Event]) -> None:
        told = [to.event_columns(event, count) for event, count in Counter(events).items()]
        with suppress(RecordsError):
            if rows := await self._rows("note", told):
                await self._rows("trim_events", rows[-1]["seq"] - EVENTS_KEPT)

    # ---- who may act
    async def lease(self, name: str) -> Lease:
        row = await self._row("lease", name)
        return Lease(name, row["holder"], row["version"]) if row else Lease(name)

    async def write_lease(self, read: Lease, holder: str) -> Lease:
        if read.version == 0:
            row = await self._row("take_lease", read.name, holder)
        else:
            row = await self._row("write_lease", read.name, holder, read.version)
        if row is None:
            raise Conflict(f"lease {read.name} changed since it was read")
        return Lease(read.name, holder, row["version"])

    # ---- doorbells
    def bells(self) -> AsyncIterator[Bell]:
        """On a connection of its own, which is re-made when it drops."""
        return wire.bells(self._dsn)

    async def ring(self, bell: Bell) -> None:
        with suppress(RecordsError):
            await self._rows("ring", wire.payload_of(bell))


async def _as_it_is(connection: Any) -> None:
    """Nothing we do leaves a trace on a connection: a reset would cost a round trip each time."""


def _idle(row: asyncpg.Record) -> dict[str, Any]:
    """Of a row of `bindable`, the idle instance."""
    return {name: row[f"idle_{name}"] for name in ("namespace", "name", "uid", "version")}


def _unrefused(results: Sequence[Result | RecordsError]) -> list[Result | None]:
    """A write that a rule refused did not hold; what the rule says is for us to read."""
    for result in results:
        if isinstance(result, RecordsError):
            log.warning("a write was refused: %s", result)
    return [None if isinstance(result, RecordsError) else result for result in results]


def _made(claim: AgentClaim, row: asyncpg.Record | None) -> AgentClaim | RecordsError:
    return created(claim, row) if row else AlreadyExists(f"claim {key_of(claim)} exists")


def _written(outcome: Outcome, versions: dict[Key, int]) -> AgentClaim | None:
    version = versions.get(key_of(outcome.read))
    return None if version is None else written(outcome.read, outcome.status, version)
