"""A connection of the bench's own to the rig's database, for as long as it is needed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    db = await asyncpg.connect(dsn)
    try:
        yield db
    finally:
        await db.close()


async def execute(dsn: str, statement: str, *args: object) -> None:
    async with connected(dsn) as db:
        await db.execute(statement, *args)


async def count(dsn: str, query: str) -> int:
    """The one number that this query gives."""
    async with connected(dsn) as db:
        return int(await db.fetchval(query))
