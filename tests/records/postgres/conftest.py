"""A migrated database on each PostgreSQL we promise, a person at psql, and a client of ours."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.records.migrate import migrate
from api.records.postgres import PostgresRecords


@pytest.fixture(params=["postgres_url", "postgres_15_url"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """An empty database, on 18 and on 15."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def url(empty_url: str) -> str:
    """A migrated database."""
    await migrate(empty_url)
    return empty_url


@pytest.fixture
async def psql(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A person who knows nothing of us but the tables."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def records(url: str) -> AsyncIterator[PostgresRecords]:
    """Our own client of the same database."""
    records = await PostgresRecords.connect(url)
    yield records
    await records.close()
