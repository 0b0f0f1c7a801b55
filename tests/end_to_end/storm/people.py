"""People who meddle: they claim by rows, resize the pool, delete services, and use agents unasked."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import aiohttp
import asyncpg

from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import StormSystem

EVERY_S = (1.0, 3.0)
UNAVAILABLE = (
    aiohttp.ClientError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    AssertionError,  # The simulator refuses the act: the service is gone, or nothing of it runs.
)
INSERT = (
    "INSERT INTO agent_claims (name, agent_id, instructions, reclaim_policy, on_empty)"
    " VALUES ($1, $1, $2, $3, 'Wait')"
)
# What a claim came to is nobody's business here: any may be released, also while it is handed over.
RELEASE = "DELETE FROM agent_claims WHERE name = $1"
SOME_IDLE = (
    "SELECT service_id FROM agent_instances WHERE phase = 'Idle' AND claim_uid IS NULL"
    " ORDER BY random() LIMIT 1"
)
SOME_SERVICE = (
    "SELECT service_id FROM agent_instances WHERE service_id IS NOT NULL"
    " AND phase NOT IN ('Retiring', 'Gone') ORDER BY random() LIMIT 1"
)


class People:
    """`meddle()` until it is cancelled."""

    def __init__(
        self, system: StormSystem, recorder: Recorder, rng: random.Random, min_idle: int
    ) -> None:
        self._system, self._recorder, self._rng = system, recorder, rng
        self._min_idle = min_idle
        self._claims = 0
        self._acts: tuple[Callable[[], Awaitable[str]], ...] = (
            self._claim,
            self._claim,
            self._claim,
            self._resize,
            self._mend,
            self._delete_service,
            self._use_agent,
            self._restart_agent,
        )

    async def meddle(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(*EVERY_S))
            with contextlib.suppress(*UNAVAILABLE):
                async with asyncio.timeout(10):
                    what = await self._rng.choice(self._acts)()
                self._recorder.happened("somebody", what)

    async def set_up(self, policy: str) -> None:
        """Before the storm: the pool's size, and what never becomes ready is given up soon."""
        await self._sql(
            "UPDATE agent_pools SET min_idle = $1, reclaim_policy = $2,"
            " provision_timeout = '20 seconds'",
            self._min_idle,
            policy,
        )

    async def leave(self) -> None:
        """The pool has the size again that it began with, and a template that never failed."""
        await self._mend()
        await self._sql("UPDATE agent_pools SET min_idle = $1", self._min_idle)

    async def _sql(self, statement: str, *values: object) -> list[asyncpg.Record]:
        db = await self._system.connect("somebody")
        try:
            return list(await db.fetch(statement, *values))
        finally:
            await db.close()

    async def _claim(self) -> str:
        """By a row; two of three are released soon, half of these under Delete."""
        self._claims += 1
        name = f"row-{self._claims}"
        policy = self._rng.choice(("Retain", "Delete"))
        await self._sql(INSERT, name, f"Serve wish of row {self._claims}.", policy)
        if self._rng.random() < 0.7:
            await asyncio.sleep(self._rng.choice((0.1, 3.0)))
            await self._sql(RELEASE, name)
            return "claims by row and releases"
        return "claims by row"

    async def _resize(self) -> str:
        wanted = self._rng.randint(self._min_idle // 2, self._min_idle * 3 // 2)
        await self._sql("UPDATE agent_pools SET min_idle = $1", wanted)
        return "resizes the pool"

    async def _mend(self) -> str:
        """As many failures as `minIdle` stop a template; whoever sees that gives it another one."""
        image = f"ghcr.io/x/agent:{self._rng.randint(2, 1_000_000)}"
        await self._sql("UPDATE agent_pools SET image = $1", image)
        return "changes the template"

    async def _act(self, act: str, query: str) -> None:
        rows = await self._sql(query)
        if rows:
            body = {"act": act, "service": rows[0]["service_id"]}
            await self._system.simulator("POST", "/_acts", body)

    async def _delete_service(self) -> str:
        await self._act("delete-service", SOME_SERVICE)
        return "deletes a service"

    async def _use_agent(self) -> str:
        await self._act("use-agent", SOME_IDLE)
        return "uses an idle agent"

    async def _restart_agent(self) -> str:
        await self._act("restart-agent", SOME_SERVICE)
        return "restarts an agent"
