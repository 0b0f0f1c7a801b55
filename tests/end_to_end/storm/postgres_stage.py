"""A storm on Postgres: `agent-pool up`, and beside it a second controller and a second sidecar."""

import asyncio
import contextlib
import json
import random
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from tests.end_to_end.storm.stage import (
    AGAIN_AFTER_S,
    SIMULATOR,
    Kept,
    Stage,
    Tell,
    Write,
    railway_settings,
)
from tests.end_to_end.system import START_WITHIN_S, free_ports
from tests.history.events import KINDS

AUDIT = Path(__file__).with_name("postgres_audit.sql")
KILLED = (
    "controller",
    "controller-2",
    "api",
    "api-2",
    "controller",
    "api-2",
    "simulator",
    "postgres",
)
PARTS = ("controller", "controller-2", "api", "api-2", "simulator", "postgres")
BACKENDS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE application_name = 'agent-pool' AND pid <> pg_backend_pid() ORDER BY pid"
)
SET_UP = (
    "UPDATE agent_pools SET min_idle = $1, reclaim_policy = $2, provision_timeout = '20 seconds'"
)
INSERT = (
    "INSERT INTO agent_claims (name, agent_id, instructions, reclaim_policy, on_empty)"
    " VALUES ($1, $1, $2, $3, 'Wait')"
)
SOME_IDLE = (
    "SELECT service_id FROM agent_instances WHERE phase = 'Idle' AND claim_uid IS NULL"
    " ORDER BY random() LIMIT 1"
)
SOME_SERVICE = (
    "SELECT service_id FROM agent_instances WHERE service_id IS NOT NULL"
    " AND phase NOT IN ('Retiring', 'Gone') ORDER BY random() LIMIT 1"
)
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
EVERY_WRITE = "SELECT seq, at, who, kind, op, name, after::text FROM storm_history ORDER BY at, seq"


class PostgresStage(Stage):
    """`up` keeps the first ones running; the second ones it knows nothing of."""

    records = "postgres"
    parts = PARTS
    deck = (
        *(f"kill {part}" for part in KILLED),
        *(f"stop {part}" for part in PARTS),
        *("cut backends", "cut clients") * 3,
    )
    outside = (
        OSError,
        aiohttp.ClientError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        KeyError,
    )

    def __init__(self, state: Path, **variables: str) -> None:
        super().__init__(state, **variables)
        names = ("PORT", "API_OPS_PORT", "CONTROLLER_OPS_PORT")
        ports = (str(port) for port in free_ports(3))
        self._ports = dict(zip(names, ports, strict=True))  # Of the second ones.
        self._seconds: dict[str, Kept] = {}

    async def start(self) -> None:
        """Until `up` says that it is ready, what is written is kept, and the second ones run."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller.cli", "up", "--state", str(self.state)),
            *("--simulator", shlex.join(SIMULATOR)),
            env=self.environ,
            cwd=self.state.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.output = b""
        async with asyncio.timeout(START_WITHIN_S):
            await self._read_until(b"curl ")
        self._reading = asyncio.create_task(self._read_on())
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        await self._script(AUDIT.read_text())
        await self._start_second("controller-2", "controller")
        await self._start_second("api-2", "api")

    async def stop(self) -> int:
        for second in self._seconds.values():
            await second.stop()
        return await super().stop()

    async def _start_second(self, name: str, command: str) -> None:
        env = {
            **{k: v for k, v in self.environ.items() if not k.startswith("SIMULATOR_")},
            "POOL_API_KEY": self.key,
            "DATABASE_URL": f"{self.run['databaseUrl']}?storm.who={name.replace('api', 'sidecar')}",
            **railway_settings(json.loads((self.state / "simulator.json").read_text())),
            **self._ports,
        }
        argv = (sys.executable, "-m", "controller.cli", command)
        self._seconds[name] = Kept(argv, env, self.logs / f"{name}.log")
        await self._seconds[name].start()

    @property
    def sidecars(self) -> tuple[str, str]:
        first, second = (f"http://127.0.0.1:{of['PORT']}" for of in (self.environ, self._ports))
        return first, second

    # ---------------------------------------------------------------- processes

    def family(self, part: str) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error, AssertionError):
            if part in self._seconds:
                return self._seconds[part].running
            if part != "postgres":
                return [self.child(part)]
            head = self._postmaster()
            return [head, *head.children(recursive=True)]
        return []

    def _postmaster(self) -> psutil.Process:
        pid_file = self.state / "postgres" / "data" / "postmaster.pid"
        try:
            return psutil.Process(int(pid_file.read_text().splitlines()[0]))
        except (OSError, ValueError, IndexError):
            raise AssertionError("no postgres runs") from None

    async def befall(self, what: str, whom: str, rng: random.Random, tell: Tell) -> None:
        """`cut backends`: some of the product's connections to Postgres, by Postgres itself."""
        if (what, whom) != ("cut", "backends"):
            raise ValueError(f"{what} {whom}")
        try:
            pids = [row["pid"] for row in await self.rows(BACKENDS)]
            chosen = [pid for pid in pids if rng.random() < 0.5]
            await self.rows("SELECT pg_terminate_backend(x) FROM unnest($1::int[]) x", chosen)
        except self.outside:
            return  # It is down or stopped just now.
        tell("backends", "connections cut", str(len(chosen)))

    # ---------------------------------------------------------------- by hand

    async def set_up(self, min_idle: int, policy: str) -> None:
        await self.rows(SET_UP, min_idle, policy, who="somebody")

    async def resize(self, min_idle: int) -> None:
        await self.rows("UPDATE agent_pools SET min_idle = $1", min_idle, who="somebody")

    async def change_image(self, image: str) -> None:
        await self.rows("UPDATE agent_pools SET image = $1", image, who="somebody")

    async def claim_by_hand(self, name: str, instructions: str, policy: str) -> None:
        await self.rows(INSERT, name, instructions, policy, who="somebody")

    async def release_by_hand(self, name: str) -> None:
        """What a claim came to is nobody's business here: any may be released, also while handed over."""
        await self.rows("DELETE FROM agent_claims WHERE name = $1", name, who="somebody")

    async def some_service(self, rng: random.Random, *, idle: bool) -> str | None:
        rows = await self.rows(SOME_IDLE if idle else SOME_SERVICE, who="somebody")
        return str(rows[0]["service_id"]) if rows else None

    # ---------------------------------------------------------------- records

    async def moves(self) -> str:
        [row] = await self.rows(MOVING)
        counts = {name: count for name, count in row.items() if count}
        if not counts:
            return ""
        names = [f"{row['name']} {row['phase']}" for row in await self.rows(WHO_MOVES)]
        return ", ".join([*(f"{count} {name}" for name, count in counts.items()), *names])

    async def last_write(self) -> float:
        [last] = await self.rows(LAST)
        return float(last["at"])

    async def served(self) -> set[str]:
        return {row["service_id"] for row in await self.rows(SERVED)}

    async def instance_secret(self) -> bytes:
        [row] = await self.rows("SELECT instance_secret FROM installation")
        return bytes(row["instance_secret"])

    async def writes(self) -> Iterator[Write]:
        return map(_written, await self.rows(EVERY_WRITE))

    async def events(self) -> str:
        rows = await self.rows("SELECT reason, message FROM agent_events")
        return "\n".join(f"{row['reason']} {row['message']}" for row in rows)

    async def until_reachable(self) -> None:
        """Once the records are recovered from the last kill. Raises TimeoutError."""
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                try:
                    await self.rows("SELECT 1")
                    return
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(AGAIN_AFTER_S)

    async def _connect(self, who: str) -> asyncpg.Connection:
        """As somebody who is none of the product's processes. Raises OSError, PostgresError."""
        url = self.run["databaseUrl"]
        return await asyncpg.connect(
            url, timeout=10, command_timeout=20, server_settings={"storm.who": who}
        )

    async def _script(self, text: str) -> None:
        db = await self._connect("audit")
        try:
            await db.execute(text)
        finally:
            await db.close()

    async def rows(self, statement: str, *values: object, who: str = "audit") -> list[Any]:
        db = await self._connect(who)
        try:
            return list(await db.fetch(statement, *values))
        finally:
            await db.close()


def _written(row: Any) -> Write:
    kind = row["kind"]
    after = KINDS[kind](**json.loads(row["after"])) if row["after"] is not None else None
    who = row["who"] or _whose(kind, row["op"])
    return Write(row["at"].timestamp(), who, kind, row["name"], after)


def _whose(kind: str, op: str) -> str:
    """Of the two processes of `up` that write: sidecars make claims and withdraw them, and no more."""
    return "sidecar" if kind == "claim" and op != "UPDATE" else "controller"
