"""The floor of a REST claim: the same hops, and nothing of what makes it safe.

One process: an aiohttp server takes a POST, claims one row (`SKIP LOCKED`) through asyncpg, tells the row's
agent by an aiohttp client with a connection of its own, writes the answer down, and gives it back. No record
before the deed, no second side, no attempt, no validation, no logs, no metrics; a crash loses what it likes.
"""

import asyncio
import json
import sys

import aiohttp
import asyncpg
import uvloop
from aiohttp import web

from tests.bench.sql import connected

TABLE = """
CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seq bigint NOT NULL, url text,
    claim text, answer text);
CREATE INDEX bare_free ON bare (seq) WHERE claim IS NULL;
"""
FILL = (
    "INSERT INTO bare (seq, url) SELECT g.n, g.url FROM unnest($1::int[], $2::text[]) AS g (n, url)"
)
CLAIM = """
UPDATE bare SET claim = $1 WHERE id = (
    SELECT id FROM bare WHERE claim IS NULL ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id, url
"""
READY = "UPDATE bare SET answer = $2 WHERE id = $1"
CALLS = 100


async def serve(dsn: str, port: int) -> None:
    """Until killed."""
    pool = await asyncpg.create_pool(dsn, min_size=4, max_size=4)
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
    calls = asyncio.Semaphore(CALLS)

    async def claim(request: web.Request) -> web.Response:
        asked = await request.json()
        row = await pool.fetchrow(CLAIM, asked["agentId"])
        if row is None:
            return web.json_response({"error": "none"}, status=503)
        async with calls, http.post(f"{row['url']}/pool/provision", json=asked) as response:
            said = await response.json()
        await pool.execute(READY, row["id"], json.dumps(said))
        return web.json_response(said)

    application = web.Application()
    application.router.add_post("/api/pool/claim", claim)
    application.router.add_get("/readyz", claim_none)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def claim_none(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def fill(dsn: str, urls: list[str]) -> None:
    """A table of agents nobody has claimed."""
    async with connected(dsn) as db:
        await db.execute(TABLE)
        await db.execute(FILL, list(range(len(urls))), urls)
        await db.execute("VACUUM ANALYZE bare")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], int(sys.argv[2])))
