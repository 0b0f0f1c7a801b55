"""The store under a rig: where it is, how the product is started on it, and how a warm fleet gets there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from api.parts import DEFAULT_NAMESPACE
from api.records import Records
from api.records.columns import instance_status_columns
from api.records.migrate import migrate
from api.records.postgres import PostgresRecords
from api.types import AgentClaim, AgentInstance
from controller.local.plan import command
from controller.local.postgres import LocalPostgres
from tests.bench.sql import connected

Argv = list[str]
Variables = dict[str, str]

INSERT = """
INSERT INTO agent_instances (namespace, name, created_at, pool, service_name, template_hash, key_id,
    railway_endpoint, railway_project_id, railway_environment_id)
SELECT 'default', f.name, $2, 'default', f.service_name, $3, $4, $5, $6, $7
FROM jsonb_to_recordset($1) AS f (name text, service_name text, service_id text, url text)
"""
MAKE_IDLE = """
UPDATE agent_instances i SET phase = 'Idle', service_id = f.service_id, url = f.url, ready_at = $2,
    deployment_id = 'd-' || f.name, deployment_status = 'SUCCESS', conditions = $3
FROM jsonb_to_recordset($1) AS f (name text, service_name text, service_id text, url text)
WHERE i.namespace = 'default' AND i.name = f.name
"""
ENDED = """
INSERT INTO agent_claims (name, pool, agent_id, instructions, on_empty)
SELECT 'ended-' || g, 'default', 'agent-' || g, 'Long served.', 'Fail' FROM generate_series(1, $1::int) g
"""
END = """
UPDATE agent_claims SET phase = 'Failed', conditions = $1 WHERE phase = 'Pending'
"""


class Store(Protocol):
    """One empty store in a folder of its own, durable (fsync on). `start` before anything else."""

    namespace: str
    records: Records  # As somebody who may do everything.

    async def start(self, folder: Path) -> None: ...

    async def stop(self) -> None: ...

    async def program(self, part: str) -> tuple[Argv, Variables]:
        """How the product's `controller` or `api` is started on it."""
        ...

    async def put_idle(self, instances: Sequence[AgentInstance]) -> None:
        """These on record, Idle, as if our controller had made them."""
        ...

    async def put_ended(self, count: int, like: AgentClaim) -> None:
        """So many claims that ended as this one did."""
        ...

    def cpu(self) -> dict[str, float]:
        """Seconds of its own processes so far."""
        ...


class PostgresStore:
    """PostgreSQL from our own binaries."""

    namespace = DEFAULT_NAMESPACE

    async def start(self, folder: Path) -> None:
        self._server = LocalPostgres(folder)
        self.dsn = await self._server.start()
        await migrate(self.dsn)
        self.records: Records = await PostgresRecords.connect(self.dsn)

    async def stop(self) -> None:
        if hasattr(self, "records"):
            await self.records.close()
        await self._server.stop()

    async def program(self, part: str) -> tuple[Argv, Variables]:
        return command(part), {"DATABASE_URL": self.dsn, "LOG_FORMAT": "json"}

    async def put_idle(self, instances: Sequence[AgentInstance]) -> None:
        rows = json.dumps(
            [
                {
                    "name": i.metadata.name,
                    "service_name": i.spec.service_name,
                    "service_id": i.status.service_id,
                    "url": i.status.url,
                }
                for i in instances
            ]
        )
        spec, made = instances[0].spec, instances[0].status.ready_at
        where = spec.railway
        place = (where.endpoint, where.project_id, where.environment_id)
        conditions = json.dumps(instance_status_columns(instances[0])["conditions"])
        async with connected(self.dsn) as db:
            await db.execute(INSERT, rows, made, spec.template_hash, spec.key_id, *place)
            await db.execute(MAKE_IDLE, rows, made, conditions)
            await db.execute("ANALYZE agent_instances")

    async def put_ended(self, count: int, like: AgentClaim) -> None:
        ends = json.dumps(like.status.wire()["conditions"])
        async with connected(self.dsn) as db:
            await db.execute(ENDED, count, timeout=600)
            await db.execute(END, ends, timeout=600)
            await db.execute("VACUUM ANALYZE agent_claims", timeout=600)

    def cpu(self) -> dict[str, float]:
        ours = psutil.Process().children(recursive=True)
        return {"postgres": sum(used(child) for child in ours if child.name() == "postgres")}


def used(process: psutil.Process) -> float:
    """CPU seconds; none of one that is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
