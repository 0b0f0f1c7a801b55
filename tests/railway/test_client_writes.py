"""What is sent to make, change and delete a service, and what counts as done."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from api.types import RepoSource, Source
from controller.railway import Gone, Make, NameTaken, Unclear
from controller.railway.client import RailwayClient
from tests.railway.answers import ENDPOINT, NOW, TOKEN, Answer, a_client, data, errors

PATCHED = data({"environmentPatchCommit": "commitChanges/e/1"})
CREATED = data({"serviceCreate": {"id": "s1"}})
UPDATED = data({"serviceInstanceUpdate": True})
IMAGE = Source(image="agents/convos:1")
REPO = Source(repo=RepoSource(name="x/agent", branch="next", root_directory="app"))


def a_make(source: Source = IMAGE, healthcheck_path: str | None = None) -> Make:
    return Make("agent-a1", source, {"PORT": "8080"}, healthcheck_path=healthcheck_path)


async def test_an_empty_service_is_a_name_and_nothing_else() -> None:
    client, railway = a_client(CREATED)
    assert await client.create_empty("agent-a1") == "s1"
    asked = {"projectId": "p", "environmentId": "e", "name": "agent-a1"}
    assert railway.asked[0].variables == {"input": asked}


@pytest.mark.parametrize(
    ("source", "sent"), [(IMAGE, {"image": "agents/convos:1"}), (REPO, {"repo": "x/agent"})]
)
async def test_a_whole_service_carries_source_and_variables_but_never_a_branch(
    source: Source, sent: dict[str, str]
) -> None:
    client, railway = a_client(CREATED)
    assert await client.create_whole(a_make(source)) == "s1"
    said = railway.asked[0].variables["input"]
    assert said["source"] == sent
    assert said["variables"] == {"PORT": "8080"}
    assert "branch" not in said


async def test_a_name_that_is_taken_says_so() -> None:
    client, _ = a_client(errors('A service named "agent-a1" already exists in this project'))
    with pytest.raises(NameTaken):
        await client.create_empty("agent-a1")


async def test_a_domain_is_made_without_a_port_and_its_host_is_told() -> None:
    client, railway = a_client(data({"serviceDomainCreate": {"domain": "a1.up.railway.test"}}))
    assert await client.create_domain("s1") == "a1.up.railway.test"
    assert railway.asked[0].variables == {"input": {"environmentId": "e", "serviceId": "s1"}}


@pytest.mark.parametrize(
    ("make", "service"),
    [
        (
            a_make(),
            {"source": {"image": "agents/convos:1"}, "variables": {"PORT": {"value": "8080"}}},
        ),
        (
            a_make(REPO, "/setup/healthz"),
            {
                "source": {"repo": "x/agent", "branch": "next", "rootDirectory": "app"},
                "variables": {"PORT": {"value": "8080"}},
                "deploy": {"healthcheckPath": "/setup/healthz", "healthcheckTimeout": 300},
            },
        ),
    ],
)
async def test_one_patch_sets_source_variables_and_settings_and_leaves_the_network_alone(
    make: Make, service: dict[str, Any]
) -> None:
    client, railway = a_client(PATCHED)
    await client.patch("s1", make)
    assert railway.asked[0].variables["patch"] == {"services": {"s1": service}}
    assert railway.asked[0].variables["environmentId"] == "e"


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (a_make(healthcheck_path="/up"), {"healthcheckPath": "/up"}),
        (a_make(REPO), {"rootDirectory": "app"}),
        (a_make(REPO, "/up"), {"healthcheckPath": "/up", "rootDirectory": "app"}),
    ],
)
@pytest.mark.parametrize("changed", [True, False])
async def test_settings_are_sent_alone_and_unchanged_ones_are_fine(
    make: Make, settings: dict[str, str], changed: bool
) -> None:
    client, railway = a_client(data({"serviceInstanceUpdate": changed}))
    await client.update_settings("s1", make)
    sent = {"serviceId": "s1", "environmentId": "e", "input": settings}
    assert railway.asked[0].variables == sent


async def test_a_deploy_is_asked_for_in_our_environment() -> None:
    client, railway = a_client(data({"serviceInstanceDeployV2": "d1"}))
    await client.deploy("s1")
    assert railway.asked[0].variables == {"serviceId": "s1", "environmentId": "e"}


async def test_auto_deploy_is_off_when_railway_says_that_it_is() -> None:
    client, railway = a_client(data({"serviceInstanceAutoDeployUpdate": {"enabled": False}}))
    await client.auto_deploy_off("s1")
    sent = {"projectId": "p", "environmentId": "e", "serviceId": "s1", "enabled": False}
    assert railway.asked[0].variables == {"input": sent}


async def test_a_rename_changes_the_name_alone() -> None:
    client, railway = a_client(data({"serviceUpdate": {"id": "s1"}}))
    await client.rename("s1", "agent-tokyo-a1")
    assert railway.asked[0].variables == {"id": "s1", "name": "agent-tokyo-a1"}


async def test_a_delete_is_by_id_and_one_of_a_gone_service_says_so() -> None:
    client, railway = a_client(data({"serviceDelete": True}), errors("Service not found"))
    await client.delete("s1")
    assert railway.asked[0].variables == {"id": "s1"}
    with pytest.raises(Gone):
        await client.delete("s1")


WRITES: list[tuple[Callable[[RailwayClient], Awaitable[Any]], Answer]] = [
    (lambda client: client.create_empty("a"), data({"serviceCreate": {"id": None}})),
    (lambda client: client.create_empty("a"), data({"serviceCreate": None})),
    (lambda client: client.create_domain("s1"), data({"serviceDomainCreate": {}})),
    (lambda client: client.patch("s1", a_make()), data(None)),
    (
        lambda client: client.auto_deploy_off("s1"),
        data({"serviceInstanceAutoDeployUpdate": {"enabled": True}}),
    ),
    (lambda client: client.delete("s1"), data({"serviceDelete": False})),
    (lambda client: client.rename("s1", "b"), data({"serviceUpdate": None})),
]


@pytest.mark.parametrize(("write", "answer"), WRITES)
async def test_a_write_without_a_clear_answer_is_unclear_and_not_sent_again(
    write: Callable[[RailwayClient], Awaitable[Any]], answer: Answer
) -> None:
    client, railway = a_client(answer)
    with pytest.raises(Unclear):
        await write(client)
    assert len(railway.asked) == 1


class Gate(httpx.AsyncBaseTransport):
    """Counts the requests that are open at once; none ends before the gate opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered = asyncio.Event()
        self.open = self.most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.open += 1
        self.most = max(self.most, self.open)
        self.entered.set()
        await self.opened.wait()
        self.open -= 1
        return httpx.Response(200, content=PATCHED.content)


async def test_one_patch_is_in_flight_at_a_time() -> None:
    gate = Gate()
    client = RailwayClient(ENDPOINT, TOKEN, "p", "e", clock=lambda: NOW, transport=gate)
    async with asyncio.TaskGroup() as group:
        for service_id in ("s1", "s2", "s3"):
            group.create_task(client.patch(service_id, a_make()))
        await gate.entered.wait()
        gate.opened.set()
    assert gate.most == 1
