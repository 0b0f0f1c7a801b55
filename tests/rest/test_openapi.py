"""`/openapi.json` is true: schemathesis asks a real server what it allows, and what it forbids."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import ignored_auth

from api.door import Patience
from api.openapi import document
from api.records import Bell
from tests.rest.served import KEY, a_sidecar
from tests.rest.world import World

HEADERS = {"Authorization": f"Bearer {KEY}"}


async def always_three_idle(world: World) -> None:
    """The stand-in controller, and a pool that never runs dry."""
    async for bell in world.control.bells():
        if len(world.store.tables.instances) < len(world.claims) + 3:
            await world.idle(3)
        await world.decide()
        if bell.kind == "look":
            await world.control.ring(Bell("looked", bell.namespace, bell.name))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A sidecar in a thread of its own, since schemathesis asks synchronously."""
    started: list[Any] = []
    is_up = threading.Event()

    async def serve() -> None:
        stop = asyncio.Event()
        async with a_sidecar(always_three_idle, patience=Patience(0.05, 0.5)) as served:
            started[:] = [served.url, asyncio.get_running_loop(), stop]
            is_up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert is_up.wait(10)
    url, loop, stop = started
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join()


promised = schemathesis.openapi.from_dict(document("0.0.1"))


def refused_by_aiohttp(case: Any) -> bool:
    """A NUL, CR or LF in a header never reaches a handler: aiohttp refuses the request (facts/tools.md)."""
    return any(c in str(value) for value in (case.headers or {}).values() for c in "\0\r\n")


@promised.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_document_says(case: Any, server: str) -> None:
    if not refused_by_aiohttp(case):
        case.call_and_validate(
            base_url=server,
            headers=HEADERS,
            timeout=20,
            allow_redirects=False,
            excluded_checks=[ignored_auth],  # Wrong keys are slowed down; test_auth.py has them.
        )


def test_the_document_is_behind_the_key(server: str) -> None:
    assert requests.get(f"{server}/openapi.json", timeout=5).status_code == 401
    answer = requests.get(f"{server}/openapi.json", headers=HEADERS, timeout=5)
    assert answer.json() == document("0.0.1")


def test_it_is_made_from_the_types() -> None:
    schemas = document("1.2.3")["components"]["schemas"]
    assert schemas["ClaimBody"]["properties"]["agentId"]["maxLength"] == 128
    assert set(schemas["Served"]["properties"]) >= {
        "inviteUrl",
        "qrDataUrl",
        "conversationId",
        "instanceId",
    }
