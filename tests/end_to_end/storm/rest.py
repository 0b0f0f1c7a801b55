"""After the storm: wait until nothing moves any more, and ask every agent what it serves."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from controller.template import agent_key
from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import Stage
from tests.history.events import Serves

QUIET_S = 6.5  # Two ticks and a bit without a write, or it is no rest.
ASKED_AT_ONCE = 50


async def until_rest(stage: Stage, within_s: float, say: Callable[[str], None]) -> None:
    """Raises AssertionError with what still moves."""
    moves = "not looked yet"
    try:
        async with asyncio.timeout(within_s):
            while moves:
                await asyncio.sleep(0.5)
                try:
                    moves = await _moves(stage)
                except stage.outside as error:
                    moves = f"no look: {type(error).__name__}"
                say(moves)
    except TimeoutError:
        raise AssertionError(f"no rest within {within_s:.0f} s of calm: {moves}") from None


async def _moves(stage: Stage) -> str:
    """What is not at rest; empty: nothing."""
    if moving := await stage.moves():
        return moving
    if (quiet_s := time.time() - await stage.last_write()) < QUIET_S:
        return f"quiet for {quiet_s:.0f} s"
    gone = await stage.served() - {service["id"] for service in await stage.services()}
    return f"{len(gone)} services are gone and not yet missed" if gone else ""


async def census(stage: Stage, recorder: Recorder) -> None:
    """Each service's agent says what it serves; one that does not answer is not ready."""
    secret = await stage.instance_secret()
    limit = asyncio.Semaphore(ASKED_AT_ONCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:

        async def ask(service: dict[str, Any]) -> None:
            name = str(service["name"])
            key = agent_key(secret, name[-8:])
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

        for service in await stage.services():
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
