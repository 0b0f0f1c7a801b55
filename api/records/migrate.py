"""Migrations: the numbered SQL files beside this one, applied once, in order, each in a transaction.

One lock for all who start at once; each file's SHA-256 is kept, so that what was applied stays what is
in the repository. It works through a connection pooler too: the lock ends with its transaction.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

import asyncpg

from api.records import Invalid
from api.records.connection import Failure, connect, named

Result = TypeVar("Result")

MIGRATION_S = 600.0  # An index over many rows takes its time.
_LOCK = 0x6167656E74  # "agent"; any number that nobody else takes.
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text        PRIMARY KEY,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(Invalid):
    """The database and this program do not fit together; the text says which of them to change."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name without `.sql`, and what it does."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known() -> list[Migration]:
    """The migrations of this program, in order."""
    folder = files("api.records") / "migrations"
    found = (f for f in folder.iterdir() if f.name.endswith(".sql"))
    return sorted(
        (Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in found),
        key=lambda migration: migration.name,
    )


def missing(applied: Sequence[tuple[str, str]], migrations: Sequence[Migration]) -> list[Migration]:
    """What is still to be applied, given name and SHA-256 of what was. Raises MigrationError."""
    ours = {migration.name: migration for migration in migrations}
    for name, sha256 in applied:
        if name not in ours:
            raise MigrationError(
                f"the database is newer than this program: it has migration {name}; upgrade agent-pool"
            )
        if ours[name].sha256 != sha256:
            raise MigrationError(
                f"migration {name} was applied with another content; restore its file, "
                "and put the change into a new migration"
            )
    done = {name for name, _ in applied}
    todo = [migration for migration in migrations if migration.name not in done]
    if todo and done and todo[0].name < max(done):
        raise MigrationError(
            f"migration {todo[0].name} comes before {max(done)}, which is applied; number it anew"
        )
    return todo


async def migrate(dsn: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring the database up to date; the names of what was applied now.

    Raises MigrationError, Unavailable, and Invalid where the URL cannot be read.
    """
    ours = known() if migrations is None else migrations

    async def work(connection: asyncpg.Connection) -> list[str]:
        names = []
        while name := await _apply_next(connection, ours):
            names.append(name)
        return names

    return await _on(dsn, work)


async def check(dsn: str) -> None:
    """Whether the database is just as this program knows it. Raises as `migrate`."""

    async def work(connection: asyncpg.Connection) -> list[Migration]:
        there = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
        return missing(await _applied(connection) if there else [], known())

    if todo := await _on(dsn, work):
        raise MigrationError(
            f"the database lacks migration {todo[0].name}; run `agent-pool migrate`"
        )


async def _on(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
    connection = await connect(dsn, MIGRATION_S)
    try:
        return await work(connection)
    except Failure as error:
        refused = named(error)
    finally:
        connection.terminate()
    raise refused


async def _apply_next(
    connection: asyncpg.Connection, migrations: Sequence[Migration]
) -> str | None:
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        await connection.execute(_TABLE)
        todo = missing(await _applied(connection), migrations)
        if not todo:
            return None
        await connection.execute(todo[0].sql)
        await connection.execute(
            "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)",
            todo[0].name,
            todo[0].sha256,
        )
        return todo[0].name


async def _applied(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT name, sha256 FROM schema_migrations ORDER BY name")
    return [(row["name"], row["sha256"]) for row in rows]
