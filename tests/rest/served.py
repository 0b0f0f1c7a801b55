"""A whole sidecar on real sockets over memory records, and a client of it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from api.door import Patience
from api.records.memory import MemoryRecords
from api.sidecar import Sidecar
from tests.rest.world import World, a_world

KEY = "the-key-of-the-tests"
SEED_BODY = {"agentId": "tokyo-trip-planner", "instructions": "You plan trips to Tokyo."}
QUICK = Patience(verdict_s=0.3, answer_s=0.6)


@dataclass
class Said:
    """An answer, read to its end."""

    status: int
    headers: Any
    text: str
    json: Any


@dataclass
class Served:
    """`client` sends the key; `stranger` sends nothing and keeps no cookie."""

    world: World
    sidecar: Sidecar
    client: aiohttp.ClientSession
    stranger: aiohttp.ClientSession
    url: str
    ops_url: str

    async def ask(self, method: str, path: str, **options: Any) -> Said:
        return await said(self.client, method, self.url + path, **options)

    async def ask_without_key(self, method: str, path: str, **options: Any) -> Said:
        return await said(self.stranger, method, self.url + path, **options)

    async def claim(self, body: Any = None, **headers: str) -> Said:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", "/api/pool/claim", json=body or SEED_BODY, headers=named)


async def said(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Said:
    async with session.request(method, url, allow_redirects=False, **options) as answer:
        text = await answer.text()
        is_json = answer.content_type == "application/json" and text
        return Said(answer.status, answer.headers, text, (await answer.json()) if is_json else None)


@asynccontextmanager
async def a_sidecar(
    *tasks: Callable[[World], Awaitable[Any]],
    patience: Patience = QUICK,
    records: type[MemoryRecords] = MemoryRecords,
) -> AsyncIterator[Served]:
    """Listening on free ports of loopback."""
    async with a_world(*tasks) as world:
        world.records = records(world.store)
        sidecar = Sidecar(
            world.records, api_key=KEY, namespace="default", version="0.0.1", patience=patience
        )
        await sidecar.start("127.0.0.1", 0, 0)
        try:
            async with (
                aiohttp.ClientSession(
                    headers={"Authorization": f"Bearer {KEY}"},
                    json_serialize=partial(json.dumps, ensure_ascii=False),
                ) as client,
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as stranger,
            ):
                urls = (f"http://127.0.0.1:{port}" for port in sidecar.ports)
                yield Served(world, sidecar, client, stranger, *urls)
        finally:
            await sidecar.stop()
