"""After the storm: wait until nothing moves any more, and ask every agent what it serves."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg

from controller.template import agent_key
from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import StormSystem
from tests.history.events import Serves

QUIET_S = 6.5  # Two ticks and a bit without a write, or it is no rest.
ASKED_AT_ONCE = 50
MOVING = """
SELECT
    (SELECT count(*) FROM agent_claims WHERE phase IN ('Pending', 'Bound')) AS open_claims,
    (SELECT count(*) FROM agent_instances WHERE phase = 'Retiring'
        OR phase = 'Provisioning' AND barred IS NULL) AS moving,
    (SELECT count(*) FROM agent_pools WHERE observed_generation <> generation) AS old_pools,
    (SELECT count(*) FROM agent_pools WHERE idle < min_idle AND NOT paused AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(conditions) AS c
        WHERE c->>'type' IN ('Stalled', 'AtCapacity') AND c->>'status' = 'True')) AS short_pools
"""
WHO_MOVES = (
    "SELECT name, phase FROM agent_instances WHERE phase = 'Retiring'"
    " OR phase = 'Provisioning' AND barred IS NULL"
    " UNION ALL SELECT name, phase FROM agent_claims WHERE phase IN ('Pending', 'Bound') LIMIT 6"
)
LAST = "SELECT extract(epoch FROM max(at))::float8 AS at FROM storm_history"
SERVED = "SELECT service_id FROM agent_instances WHERE service_id IS NOT NULL AND phase <> 'Gone'"
UNREACHED = (aiohttp.ClientError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, KeyError)


async def until_rest(system: StormSystem, within_s: float, say: Callable[[str], None]) -> None:
    """Raises AssertionError with what still moves."""
    moves = "not looked yet"
    try:
        async with asyncio.timeout(within_s):
            while moves:
                await asyncio.sleep(0.5)
                try:
                    moves = await _moves(system)
                except UNREACHED as error:
                    moves = f"no look: {type(error).__name__}"
                say(moves)
    except TimeoutError:
        raise AssertionError(f"no rest within {within_s:.0f} s of calm: {moves}") from None


async def _moves(system: StormSystem) -> str:
    """What is not at rest; empty: nothing."""
    [row] = await system.rows(MOVING)
    counts = {name: count for name, count in row.items() if count}
    if counts:
        names = [f"{row['name']} {row['phase']}" for row in await system.rows(WHO_MOVES)]
        return ", ".join([*(f"{count} {name}" for name, count in counts.items()), *names])
    [last] = await system.rows(LAST)
    if (quiet_s := time.time() - last["at"]) < QUIET_S:
        return f"quiet for {quiet_s:.0f} s"
    there = {service["id"] for service in await system.services()}
    gone = {row["service_id"] for row in await system.rows(SERVED)} - there
    return f"{len(gone)} services are gone and not yet missed" if gone else ""


async def census(system: StormSystem, recorder: Recorder) -> None:
    """Each service's agent says what it serves; one that does not answer is not ready."""
    [row] = await system.rows("SELECT instance_secret FROM installation")
    limit = asyncio.Semaphore(ASKED_AT_ONCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:

        async def ask(service: dict[str, Any]) -> None:
            name = str(service["name"])
            key = agent_key(row["instance_secret"], name[-8:])
            async with limit:
                said = await _status(http, service["domains"], key)
            recorder.say(
                Serves(
                    actor="agent",
                    service=service["id"],
                    name=name,
                    ready=said.get("ready") is True,
                    provisioned=said.get("provisioned") is True,
                    conversation=said.get("conversationId"),
                )
            )

        for service in await system.services():
            group.create_task(ask(service))


async def _status(http: aiohttp.ClientSession, hosts: list[str], key: str) -> dict[str, Any]:
    for host in hosts:
        headers = {"Authorization": f"Bearer {key}"}
        try:
            async with (
                asyncio.timeout(10),
                http.get(f"http://{host}/pool/status", headers=headers) as response,
            ):
                return dict(json.loads(await response.read()))
        except (aiohttp.ClientError, OSError, ValueError):
            continue
    return {}
