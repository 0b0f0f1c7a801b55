"""Migrations: once, in order, under a lock, and never past what this program knows."""

import asyncio

import asyncpg
import pytest

from api.records import Invalid, Unavailable
from api.records.migrate import Migration, MigrationError, known, migrate, missing
from api.records.postgres import PostgresRecords

NAMES = [migration.name for migration in known()]


async def applied(url: str) -> list[str]:
    psql = await asyncpg.connect(url)
    try:
        return [row["name"] for row in await psql.fetch("SELECT name FROM schema_migrations")]
    finally:
        await psql.close()


async def test_the_second_run_has_nothing_to_do(empty_url: str) -> None:
    assert await migrate(empty_url) == NAMES
    assert await migrate(empty_url) == []


async def test_of_many_at_once_each_is_applied_by_one(empty_url: str) -> None:
    runs = await asyncio.gather(*(migrate(empty_url) for _ in range(5)))
    assert sorted(name for run in runs for name in run) == NAMES
    assert await applied(empty_url) == NAMES


async def test_a_migration_whose_text_changed_is_refused(url: str) -> None:
    *others, last = known()
    with pytest.raises(MigrationError, match=f"migration {last.name} was applied with another"):
        await migrate(url, [*others, Migration(last.name, last.sql + "-- changed")])


async def test_a_newer_database_is_refused_by_migrate_and_by_connect(url: str) -> None:
    newer = [*known(), Migration("9999_later", "CREATE TABLE later ()")]
    assert await migrate(url, newer) == ["9999_later"]
    for refused in (migrate(url), PostgresRecords.connect(url)):
        with pytest.raises(MigrationError, match="newer than this program: it has migration 9999"):
            await refused


async def test_a_database_that_lacks_a_migration_is_not_used(empty_url: str) -> None:
    with pytest.raises(MigrationError, match="lacks migration 0001_tables; run `agent-pool"):
        await PostgresRecords.connect(empty_url)


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stand(
    empty_url: str,
) -> None:
    steps = [Migration("0001_a", "CREATE TABLE a ()"), Migration("0002_b", "CREATE TABLE a ()")]
    with pytest.raises(Unavailable, match="42P07"):
        await migrate(empty_url, steps)
    assert await applied(empty_url) == ["0001_a"]


def test_a_migration_cannot_be_put_before_one_that_is_applied() -> None:
    first, second = Migration("0001_a", ""), Migration("0002_b", "")
    with pytest.raises(MigrationError, match="0001_a comes before 0002_b"):
        missing([(second.name, second.sha256)], [first, second])


async def test_the_installation_is_made_once_and_differs_from_any_other(url: str) -> None:
    records = await PostgresRecords.connect(url)
    first = await records.installation()
    await records.close()
    assert len(first.instance_secret) == 32
    assert len(first.owner_id) == 32
    assert repr(first.instance_secret) not in repr(first)
    await migrate(url)
    again = await PostgresRecords.connect(url)
    assert await again.installation() == first
    await again.close()


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/x", Unavailable),
        ("postgresql://u:s3cret@127.0.0.1:port/x", Invalid),
        ("mysql://u:s3cret@127.0.0.1/x", Invalid),
        ("postgresql://u:s3cret@127.0.0.1:1/x?sslmode=maybe", Invalid),
        ("s3cret", Invalid),
    ],
)
async def test_a_bad_url_is_refused_without_repeating_it(url: str, refused: type) -> None:
    for attempt in (migrate(url), PostgresRecords.connect(url)):
        with pytest.raises(refused) as caught:
            await attempt
        assert "s3cret" not in str(caught.value)
        assert caught.value.__context__ is None
