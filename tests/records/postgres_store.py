"""The suite's store on a real Postgres: an empty database, its clients, and how to cut listeners off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from api.records.migrate import migrate
from api.records.postgres import PostgresRecords

LISTENERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND query ILIKE 'listen%'"""


class PostgresHarness:
    """Clients of one migrated database; `admin` is a connection to another one of the same server."""

    patience_s = 5.0

    def __init__(self, url: str, admin: asyncpg.Connection) -> None:
        self.url = url
        self.admin = admin
        self.database = url.rsplit("/", 1)[1]
        self.clients: list[PostgresRecords] = []

    async def client(self) -> PostgresRecords:
        self.clients.append(await PostgresRecords.connect(self.url))
        await self.clients[-1].now()  # So it has a connection before `deaf` forbids new ones.
        return self.clients[-1]

    async def tick(self) -> None:
        """Rows are ordered by `seq`."""

    async def _sql(self, query: str, *args: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def age_events(self, by: timedelta) -> None:
        await self._sql("UPDATE agent_events SET last_at = last_at - $1::interval", by)

    async def events(self) -> list[tuple[str, int]]:
        rows = await self._sql("SELECT reason, count FROM agent_events ORDER BY seq")
        return [(row["reason"], row["count"]) for row in rows]

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        await self.admin.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false")
        await self.admin.fetch(LISTENERS, self.database)
        yield
        await self.admin.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[PostgresHarness]:
    """The empty database at this URL, migrated."""
    await migrate(url)
    admin = await asyncpg.connect(url.rsplit("/", 1)[0] + "/postgres")
    harness = PostgresHarness(url, admin)
    try:
        yield harness
    finally:
        for client in harness.clients:
            await client.close()
        await admin.close()
