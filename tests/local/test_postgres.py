"""The Postgres of our own: it starts, keeps what it was told, and touches nothing outside its folder."""

import asyncpg


async def test_each_test_has_an_empty_database_of_postgres_18(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert connection.get_server_version().major == 18
    assert await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    await connection.close()


async def test_and_one_of_postgres_15(postgres_15_url: str) -> None:
    connection = await asyncpg.connect(postgres_15_url)
    assert connection.get_server_version().major == 15
    await connection.close()
