"""The Postgres of our own: a password, its data kept, its log silent, nothing outside its folder touched."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from api.settings import SettingError
from controller.local.postgres import (
    LocalPostgres,
    make_home,
    packaged_binaries,
    reachable_binaries,
    unprivileged_user,
)
from tests.conftest import FAST
from tests.local.test_children import until_gone

CANARY = "canary-in-a-statement"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[LocalPostgres]:
    server = LocalPostgres(folder / "state", settings=FAST)
    await server.start()
    yield server
    await server.stop()


async def test_each_test_has_an_empty_database_of_postgres_18(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert connection.get_server_version().major == 18
    assert await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    await connection.close()


async def test_and_one_of_postgres_15(postgres_15_url: str) -> None:
    connection = await asyncpg.connect(postgres_15_url)
    assert connection.get_server_version().major == 15
    await connection.close()


async def test_it_wants_its_password(server: LocalPostgres) -> None:
    password = server.url.split(":")[2].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url.replace(password, "guess"))


async def test_data_password_and_url_outlive_a_stop(server: LocalPostgres, folder: Path) -> None:
    first = await asyncpg.connect(server.url)
    await first.execute("CREATE TABLE kept ()")
    await server.stop()
    await first.close()
    assert await server.start() == server.url
    await server.stop()
    again = LocalPostgres(folder / "state", settings=FAST)
    connection = await asyncpg.connect(await again.start())
    assert await connection.fetch("SELECT FROM kept") == []
    await connection.close()
    await again.stop()


async def test_one_that_was_left_behind_makes_way(server: LocalPostgres, folder: Path) -> None:
    left = int((folder / "state/postgres/data/postmaster.pid").read_text().split()[0])
    heir = LocalPostgres(folder / "state", settings=FAST)
    await heir.start()
    await until_gone(left)
    await heir.stop()


async def test_a_stale_pid_file_harms_nobody(server: LocalPostgres, folder: Path) -> None:
    await server.stop()
    (folder / "state/postgres/data/postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n")
    await server.start()  # And this process still lives to see it.


async def test_its_log_holds_no_statement_no_parameter_and_no_value(
    server: LocalPostgres, folder: Path
) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE t (a text UNIQUE)")
    await connection.execute("INSERT INTO t VALUES ($1)", CANARY)
    for statement, error in (
        (f"INSERT INTO t VALUES ('{CANARY}')", asyncpg.UniqueViolationError),
        (f"SELECT '{CANARY}'::int", asyncpg.InvalidTextRepresentationError),
        (f"SELECT '{CANARY}", asyncpg.PostgresSyntaxError),
    ):
        with pytest.raises(error):
            await connection.execute(statement)
    await connection.close()
    await server.stop()
    log = (folder / "state/logs/postgres.log").read_text()
    assert "database system is shut down" in log
    assert CANARY not in log


async def test_nothing_outside_the_state_folder_changes(
    server: LocalPostgres, folder: Path
) -> None:
    assert folder.stat().st_mode & 0o777 == 0o711
    assert folder.stat().st_uid == os.geteuid()
    assert [p.name for p in folder.iterdir()] == ["state"]
    assert (folder / "state/postgres").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_its_user_cannot_reach_is_refused_with_both_mends(folder: Path) -> None:
    """As root; anybody else runs it himself and needs no other user to reach anything."""
    user = unprivileged_user()
    assert (user is None) == (os.geteuid() != 0)
    folder.chmod(0o700)
    home = folder / "state" / "postgres"
    if user is None:
        make_home(home, user)
        return
    with pytest.raises(SettingError, match=r"--state: .*cannot reach.*DATABASE_URL"):
        make_home(home, user)
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_binaries_that_its_user_cannot_reach_are_copied_to_where_he_can(folder: Path) -> None:
    user = unprivileged_user()
    wheel = packaged_binaries().parents[1]
    away = folder / "away" / wheel.name
    away.mkdir(parents=True)
    (away / "pginstall18").symlink_to(wheel / "pginstall18")
    (away.parent / f"{wheel.name}.libs").symlink_to(wheel.with_name(f"{wheel.name}.libs"))
    away.parent.chmod(0o700)
    home = folder / "state" / "postgres"
    make_home(home, user)
    found = reachable_binaries(away / "pginstall18" / "bin", home, user)
    assert found.is_relative_to(away if user is None else home)
    server = LocalPostgres(folder / "state", found, FAST)
    await asyncio.wait_for(server.start(), 60)
    await server.stop()
