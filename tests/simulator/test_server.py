"""The simulator on real sockets: its doors, its own paths, its agents, and what a restart keeps."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.railway.simulator.addresses import LoopbackAddresses, addresses
from controller.railway.simulator.habits import AT_ONCE
from controller.railway.simulator.server import Simulator, SimulatorConfig
from tests.simulator.builders import AGENT
from tests.sockets import a_closed_port

CREATE = "mutation ($i: ServiceCreateInput!) { serviceCreate(input: $i) { id } }"
DOMAIN = "mutation ($i: ServiceDomainCreateInput!) { serviceDomainCreate(input: $i) { domain } }"


class Running:
    """A running simulator, and somebody who talks to it."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator, self.session = simulator, session
        self.base = simulator.endpoint.removesuffix("/graphql/v2")
        self.told = json.loads((simulator.config.state / "simulator.json").read_text())
        self.bearer = {"Authorization": f"Bearer {self.told['token']}"}

    async def graphql(self, query: str, **variables: Any) -> Any:
        url, headers = self.simulator.endpoint, {"Project-Access-Token": self.told["token"]}
        body = {"query": query, "variables": variables}
        async with self.session.post(f"{url}?source=test", json=body, headers=headers) as answer:
            return await answer.json()

    async def make(self, name: str) -> tuple[str, str]:
        """Id and host of a new agent's service."""
        project = {"projectId": self.told["projectId"]}
        environment = {"environmentId": self.told["environmentId"]}
        wanted: dict[str, Any] = {
            **project,
            "name": name,
            "source": {"image": "i"},
            "variables": AGENT,
        }
        made = (await self.graphql(CREATE, i=wanted))["data"]["serviceCreate"]["id"]
        said = await self.graphql(DOMAIN, i={**environment, "serviceId": made})
        return made, said["data"]["serviceDomainCreate"]["domain"]

    async def agent(self, host: str, path: str, **told: Any) -> tuple[int, Any]:
        method = "POST" if told else "GET"
        headers = {"Authorization": "Bearer key"}
        url = f"http://{host}{path}"
        async with self.session.request(method, url, json=told or None, headers=headers) as said:
            return said.status, await said.json()

    async def own(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = self.base + path
        async with self.session.request(method, url, json=body, headers=self.bearer) as said:
            return said.status, await said.json()


@asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[Running]:
    wanted: dict[str, Any] = {"port": 0, "agent_port": a_closed_port(), "pace": AT_ONCE, "seed": 1}
    simulator = Simulator(SimulatorConfig(folder, requests_per_s=1000, **wanted | changes))
    await simulator.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Running(simulator, session)
    finally:
        await simulator.stop()


# ---------------------------------------------------------------- its doors


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Host": "localhost:9103"}, 200),
    ],
)
async def test_a_foreign_host_and_any_origin_are_refused(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with (
        running(tmp_path) as it,
        it.session.get(it.base + "/healthz", headers=headers) as said,
    ):
        assert said.status == status


@pytest.mark.parametrize("path", ["/_world", "/_faults", "/_acts"])
async def test_its_own_paths_want_its_token(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as it, it.session.get(it.base + path) as said:
        assert said.status == 401


async def test_it_tells_a_controller_all_that_it_needs_in_a_file_of_its_owner(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as it:
        kept = tmp_path / "simulator.json"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert it.told["agentScheme"] == "http"
        who = await it.graphql("{ projectToken { projectId environmentId } }")
        named = {name: it.told[name] for name in ("projectId", "environmentId")}
        assert who["data"]["projectToken"] == named


# ---------------------------------------------------------------- agents on sockets


async def test_an_agent_answers_at_the_address_of_its_domain(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        _, host = await it.make("a")
        status, said = await it.agent(host, "/pool/provision", instructions="x", name="n")
        assert status == 200
        assert said["conversationId"] == (await it.agent(host, "/pool/status"))[1]["conversationId"]
        heard = (tmp_path / "heard.jsonl").read_text().splitlines()
        assert [json.loads(line)["answered"] for line in heard] == [None, 200]


async def test_thirty_agents_answer_ninety_calls_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        hosts = [(await it.make(f"a{n}"))[1] for n in range(30)]
        told = [
            it.agent(host, "/pool/provision", instructions="x") for host in hosts for _ in "abc"
        ]
        answers = await asyncio.gather(*told)
        assert len(set(hosts)) == 30
        assert {status for status, _ in answers} <= {200, 409}


async def test_a_lost_answer_is_a_cut_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        _, host = await it.make("a")
        await it.own("PUT", "/_faults", {"next": [{"name": "answerLost", "match": "a"}]})
        with pytest.raises(aiohttp.ClientError):
            await it.agent(host, "/pool/provision", instructions="x")
        assert (await it.agent(host, "/pool/status"))[1]["provisioned"]


async def test_a_deleted_services_address_answers_the_edges_404(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        service_id, host = await it.make("a")
        await it.own("POST", "/_acts", {"act": "delete-service", "service": "a"})
        for _ in range(2):
            status, said = await it.agent(host, "/pool/status")
            assert (status, said["message"]) == (404, "Application not found")
        assert service_id


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.x.y.z: ports elsewhere")
def test_on_linux_each_service_has_an_address_of_its_own_that_never_changes() -> None:
    made = [LoopbackAddresses(9180)(f"service-{n}", "", 0) for n in range(1000)]
    assert len(set(made)) > 990
    assert made == [addresses(9180)(f"service-{n}", "", 0) for n in range(1000)]
    assert all(host.startswith("127.") and host.endswith(":9180") for host in made)


# ---------------------------------------------------------------- restarts


async def test_a_restart_keeps_services_tokens_domains_and_what_agents_remember(
    tmp_path: Path,
) -> None:
    port = a_closed_port()
    async with running(tmp_path, agent_port=port) as it:
        told = it.told
        _, host = await it.make("a")
        _, said = await it.agent(host, "/pool/provision", instructions="x")
    async with running(tmp_path, agent_port=port, seed=2) as it:
        same = ("token", "projectId", "environmentId")
        assert [it.told[name] for name in same] == [told[name] for name in same]
        status, again = await it.agent(host, "/pool/status")
        assert (status, again["conversationId"]) == (200, said["conversationId"])
        await it.make("b")  # Its ids collide with none of before.
        _, world = await it.own("GET", "/_world")
        assert [service["name"] for service in world["services"]] == ["a", "b"]


async def test_a_port_that_is_taken_is_an_oserror(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        simulator = Simulator(SimulatorConfig(state=tmp_path, port=taken.getsockname()[1]))
        with pytest.raises(OSError):
            await simulator.start()
        await simulator.stop()


# ---------------------------------------------------------------- its own paths


async def test_the_world_is_shown_without_a_single_value(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        service_id, host = await it.make("a")
        await it.agent(host, "/pool/provision", instructions="canary")
        status, world = await it.own("GET", "/_world")
        assert status == 200
        (service,) = world["services"]
        assert set(world) == {"now", "services", "heard"}
        assert (service["id"], service["name"]) == (service_id, "a")
        assert set(service["variables"]) == set(AGENT)
        assert {len(value) for value in service["variables"].values()} == {64}
        assert [d["status"] for d in service["deployments"]] == ["SUCCESS"]
        assert len(world["heard"]) == 2
        assert "canary" not in json.dumps(world)


async def test_faults_are_put_shown_and_healed(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        plan = {"seed": 3, "rates": {"unavailable": 1.0}, "next": [{"name": "problem", "count": 2}]}
        assert await it.own("PUT", "/_faults", plan) == (200, plan)
        assert await it.own("GET", "/_faults") == (200, plan)
        async with it.session.post(it.simulator.endpoint, json={}) as said:
            assert said.status == 503
        assert (await it.own("PUT", "/_faults", {}))[1] == {"seed": 0, "rates": {}, "next": []}
        status, refused = await it.own("PUT", "/_faults", {"rates": {"x": 1}})
        assert status == 400
        assert "unknown fault" in refused["error"]


async def test_what_people_do_by_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as it:

        async def act(_name: str, **fields: Any) -> Any:
            status, said = await it.own("POST", "/_acts", {"act": _name, **fields})
            assert status == 200, said
            return said

        _, host = await it.make("a")
        assert (await act("create-service", name="mine", image="theirs"))["id"]
        used = await act("use-agent", service="a")
        seen = await it.agent(host, "/pool/status")
        assert seen[1]["conversationId"] == used["conversationId"]
        await act("restart-agent", service="a")
        assert not (await it.agent(host, "/pool/status"))[1]["provisioned"]
        await act("rename-service", service="a", name="b")
        await act("exit-agent", service="b")
        assert (await it.agent(host, "/pool/status"))[0] == 502
        await act("deploy-service", service="b")
        assert (await it.agent(host, "/pool/status"))[0] == 200
        await act("sleep-agent", service="b")
        assert [(await it.agent(host, "/pool/status"))[0] for _ in "ab"] == [502, 200]
        await act("crash-agent", service="b")
        assert (await it.agent(host, "/pool/status"))[0] == 502
        await act("delete-service", service="b")


async def test_a_push_deploys_what_has_auto_deploy_on(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        for name in ("on", "off"):
            await it.own("POST", "/_acts", {"act": "create-service", "name": name, "repo": "o/r"})
        world = it.simulator.world
        off = next(s for s in world.services.values() if s.name == "off")
        world.set_auto_deploy(off.id, it.told["environmentId"], False)
        _, said = await it.own("POST", "/_acts", {"act": "push-repo", "repo": "o/r"})
        assert len(said["deployments"]) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"act": "nobody"}, 409),
        ({"act": "delete-service"}, 400),
        ({"act": "delete-service", "service": "nobody"}, 409),
        ([], 400),
    ],
)
async def test_an_act_that_cannot_be_done_says_why(tmp_path: Path, body: Any, status: int) -> None:
    async with running(tmp_path) as it:
        code, said = await it.own("POST", "/_acts", body)
        assert code == status
        assert said["error"]
