"""Moves records in from another store: brought under a mark that every pass leaves alone, then admitted.

Pools come first and are admitted last: while its pool bears the mark, nothing of an import is acted upon, and
whatever a crash left is kept where it is as it should be, and made anew where not. Run again, it completes.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from api.records import Records
from api.records.moving import (
    CREATED,
    IMPORT,
    LISTED_MAX,
    ORIGIN,
    Moving,
    admitted,
    is_arriving,
    pool_of_it,
)
from api.types import AgentClaim, AgentInstance, AgentPool, Condition, Key, Kind, key_of
from controller.cli import exits
from controller.cli.exits import Exit
from controller.cli.show import full_name

Record = TypeVar("Record", AgentPool, AgentClaim, AgentInstance)
SETTLE_S = (
    2.0  # Kinds are watched one by one: who sees the pool admitted shall have seen its instances.
)
SHOWN = 5
TICK = timedelta(microseconds=1)


class Import:
    """One import of these records, in the order of an export (newest first), into an open store."""

    def __init__(
        self,
        records: Records,
        moving: Moving,
        exported: Sequence[Kind],
        *,
        settle_s: float = SETTLE_S,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._records = records
        self._moving = moving
        self._pools = [r for r in exported if isinstance(r, AgentPool)]
        self._claims = _dated([r for r in reversed(exported) if isinstance(r, AgentClaim)])
        self._instances = _dated([r for r in reversed(exported) if isinstance(r, AgentInstance)])
        self._namespace = exported[0].metadata.namespace
        self._settle_s = settle_s
        self._tell = tell
        self._there: dict[tuple[str, Key], Kind] = {}
        self._done: set[Key] = set()  # Pools whose import has ended before.

    async def look(self) -> None:
        """What is there already. Raises Exit where that is somebody else's; nothing is written then."""
        pools, instances = await self._records.pools(), await self._records.instances()
        claims = await self._records.list_claims(self._namespace, LISTED_MAX)
        there: list[Kind] = [*pools, *claims, *instances]
        mine = [record for record in there if record.metadata.namespace == self._namespace]
        self._there = {(record.kind, key_of(record)): record for record in mine}
        self._done = {key_of(pool) for pool in self._pools if self._has_ended(pool)}
        strangers = [r for r in self._wanted() if self._is_anothers(r)]
        if strangers:
            names = ", ".join(full_name(r) for r in strangers[:SHOWN])
            more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
            said = "there already, and not by an import of this: delete them, or import elsewhere"
            raise Exit(exits.FAILED, f"{names}{more}: {said}")

    async def run(self) -> None:
        """Raises RecordsError; run again it goes on."""
        pools = await self._bring([_arriving(p) for p in self._pools if not self._ended(p)])
        await self._drop(self._leftovers())
        claims = await self._bring([_arriving(c) for c in self._claims if not self._ended(c)])
        uids = {c.metadata.annotations[ORIGIN]: c.metadata.uid for c in claims}
        told = [_serving(i, uids) for i in self._instances if not self._ended(i)]
        instances = await self._bring([_arriving(i) for i in told])
        await self._moving.admit([c for c in claims if is_arriving(c)])
        await self._moving.admit([i for i in instances if is_arriving(i)])
        if pools:
            await asyncio.sleep(self._settle_s)
        await self._moving.admit([p for p in pools if is_arriving(p)])
        every: list[Kind] = [*self._pools, *self._claims, *self._instances]
        for record in every:
            self._tell(f"{full_name(record)} {'unchanged' if self._ended(record) else 'imported'}")

    # ---------------------------------------------------------------- what is there

    def _wanted(self) -> Iterable[Kind]:
        every: tuple[Sequence[Kind], ...] = (self._pools, self._claims, self._instances)
        return (record for some in every for record in some if not self._ended(record))

    def _has_ended(self, pool: AgentPool) -> bool:
        there = self._of(pool)
        return there is not None and not is_arriving(there) and _came_from(there, pool)

    def _ended(self, record: Kind) -> bool:
        return pool_of_it(record) in self._done

    def _is_anothers(self, record: Kind) -> bool:
        there = self._there.get((record.kind, key_of(record)))
        return there is not None and not is_arriving(there) and not _came_from(there, record)

    def _of(self, record: Record) -> Record | None:
        return self._there.get((record.kind, key_of(record)))  # type: ignore[return-value]

    def _leftovers(self) -> list[Kind]:
        """What an import before this one brought, and is not exported any more."""
        told = {(record.kind, key_of(record)) for record in self._wanted()}
        pools = {pool_of_it(record) for record in self._wanted()}
        open_ones = {key_of(pool) for pool in self._pools}
        left = [(r, pool_of_it(r)) for name, r in self._there.items() if name not in told]
        return [
            record
            for record, pool in left
            if pool in pools
            and (
                is_arriving(record) or (pool in open_ones and ORIGIN in record.metadata.annotations)
            )
        ]

    # ---------------------------------------------------------------- the steps

    async def _bring(self, wanted: list[Record]) -> list[Record]:
        """All of them on record, in their order: what is there as it should be is kept."""
        kept: dict[Key, Record] = {}
        unfit: list[Kind] = []
        for record in wanted:
            there = self._of(record)
            if there is not None and _says_the_same(there, record):
                kept[key_of(record)] = there
            elif there is not None:
                unfit.append(there)
        await self._drop(unfit)
        made = await self._moving.bring([r for r in wanted if key_of(r) not in kept])
        now = kept | {key_of(record): record for record in made}
        return [now[key_of(record)] for record in wanted]

    async def _drop(self, records: Iterable[Kind]) -> None:
        for record in records:
            await self._moving.drop(record)


# ---------------------------------------------------------------- records as they arrive. Pure


def _came_from(there: Kind, exported: Kind) -> bool:
    return there.metadata.annotations.get(ORIGIN) == exported.metadata.uid


def _dated(oldest_first: list[Record]) -> list[Record]:
    """Each created after the one before: of one transaction all have the same time, and keep their order."""
    dated: list[Record] = []
    last: datetime | None = None
    for record in oldest_first:
        at = record.metadata.creation_timestamp
        if at is not None:
            last = at if last is None else max(at, last + TICK)
            meta = record.metadata.model_copy(update={"creation_timestamp": last})
            record = record.model_copy(update={"metadata": meta})
        dated.append(record)
    return dated


def _arriving(record: Record) -> Record:
    """The record as it is brought: under the mark, knowing who it was, and with a generation of 1."""
    meta, created = record.metadata, record.metadata.creation_timestamp
    marks = {IMPORT: "true", ORIGIN: meta.uid}
    if created is not None:
        marks[CREATED] = created.isoformat()
    arriving = meta.model_copy(update={"annotations": {**meta.annotations, **marks}})
    return record.model_copy(
        update={"metadata": arriving, "status": _of_generation_1(record.status)}
    )


def _of_generation_1(status: Any) -> Any:
    """What was observed of a generation that the new record has not reached yet."""
    observed = {"observed_generation": 1}
    conditions: tuple[Condition, ...] = status.conditions
    changes: dict[str, Any] = {
        "conditions": tuple(
            c.model_copy(update=observed) if c.observed_generation > 1 else c for c in conditions
        )
    }
    if getattr(status, "observed_generation", 0) > 1:
        changes |= observed
    return status.model_copy(update=changes)


def _serving(instance: AgentInstance, uids: Mapping[str, str]) -> AgentInstance:
    """Its claimRef names the claim as it is called here; of a released one it stays as it was."""
    ref = instance.spec.claim_ref
    if ref is None or ref.uid not in uids:
        return instance
    named = ref.model_copy(update={"uid": uids[ref.uid]})
    spec = instance.spec.model_copy(update={"claim_ref": named})
    return instance.model_copy(update={"spec": spec})


def _says_the_same(there: Record, wanted: Record) -> bool:
    """But for when it was created: who was created with it may have gone, and its place is taken already."""
    mine, yours = (
        {k: v for k, v in admitted(r.metadata).annotations.items() if k != CREATED}
        for r in (there, wanted)
    )
    return (there.spec, there.status, there.metadata.labels, mine) == (
        *(wanted.spec, wanted.status, wanted.metadata.labels),
        yours,
    )
