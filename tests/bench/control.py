"""The control plane alone: claims on record from Pending to Ready, agents answering in this process.

Beside it the floor: the bare claim of one row (`SKIP LOCKED`) through the same driver on the same server,
which knows no second side, no condition and no answer, and is written once for each.
"""

import asyncio
import random
import sys
import time
from datetime import UTC, datetime

import asyncpg
import uvloop

from api.records.postgres import PostgresRecords
from api.types import RailwayRef
from controller.agents import Heard, Letter, Reply, Status
from controller.leading import Controller
from controller.railway.client import RailwayClient
from controller.term import Charge, Ports
from tests.bench import sql
from tests.bench.fleet import ENVIRONMENT, PROJECT, invite_of, recipe_of
from tests.bench.load import INSTRUCTIONS
from tests.bench.rig import TOKEN, Rig

CONNECTIONS = (1, 4, 16)
CLAIMS = """
INSERT INTO agent_claims (name, pool, agent_id, instructions, on_empty)
SELECT 'control-' || $3 || '-' || g, 'default', 'agent-' || g, $2, 'Fail'
FROM generate_series(1, $1::int) g
"""
FLOOR_TABLE = """
DROP TABLE IF EXISTS floor;
CREATE TABLE floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seq bigint NOT NULL, claim text);
CREATE INDEX floor_free ON floor (seq) WHERE claim IS NULL;
"""
FLOOR_FILL = "INSERT INTO floor (seq) SELECT g FROM generate_series(1, $1::int) g"
FLOOR_CLAIM = """
UPDATE floor SET claim = $1 WHERE id = (
    SELECT id FROM floor WHERE claim IS NULL ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
OPEN = "SELECT count(*) FROM agent_claims WHERE phase IN ('Pending', 'Bound')"


class AgentsHere:
    """Agents that answer at once, in this process."""

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        return Status(reached=True, ready=True)

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        return Reply(Heard.DONE, f"conversation-{url}", invite_of(url[-20:]))

    async def close(self) -> None:
        pass


async def pending_to_ready(rig: Rig, count: int) -> float:
    """Claims a second, from the first insert until none is open, in a process of its own."""
    argv = [sys.executable, "-m", "tests.bench.control", rig.dsn, rig.endpoint, str(count)]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    return float(said)


async def _pending_to_ready(dsn: str, endpoint: str, count: int) -> float:
    records = await PostgresRecords.connect(dsn)
    where = RailwayRef(endpoint=endpoint, project_id=PROJECT, environment_id=ENVIRONMENT)
    railway = RailwayClient(
        where.endpoint, TOKEN, PROJECT, ENVIRONMENT, clock=lambda: datetime.now(UTC)
    )
    ports = Ports(records, railway, AgentsHere(), time.monotonic, random.SystemRandom())
    recipe = recipe_of(await records.installation())
    controller = Controller(ports, Charge("controller-bench", recipe, where, scheme="http"))
    running = asyncio.create_task(controller.run())
    try:
        while controller.term is None or not controller.term.reconciler.reported:
            await asyncio.sleep(0.05)  # Until it has looked, and passed over the pool.
        await asyncio.sleep(2.0)  # The first probes, and what they ring for.
        began = time.perf_counter()
        await sql.execute(dsn, CLAIMS, count, INSTRUCTIONS, str(time.monotonic_ns()))
        while await sql.count(dsn, OPEN):
            await asyncio.sleep(0.05)
        return count / (time.perf_counter() - began)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await railway.close()
        await records.close()


async def floor(dsn: str, count: int) -> dict[int, float]:
    """Bare claims a second, by the number of connections."""
    rates = {}
    for connections in CONNECTIONS:
        dbs = [await asyncpg.connect(dsn) for _ in range(connections)]
        try:
            await dbs[0].execute(FLOOR_TABLE)
            await dbs[0].execute(FLOOR_FILL, count)
            await dbs[0].execute("VACUUM ANALYZE floor")
            began = time.perf_counter()
            await asyncio.gather(*(_claim_bare(db, count // connections) for db in dbs))
            rates[connections] = count // connections * connections / (time.perf_counter() - began)
        finally:
            for db in dbs:
                await db.close()
    return rates


async def _claim_bare(db: "asyncpg.Connection[asyncpg.Record]", count: int) -> None:
    claim = await db.prepare(FLOOR_CLAIM)
    for n in range(count):
        await claim.fetchval(f"claim-{n}")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(_pending_to_ready(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
