"""Real Postgres servers for the tests, and the rules of a run in CI."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from controller.local.postgres import LocalPostgres

pytest_plugins = ["tests.accounting", "tests.cluster", "tests.order"]
# Durability is not what these servers are for; a fresh database per test is.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "autovacuum": "off",
}


def _server(bin_dir: Path | None = None) -> Iterator[str]:
    """A server for this process of the run; its URL. It is gone when the run is, however it ends."""
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # As root the server runs as somebody else.
        server = LocalPostgres(Path(folder) / "state", bin_dir, FAST)
        with asyncio.Runner() as runner:
            yield runner.run(server.start())
            runner.run(server.stop())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """PostgreSQL 18, from the wheel."""
    yield from _server()


@pytest.fixture(scope="session")
def postgres_15_server() -> Iterator[str]:
    """PostgreSQL 15: PG15_BIN, or where Debian puts it."""
    bin_dir = Path(os.environ.get("PG15_BIN") or "/usr/lib/postgresql/15/bin")
    if not (bin_dir / "postgres").exists():
        pytest.skip(
            "no PostgreSQL 15: install Debian's postgresql-15, or set PG15_BIN to its bin folder"
        )
    yield from _server(bin_dir)


async def database(server: str) -> AsyncIterator[str]:
    """The URL of an empty database of that server, dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield server.rsplit("/", 1)[0] + f"/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of an empty database on PostgreSQL 18, this test's own."""
    async for url in database(postgres_server):
        yield url


@pytest.fixture
async def postgres_15_url(postgres_15_server: str) -> AsyncIterator[str]:
    """The URL of an empty database on PostgreSQL 15, this test's own."""
    async for url in database(postgres_15_server):
        yield url
