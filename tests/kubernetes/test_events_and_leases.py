"""Events and leases as those see them who look with kubectl, and what happens where a role is missing."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.kubernetes.client import Api, Json
from api.records import Event, Lease, NotFound, RecordsError
from api.records import kubernetes_leases as leases
from api.records.kubernetes_events import NOTE_MAX, WRITES_MAX, Recorder
from api.types import Key
from tests.builders import an_event
from tests.kubernetes.conftest import Place

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Stands still unless told."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def controller(place: Place) -> AsyncIterator[Api]:
    api = await place.api("agent-pool-controller")
    yield api
    await api.close()


@pytest.fixture
async def sidecar(place: Place) -> AsyncIterator[Api]:
    api = await place.api("agent-pool-api")
    yield api
    await api.close()


def event(place: Place, **overrides: Any) -> Event:
    return an_event(key=Key(place.namespace, "default"), **overrides)


async def on_record(place: Place) -> list[Json]:
    path = f"/apis/events.k8s.io/v1/namespaces/{place.namespace}/events"
    found, _ = await place.admin.list(path)
    return sorted(found, key=lambda each: str(each["eventTime"]))


# ---- events


async def test_an_event_says_what_it_is_about_and_becomes_a_series(
    place: Place, controller: Api
) -> None:
    clock = Clock()
    recorder = Recorder(controller, "controller-7", clock)
    await recorder.note([event(place, type="Warning", reason="NoRoom", message="it is full")])
    [told] = await on_record(place)
    assert told["regarding"]["kind"] == "AgentPool"
    assert (told["type"], told["reason"], told["note"]) == ("Warning", "NoRoom", "it is full")
    assert told["reportingInstance"] == "controller-7"
    assert told.get("series") is None
    clock.now += timedelta(minutes=9)
    await recorder.note([event(place, type="Warning", reason="NoRoom", message="it is full")] * 2)
    [told] = await on_record(place)
    assert told["series"]["count"] == 3
    assert told["series"]["lastObservedTime"] == "2026-08-01T12:09:00.000000Z"
    clock.now += timedelta(minutes=9)  # Ten minutes count from the last one.
    await recorder.note([event(place, type="Warning", reason="NoRoom", message="it is full")])
    assert [e["series"]["count"] for e in await on_record(place)] == [4]


async def test_kubectl_shows_it_with_its_pool(place: Place, controller: Api) -> None:
    await Recorder(controller, "me", Clock()).note([event(place, message="service created")])
    said = await place.server.kubectl("events", "-n", place.namespace, "--for=agentpool/default")
    assert re.search(r"Created +AgentPool/default +service created", said)


async def test_what_is_too_much_is_lost_and_what_is_too_long_is_cut(
    place: Place, controller: Api
) -> None:
    recorder = Recorder(controller, "me", Clock())
    many = [event(place, message=f"{n} " + "x" * 2000) for n in range(WRITES_MAX + 10)]
    await recorder.note(many)
    told = await on_record(place)
    assert len(told) == WRITES_MAX
    assert {len(each["note"]) for each in told} == {NOTE_MAX}


async def test_who_may_not_tell_goes_on_without(place: Place, sidecar: Api) -> None:
    """The sidecar's role has no events: nothing is raised, nothing is counted as told."""
    recorder = Recorder(sidecar, "me", Clock())
    await recorder.note([event(place), event(place, reason="Other")])
    assert await on_record(place) == []
    assert recorder.known == {}


async def test_an_event_whose_series_was_deleted_by_somebody_is_told_anew(
    place: Place, controller: Api
) -> None:
    recorder = Recorder(controller, "me", Clock())
    await recorder.note([event(place)])
    [told] = await on_record(place)
    path = f"/apis/events.k8s.io/v1/namespaces/{place.namespace}/events/{told['metadata']['name']}"
    await place.admin.delete(path, told["metadata"]["uid"])
    for _ in range(2):
        await recorder.note([event(place)])
    assert len(await on_record(place)) == 1


# ---- leases


async def test_a_lease_is_one_that_others_can_read(place: Place, controller: Api) -> None:
    at = datetime(2026, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
    taken = await leases.write(controller, place.namespace, Lease("one"), "me", at)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{place.namespace}/leases/one"
    spec = (await place.admin.get(path))["spec"]
    assert spec["holderIdentity"] == "me"
    assert spec["leaseDurationSeconds"] == 5
    assert spec["renewTime"] == "2026-08-01T12:00:00.123456Z"
    await leases.write(controller, place.namespace, taken, "", at)
    assert "holderIdentity" not in (await place.admin.get(path))["spec"]


async def test_who_may_not_write_leases_is_told(place: Place, sidecar: Api) -> None:
    with pytest.raises(RecordsError, match="may not POST leases"):
        await leases.write(sidecar, place.namespace, Lease("one"), "me", NOW)


# ---- the installation


async def make_secret(place: Place, name: str, **data: str) -> None:
    body = {"metadata": {"name": name}, "stringData": data}
    await place.server.ask("POST", f"/api/v1/namespaces/{place.namespace}/secrets", body)


async def test_an_installation_without_its_secret_is_told_the_command(
    place: Place, controller: Api
) -> None:
    with pytest.raises(RecordsError, match="kubectl create secret generic") as refused:
        await leases.installation(controller, place.namespace)
    assert f"-n {place.namespace}" in str(refused.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"ownerId": "o"}, "lacks ownerId or instanceSecret"),
        ({"ownerId": "o", "instanceSecret": "short"}, "shorter than 32 bytes"),
    ],
)
async def test_an_installation_whose_secret_is_no_good_is_told_why(
    place: Place, controller: Api, data: dict[str, str], told: str
) -> None:
    await make_secret(place, leases.SECRET, **data)
    with pytest.raises(RecordsError, match=told):
        await leases.installation(controller, place.namespace)


async def test_a_secret_that_a_pool_names_needs_a_role_and_its_key(
    place: Place, controller: Api
) -> None:
    name = Key(place.namespace, "openai")
    await make_secret(place, name.name, key="value")
    with pytest.raises(RecordsError, match="may not GET secrets"):
        await leases.secret(controller, name, "key")
    assert await leases.secret(place.admin, name, "key") == "value"
    for missing in ((name, "other"), (Key(place.namespace, "none"), "key")):
        with pytest.raises(NotFound):
            await leases.secret(place.admin, *missing)
