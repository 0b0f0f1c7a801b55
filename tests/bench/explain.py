"""`python -m tests.bench.explain`: the plans of the hot statements in a large store, each rolled back.

At 10,000 idle instances and 100,000 ended claims, with 20 claims that wait, on a connection like our own.
"""

import asyncio
from datetime import UTC, datetime

import asyncpg

from api.records import Bind, Outcome, bound_status
from api.records import columns as to
from api.records.columns import to_json
from api.records.connection import connect
from api.records.sql import SQL
from api.types import Attempt, Key, key_of
from tests.bench.rig import Rig
from tests.builders import a_claim

IDLE, ENDED, WAITING = 10_000, 100_000, 20
POOL = Key("default", "default")


async def main() -> None:
    async with Rig(controllers=0, sidecars=0, idle=IDLE, ended=ENDED) as rig:
        await rig.records.create_claims([a_claim(name=f"w{n}") for n in range(WAITING)])
        db = await connect(rig.dsn)
        for name, args in (await statements(rig)).items():
            print(f"-- {name}")
            await explain(db, name, args)
            await explain(db, name, args, shown=True)  # The first compiled the rules.
        await db.close()


async def statements(rig: Rig) -> dict[str, list[object]]:
    """The hot statements with the arguments of 20 claims."""
    there = await rig.records.bindable(POOL, WAITING)
    attempt = Attempt(by="bench", at=datetime.now(UTC))
    pairs = [Bind(c, i) for c, i in zip(there.claims, there.idle, strict=True)]
    statuses = [bound_status(b.claim, b.instance, attempt) for b in pairs]
    binds = [to.bind_columns(b, attempt, s) for b, s in zip(pairs, statuses, strict=True)]
    ends = [
        to.outcome_columns(Outcome(b.claim, b.claim.status.model_copy(update={"joined": True})))
        for b in pairs
    ]
    keys = [{"namespace": k.namespace, "name": k.name} for k in map(key_of, there.claims)]
    pool: list[object] = [POOL.namespace, POOL.name]
    return {
        "create_claims": [[to.claim_columns(a_claim(name=f"n{n}")) for n in range(WAITING)]],
        "bindable": [*pool, WAITING],
        "bind": [binds],
        "settle": [ends],
        "claims": [keys],
        "open_claims": pool,
        "versions_of_pool": pool,
    }


async def explain(
    db: "asyncpg.Connection[asyncpg.Record]", name: str, args: list[object], *, shown: bool = False
) -> None:
    given = ", ".join(map(literal, args))
    transaction = db.transaction()
    await transaction.start()
    try:
        await db.execute(f"PREPARE {name} AS {SQL[name]}")
        plan = await db.fetch(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE {name}({given})")
    finally:
        await transaction.rollback()
        await db.execute(f"DEALLOCATE {name}")
    if shown:
        print("\n".join(row[0] for row in plan))


def literal(value: object) -> str:
    """As a constant of SQL; lists are jsonb."""
    said = to_json(value) if isinstance(value, list) else str(value)
    return "'" + said.replace("'", "''") + "'"


if __name__ == "__main__":
    asyncio.run(main())
