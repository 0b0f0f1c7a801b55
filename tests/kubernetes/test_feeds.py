"""What follows the API server survives whatever that does and misses no deletion: our reflector, and kopf."""

import asyncio
import gc
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any

import kopf
import pytest

from api.kubernetes.client import Api
from api.kubernetes.reflector import Feed, reflect
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_objects import path_of
from api.types import API_VERSION
from controller.kopf_feed import LISTED_AGAIN_AFTER_S, Backoffs, KopfFeed, _registry, _Ringing
from controller.local.apiserver import SERVER, LocalApiServer
from tests.kubernetes.conftest import Place, a_place
from tests.kubernetes.front import HUNG_UP

SEEN_WITHIN_S = 30.0  # Kopf may take two seconds to die, and is started again a second later.
SILENCE_S = 2.0

FEEDS: dict[str, Callable[[str, float], Feed]] = {
    "reflector": lambda scope, sweep_s: partial(reflect, sweep_every_s=sweep_s),
    "kopf": lambda scope, sweep_s: KopfFeed(scope, silence_s=SILENCE_S, sweep_every_s=sweep_s),
}


@pytest.fixture(params=FEEDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Follower:
    """Records that follow their server through a door."""

    def __init__(self, place: Place, records: KubernetesRecords) -> None:
        self.place, self.records = place, records

    @property
    def task(self) -> object:
        """What follows, until it dies."""
        return self.records._following

    async def create(self) -> str:
        """By somebody else; its name."""
        name = f"c-{secrets.token_hex(4)}"
        spec = {"poolRef": {"name": "default"}, "agentId": "a", "instructions": "Serve."}
        body = {"apiVersion": API_VERSION, "kind": "AgentClaim", "metadata": {"name": name}}
        await self.place.admin.create(self._path(), {**body, "spec": spec})
        return name

    async def delete(self, name: str) -> None:
        found = await self.place.admin.get(self._path(name))
        await self.place.admin.delete(self._path(name), found["metadata"]["uid"])

    def _path(self, name: str = "") -> str:
        return path_of("agentclaims", self.place.namespace, name)

    async def until(self, name: str, there: bool, why: str = "") -> None:
        """Until it is seen, or seen to be gone."""
        began, seen = time.monotonic(), not there
        while seen != there:
            await asyncio.sleep(0.02)
            claims = (await self.records.look()).claims
            seen = any(key.name == name for key in claims)
            assert time.monotonic() - began < SEEN_WITHIN_S, f"{name} {why}: {seen}"

    async def hears(self, why: str = "") -> None:
        """What is written now, however it hears of it; and then by its watches alone."""
        await self.until(await self.create(), there=True, why=why)
        await self.settled()
        await self.until(await self.create(), there=True, why=why)

    async def settled(self) -> None:
        """Until all three kinds are watched and no list is on its way."""
        lists, since = -1, time.monotonic()
        async with asyncio.timeout(SEEN_WITHIN_S):
            while time.monotonic() - since < LISTED_AGAIN_AFTER_S + 0.3:
                await asyncio.sleep(0.02)
                if (now := len(self.place.front.asked())) != lists or self.place.front.watched < 3:
                    lists, since = now, time.monotonic()


@asynccontextmanager
async def following(place: Place, name: str, sweep_s: float = 600.0) -> AsyncIterator[Follower]:
    scope = place.namespace
    feed = FEEDS[name](scope, sweep_s)
    records = KubernetesRecords(place.cluster, scope=scope, home=scope, feed=feed)
    await records.api.close()
    records.api = Api(place.cluster, silence_s=SILENCE_S)
    try:
        follower = Follower(place, records)
        await follower.until(await follower.create(), there=True)
        await follower.settled()
        yield follower
    finally:
        await records.close()
        await kopf_is_over()


def kopf_lives() -> bool:
    return any(thread.name == "kopf" for thread in threading.enumerate())


async def kopf_is_over() -> None:
    """And what its end left behind is told now, and not in the middle of somebody else's test."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while kopf_lives():
            await asyncio.sleep(0.05)
    gc.collect()


@pytest.mark.parametrize(
    ("status", "watches"), [(410, True), (429, True), (HUNG_UP, True), (429, False)]
)
async def test_a_refused_watch_or_list_is_asked_for_again(
    place: Place, name: str, status: int | None, watches: bool
) -> None:
    async with following(place, name) as follower:
        place.front.refuse(status, times=3, watches=watches, Retry_After="1")
        if not watches:  # For it to list anew.
            await place.front.tell_watches({"type": "ERROR", "object": {"code": 410}})
        place.front.cut_watches()
        async with asyncio.timeout(SEEN_WITHIN_S):
            while not place.front.told_all:
                await asyncio.sleep(0.02)
        await follower.hears(f"{status}")


@pytest.mark.parametrize("code", [410, 500])
async def test_an_error_within_a_watch_is_survived(place: Place, name: str, code: int) -> None:
    """Of 500 kopf dies (and is started again)."""
    async with following(place, name) as follower:
        told = {"type": "ERROR", "object": {"code": code, "reason": "Odd", "message": "odd"}}
        assert await place.front.tell_watches(told) >= 3
        await follower.hears()


async def test_what_is_no_event_within_a_watch_is_survived(place: Place, name: str) -> None:
    async with following(place, name) as follower:
        following_since = follower.task
        await place.front.tell_watches("a word")
        await follower.hears()
        assert follower.task is following_since  # It did not even die of it.


async def test_a_rotated_token_is_taken_up(place: Place, name: str) -> None:
    """Once it is there before the old one is rejected, and once it comes too late."""
    async with following(place, name) as follower:
        for late in (False, True):
            old = place.token.read_text()
            await place.server.kubeconfig_of(place.namespace, "agent-pool-controller")
            new = place.front.token = place.token.read_text()
            if late:
                place.token.write_text(old)
            heard = len(place.front.heard)
            place.front.cut_watches()
            while late and sum(h.token == old for h in place.front.heard[heard:]) < 4:
                await asyncio.sleep(0.02)
            place.token.write_text(new)
            await follower.hears(f"late: {late}")


async def test_a_watch_that_falls_silent_is_given_up(place: Place, name: str) -> None:
    async with following(place, name) as follower:
        place.front.hush()
        began = time.monotonic()
        await follower.until(await follower.create(), there=True)
        assert time.monotonic() - began > SILENCE_S / 4  # It was deaf indeed.
        await follower.hears()


async def test_a_deletion_that_no_event_told_is_found_by_a_sweep(place: Place, name: str) -> None:
    async with following(place, name, sweep_s=1.0) as follower:
        place.front.loses = lambda event: event["type"] == "DELETED"
        gone = await follower.create()
        await follower.until(gone, there=True)
        await follower.delete(gone)
        await follower.until(gone, there=False)


async def test_a_deletion_during_an_outage_is_found_though_history_was_compacted(
    own_api_server: LocalApiServer,
) -> None:
    server = own_api_server
    async for place in a_place(server):
        async with following(place, "reflector") as one, following(place, "kopf") as other:
            gone = await one.create()
            for follower in (one, other):
                await follower.until(gone, there=True)
            place.front.refuse(503, times=6, watches=True)  # Nobody watches until it is done.
            place.front.cut_watches()
            await one.delete(gone)
            await server.compact()
            await server.kill(SERVER)
            await server.start()
            for follower in (one, other):
                await follower.until(gone, there=False)
                await follower.hears()


def test_kopf_tries_again_for_ever_and_soon() -> None:
    """So long is it deaf at most once an outage is over."""
    waits = list(islice(Backoffs(), 1000))
    assert waits[0] == 0.5
    assert max(waits) == 5.0


async def test_kopf_ends_with_its_feed(place: Place) -> None:
    async with following(place, "kopf"):
        assert kopf_lives()
    assert not kopf_lives()


async def test_a_kopf_that_is_ended_before_it_has_begun_does_not_live_on(place: Place) -> None:
    ringing = _Ringing(None, _registry(place.cluster, (), lambda *_: None), SILENCE_S)
    ringing.stop()
    async with asyncio.timeout(SEEN_WITHIN_S):
        await ringing.run()
        await kopf_is_over()


async def test_a_kopf_that_does_not_end_is_left(place: Place) -> None:
    """As one whose workers were cancelled with the task that counts them: its feed would be deaf for ever."""
    registry = _registry(place.cluster, (), lambda *_: None)
    started, tasks = threading.Event(), set()

    async def never_ends() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    async def start(**_: Any) -> None:
        tasks.add(asyncio.create_task(never_ends()))
        started.set()

    kopf.on.startup(registry=registry)(start)
    ringing = _Ringing(place.namespace, registry, SILENCE_S)
    async with asyncio.timeout(SEEN_WITHIN_S):
        life = asyncio.create_task(ringing.run())
        await asyncio.to_thread(started.wait)
        ringing.stop()
        await life
        await kopf_is_over()
