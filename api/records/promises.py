"""The two writes of a hand-over as rows: claims and instances promised to each other, and what came of it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import asyncpg

from api.records import Bind, Outcome, bound_status, marked
from api.records import columns as to
from api.records.connection import Borrowed
from api.records.known import Known
from api.records.rows import instance_of, reserved, written
from api.records.sql import SQL
from api.types import AgentInstance, Attempt, ClaimStatus, Key, key_of

# The rows of a query, by its name and with its arguments.
Ask = Callable[..., Awaitable[list[asyncpg.Record]]]
Held = dict[tuple[str, str], asyncpg.Record]  # Rows of `bind`, by claim uid and instance name.


async def bind(
    ask: Ask, known: Known, binds: Sequence[Bind], attempt: Attempt
) -> list[Bind | None]:
    """One statement; None where a condition did not hold. Both sides as they stand after it."""
    statuses = [bound_status(b.claim, b.instance, attempt) for b in binds]
    asked = zip(binds, statuses, strict=True)
    found = await ask("bind", [to.bind_columns(b, attempt, status) for b, status in asked])
    held = {(row["claim_uid"], row["name"]): row for row in found}
    known.learn(_reserved(binds, held))  # Others had changed the rest: those are read.
    there = await known.of(found, partial(ask, "instances_by_key"))
    instances = {i.metadata.name: i for i in there}
    return [_held(b, s, held, instances) for b, s in zip(binds, statuses, strict=True)]


def _reserved(binds: Sequence[Bind], held: Held) -> Iterator[AgentInstance]:
    """The instances that nobody had written since they were read: what became of those is known."""
    for bind in binds:
        row = held.get((bind.claim.metadata.uid, bind.instance.metadata.name))
        if row is not None and row["version"] == to.version_of(bind.instance.metadata) + 1:
            yield reserved(bind, row["version"], row["generation"])


def _held(
    bind: Bind, status: ClaimStatus, held: Held, instances: Mapping[str, AgentInstance]
) -> Bind | None:
    row = held.get((bind.claim.metadata.uid, bind.instance.metadata.name))
    instance = instances.get(bind.instance.metadata.name)
    if row is None or instance is None:
        return None
    return Bind(written(bind.claim, status, row["claim_version"]), instance)


async def settle(c: Borrowed, outcomes: Sequence[Outcome]) -> dict[Key, int]:
    """The versions of the claims that were written, and with them what they say of instances."""
    marks = any(outcome.mark for outcome in outcomes)
    async with c.transaction() if marks else nullcontext():
        rows = await c.fetch(SQL["settle"], [to.outcome_columns(o) for o in outcomes])
        versions = {Key(row["namespace"], row["name"]): row["version"] for row in rows}
        if marks:
            await _mark(c, [o for o in outcomes if key_of(o.read) in versions])
    return versions


async def _mark(c: Borrowed, outcomes: Sequence[Outcome]) -> None:
    marks = {
        Key(o.read.metadata.namespace, o.read.status.instance.name): o
        for o in outcomes
        if o.mark and o.read.status.instance
    }
    asked = [
        {"namespace": key.namespace, "name": key.name, "claim_uid": o.read.metadata.uid}
        for key, o in marks.items()
    ]
    changed = []
    for row in await c.fetch(SQL["lock_served"], asked):
        instance = instance_of(row)
        mark = marks[key_of(instance)].mark
        changed.append(marked(instance, mark, row["now"]) if mark else instance)
    await c.fetch(SQL["write_instances"], [to.instance_status_columns(i) for i in changed])
