"""Must show 1 and 3: one command, one claim, restarts that change nothing, and people at psql."""

import asyncio
import base64
import io
import os
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest
import zxingcpp
from PIL import Image

from tests.end_to_end.system import System


def decoded(data_url: str) -> str:
    png = base64.b64decode(data_url.removeprefix("data:image/png;base64,"))
    return str(zxingcpp.read_barcodes(Image.open(io.BytesIO(png)))[0].text)


async def test_a_claim_is_answered_with_an_invite_that_its_qr_code_says(system: System) -> None:
    code, answer = await system.claim("tokyo-trip-planner")
    assert code == 200
    assert decoded(answer["qrDataUrl"]) == answer["inviteUrl"]
    assert answer["conversationId"]
    assert answer["instanceId"]
    await system.until(idle=3, claimed=1)


async def test_started_again_it_has_the_same_pool_and_claims(
    system: System,
) -> None:
    _, first = await system.claim("kept", Idempotency_Key="kept")
    await system.until(idle=3, claimed=1)
    before = {s["id"] for s in await system.services()}
    assert await system.stop() == 0
    await system.start()
    assert await system.claim("kept", Idempotency_Key="kept") == (200, first)
    await system.until(idle=3, claimed=1)
    assert {s["id"] for s in await system.services()} == before


async def test_killed_with_9_it_starts_again_as_it_was(system: System) -> None:
    _, first = await system.claim("kept", Idempotency_Key="kept")
    await system.kill()
    await system.start()
    assert await system.claim("kept", Idempotency_Key="kept") == (200, first)
    await system.until(idle=3, claimed=1)


async def test_stopped_it_leaves_nothing_running(system: System) -> None:
    pid = system.run["pid"]
    family = psutil.Process(pid).children(recursive=True)
    assert await system.stop() == 0
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
    assert not alive


async def test_a_child_that_dies_is_started_again_and_said_so(system: System) -> None:
    await system.kill_child("controller")
    code, _ = await system.claim("after", Prefer="wait=30")
    assert code == 200
    assert b"controller" in system.output


def modes(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (stat.S_IMODE(p.stat().st_mode), p.stat().st_uid) for p in (folder, *folder.parents)}


async def test_no_folder_outside_changes_its_mode_or_owner(state: Path) -> None:
    before = modes(state.parent)
    async with System(state):
        pass
    assert modes(state.parent) == before


async def test_a_person_at_psql_is_a_user_like_any_other(system: System) -> None:
    db = await asyncpg.connect(system.run["databaseUrl"])
    try:
        await db.execute("UPDATE agent_pools SET min_idle = 5")
        await system.until(idle=5)
        await db.execute(
            "INSERT INTO agent_claims (name, pool, agent_id, instructions)"
            " VALUES ('sql', 'default', 'sql-agent', 'Be kind.')"
        )
        async with asyncio.timeout(10):
            while not await db.fetchval(
                "SELECT invite_url FROM agent_claims WHERE phase = 'Ready'"
            ):
                await asyncio.sleep(0.05)
        with pytest.raises(asyncpg.PostgresError, match="immutable"):
            await db.execute("UPDATE agent_claims SET instructions = 'Be rude.'")
        with pytest.raises(asyncpg.PostgresError, match="claim"):
            await db.execute("UPDATE agent_instances SET claim_name = NULL, claim_uid = NULL")
        with pytest.raises(asyncpg.PostgresError, match="agent_id"):
            await db.execute("INSERT INTO agent_claims (name, instructions) VALUES ('bad', 'x')")
    finally:
        await db.close()
    await system.stop()
    await system.start()
    await system.until(idle=5, claimed=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
async def test_as_root_a_folder_out_of_reach_is_refused_by_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    system = System(tmp_path / "state")
    with pytest.raises(AssertionError, match="--state"):
        await system.start()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


async def written(system: System) -> dict[str, int]:
    """How many row versions each table has ever got."""
    rows = await system.sql(
        "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables"
        " WHERE relname <> 'leases'"
    )
    return {row["relname"]: row["n"] for row in rows}


async def test_a_pool_at_rest_writes_nothing_but_its_lease(state: Path) -> None:
    async with System(state, TICK_INTERVAL_MS="500", PROBE_INTERVAL="1s") as system:
        assert (await system.claim("one"))[0] == 200
        await system.until(idle=3, claimed=1)
        await asyncio.sleep(
            12
        )  # Renamed, seen again, and told to the statistics (each 1 s at the most).
        before = await written(system)
        await asyncio.sleep(6)  # Twelve ticks.
        assert await written(system) == before
