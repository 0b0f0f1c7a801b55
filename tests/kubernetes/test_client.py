"""The client, where the API server or the way to it misbehaves: what it sends again, and what it says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from api.kubernetes.client import AT_ONCE, Api, Expired, ServerTime
from api.records import AlreadyExists, Conflict, Invalid, NotFound, Unavailable
from api.records.kubernetes_objects import path_of
from api.types import API_VERSION
from tests.kubernetes.conftest import Place
from tests.kubernetes.front import HUNG_UP


@pytest.fixture
async def api(place: Place) -> AsyncIterator[Api]:
    made = Api(place.cluster)
    yield made
    await made.close()


def maps(place: Place, name: str = "") -> str:
    """Config maps, which the administrator alone may touch here."""
    return f"/api/v1/namespaces/{place.namespace}/configmaps{f'/{name}' if name else ''}"


def an_object(place: Place, name: str = "c1", **spec: Any) -> dict[str, Any]:
    whole = {"poolRef": {"name": "default"}, "agentId": "a", "instructions": "Serve."} | spec
    meta = {"name": name, "namespace": place.namespace}
    return {"apiVersion": API_VERSION, "kind": "AgentClaim", "metadata": meta, "spec": whole}


def claims(place: Place) -> str:
    return path_of("agentclaims", place.namespace)


def leases(place: Place, name: str = "") -> str:
    head = f"/apis/coordination.k8s.io/v1/namespaces/{place.namespace}/leases"
    return f"{head}/{name}" if name else head


def a_lease(name: str = "one") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"holderIdentity": "me"}}


async def test_a_request_that_was_turned_away_unseen_is_sent_again(api: Api, place: Place) -> None:
    place.front.refuse(429, times=2, Retry_After="0")
    await api.create(leases(place), a_lease())
    assert len(place.front.asked("POST")) == 3


async def test_who_is_turned_away_for_too_long_is_told_so_at_once(api: Api, place: Place) -> None:
    place.front.refuse(429, Retry_After="60")
    with pytest.raises(Unavailable, match="429"):
        await api.get(leases(place))
    assert len(place.front.heard) == 1


@pytest.mark.parametrize("status", [HUNG_UP, 500, 504])
async def test_a_write_whose_answer_was_lost_is_not_sent_again(
    api: Api, place: Place, status: int | None
) -> None:
    place.front.refuse(status, after=True)
    with pytest.raises(Unavailable):
        await api.create(leases(place), a_lease())
    assert len(place.front.asked("POST")) == 1
    with pytest.raises(AlreadyExists):  # It had happened.
        await api.create(leases(place), a_lease())


async def test_a_lease_does_not_wait_behind_other_writes(api: Api, place: Place) -> None:
    """Else a leader with much to write would lose its lease, begin again, and never get on."""
    place.front.delays = lambda heard: 0.0 if "/leases" in heard.path else 5.0
    others = [asyncio.create_task(api.list(claims(place))) for _ in range(2 * AT_ONCE)]
    while len(place.front.heard) < AT_ONCE:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(4):
        await api.create(leases(place), a_lease())
    assert not any(other.done() for other in others)
    for other in others:
        other.cancel()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"half'])
async def test_what_is_no_json_object_is_nobodys_word(api: Api, place: Place, body: bytes) -> None:
    place.front.refuse(200, body=body)
    with pytest.raises(Unavailable):
        await api.get(leases(place))


async def test_a_token_that_was_rotated_is_read_anew_once(api: Api, place: Place) -> None:
    await api.list(claims(place))
    await place.server.kubeconfig_of(place.namespace, "agent-pool-controller")
    place.front.token = place.cluster.token()  # From now on the old one is rejected.
    await api.list(claims(place))
    assert [h.token == place.front.token for h in place.front.heard] == [False, False, True]


async def test_a_token_that_is_not_known_is_told_and_not_tried_for_ever(
    api: Api, place: Place
) -> None:
    place.front.token = "another"
    with pytest.raises(Unavailable, match="does not know who we are"):
        await api.list(claims(place))
    assert len(place.front.heard) == 2


async def test_what_our_role_does_not_allow_is_told_with_the_verb(api: Api, place: Place) -> None:
    with pytest.raises(Unavailable, match="may not GET configmaps: give our service account"):
        await api.get(maps(place))


async def test_what_the_server_refuses_is_told_without_what_was_sent(place: Place) -> None:
    secret = "Serve nobody but me. " * 3
    bad = an_object(place, instructions=secret, onEmpty=secret, timeout=secret)
    with pytest.raises(Invalid) as refused:
        await place.admin.create(claims(place), bad)
    assert "spec.onEmpty" in str(refused.value)
    assert "Serve nobody" not in str(refused.value)
    bad = an_object(place, surprise=secret)  # An unknown field is not pruned silently.
    with pytest.raises(Invalid, match="refuses it"):
        await place.admin.create(claims(place), bad)


async def test_a_list_is_read_to_its_end_and_is_of_its_first_page(place: Place) -> None:
    for n in range(5):
        await place.admin.create(maps(place), {"metadata": {"name": f"m{n}"}})
    found, version = await place.admin.list(maps(place), limit="2")
    assert [each["metadata"]["name"] for each in found] == [f"m{n}" for n in range(5)]
    assert int(version) >= max(int(each["metadata"]["resourceVersion"]) for each in found)


async def test_a_list_whose_next_page_is_gone_is_no_list(api: Api, place: Place) -> None:
    for n in range(3):
        await place.admin.create(claims(place), an_object(place, f"c{n}"))
    listing = asyncio.ensure_future(api.list(claims(place), limit="2"))
    while not place.front.heard:
        await asyncio.sleep(0)
    place.front.refuse(410)
    with pytest.raises(Expired):
        await listing


async def test_a_deletion_takes_that_very_object_at_that_very_version(place: Place) -> None:
    admin, path = place.admin, maps(place, "m")
    made = await admin.create(maps(place), {"metadata": {"name": "m"}})
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    await admin.merge(path, {"data": {"a": "b"}})
    with pytest.raises(Conflict):
        await admin.delete(path, uid, version)
    with pytest.raises(Conflict):
        await admin.delete(path, "00000000-0000-0000-0000-000000000000")
    await admin.delete(path, uid)
    with pytest.raises(NotFound):
        await admin.delete(path, uid)


async def test_a_watch_tells_a_line_of_any_length_and_ends_where_it_is_cut(
    api: Api, place: Place
) -> None:
    path = claims(place)
    _, version = await api.list(path)
    watch = api.watch(path, version)
    first = asyncio.ensure_future(anext(watch))
    long = "x" * 60_000
    await place.admin.create(path, an_object(place, instructions=long))
    kind, thing = await first
    assert (kind, thing["spec"]["instructions"]) == ("ADDED", long)
    place.front.cut_watches()
    with pytest.raises((Unavailable, StopAsyncIteration)):
        await anext(watch)


@pytest.mark.parametrize("how", ["refused", "told"])
async def test_a_watch_from_a_version_that_is_forgotten_is_expired(
    api: Api, place: Place, how: str
) -> None:
    path = claims(place)
    _, version = await api.list(path)
    if how == "refused":
        place.front.refuse(410, watches=True)
        with pytest.raises(Expired):
            await anext(api.watch(path, version))
        return
    waiting = asyncio.ensure_future(anext(api.watch(path, version)))
    while not await place.front.tell_watches({"type": "ERROR", "object": {"code": 410}}):
        await asyncio.sleep(0.01)
    with pytest.raises(Expired):
        await waiting


async def test_nobody_there_is_unavailable(place: Place) -> None:
    api = Api(replace(place.cluster, server="http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        await api.get(leases(place))
    with pytest.raises(Unavailable):
        await anext(api.watch(leases(place), "1"))
    await api.close()


def test_the_servers_clock_is_known_from_whole_seconds_and_followed_when_it_is_set() -> None:
    clock = ServerTime()
    assert clock.now() is None
    clock.saw("no date")
    assert clock.now() is None
    now = datetime.now(UTC)
    for ahead in (timedelta(0), timedelta(hours=1), timedelta(hours=-1)):
        said = (now + ahead).replace(microsecond=0)
        clock.saw(format_datetime(said, usegmt=True))
        known = clock.now()
        assert known is not None
        assert timedelta(0) <= known - said < timedelta(seconds=0.5)
        clock.saw(format_datetime(said - timedelta(seconds=1), usegmt=True))  # Late on its way.
        later = clock.now()
        assert later is not None
        assert later >= known
