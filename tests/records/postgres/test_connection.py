"""Connections that drop: listeners are re-made and say so, a question after the break is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from api.records import Bell, Unavailable
from api.records.connection import bell_of, options, payload_of
from api.records.postgres import PostgresRecords
from tests.builders import a_pool

RESYNC = Bell("resync")
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

SUICIDE = """
CREATE FUNCTION suicide() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN OLD;
END $$;
CREATE TRIGGER suicide BEFORE DELETE ON agent_pools FOR EACH ROW EXECUTE FUNCTION suicide()"""


@asynccontextmanager
async def ringing(records: PostgresRecords) -> AsyncIterator[AsyncIterator[Bell]]:
    bells = records.bells()
    try:
        async with asyncio.timeout(10):
            yield bells
    finally:
        await bells.aclose()  # type: ignore[attr-defined]


async def test_a_listener_whose_connection_is_killed_rings_resync_and_hears_again(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    async with ringing(records) as bells:
        assert await anext(bells) == RESYNC
        await psql.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        assert await anext(bells) == RESYNC
        await psql.execute("INSERT INTO agent_pools (name, image) VALUES ('p', 'i')")
        assert await anext(bells) == Bell("pool", "default", "p")


async def test_a_question_after_every_connection_was_killed_is_answered(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await records.create_pool(a_pool())
    await psql.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    for _ in range(3):  # The first may still meet the dead connection.
        try:
            assert len(await records.pools()) == 1
            return
        except Unavailable:
            continue
    raise AssertionError("still no answer")


async def test_a_question_whose_connection_dies_under_it_is_unavailable(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    pool = await records.create_pool(a_pool())
    await psql.execute(SUICIDE)
    with pytest.raises(Unavailable):
        await records.delete_pool(pool)
    assert await records.pools() == [pool]


async def test_a_listener_that_was_left_holds_no_connection(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    async with ringing(records) as bells:
        await anext(bells)
        await records.now()
        assert await psql.fetchval(f"SELECT count(*) {OTHERS}") == 2
    async with asyncio.timeout(5):
        # Only the server knows when it has noticed.
        while await psql.fetchval(f"SELECT count(*) {OTHERS}") > 1:
            await asyncio.sleep(0)


async def test_a_notification_that_is_none_of_ours_is_not_heard(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    async with ringing(records) as bells:
        assert await anext(bells) == RESYNC
        for payload in ("", "hello", "[]", '{"kind": "bomb"}', '{"kind": "pool", "name": 1}'):
            await psql.execute("SELECT pg_notify('agent_pool', $1)", payload)
        await records.ring(Bell("look", "default", "p"))
        assert await anext(bells) == Bell("look", "default", "p")


def test_a_bell_comes_back_as_it_went() -> None:
    bell = Bell("claim", "n", "c", "p", "Pending")
    assert bell_of(payload_of(bell)) == bell


def test_settings_that_only_libpq_knows_do_not_reach_the_server() -> None:
    dsn = "postgresql://u:p%40@h/d?sslmode=require&channel_binding=require&keepalives_idle=30"
    assert options(dsn)["dsn"] == "postgresql://u:p%40@h/d?sslmode=require"
