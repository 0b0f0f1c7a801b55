"""Must show 8: each way to create costs the requests and deployments of the table, counted in the journal."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.types import Key, RailwayRef, RepoSource, Source, Template
from controller.agents_http import HttpAgents
from controller.leading import Controller
from controller.railway.client import RailwayClient
from controller.railway.simulator.server import Simulator, SimulatorConfig
from controller.railway.simulator.state import TokenKind
from controller.template import Recipe
from controller.term import Charge, Limits, Ports
from tests.builders import a_pool
from tests.end_to_end.system import free_ports

IMAGE = Template(source=Source(image="ghcr.io/x/agent:1"))
REPO = Template(source=Source(repo=RepoSource(name="x/agent")))
BRANCH = Template(source=Source(repo=RepoSource(name="x/agent", branch="next")))
CHECKED = Template(source=Source(image="ghcr.io/x/agent:1"), healthcheck_path="/setup/healthz")
# Each way to create: token, template, requests, deployments. The bench counts the same.
WAYS: Mapping[str, tuple[TokenKind, Template, int, set[int]]] = {
    "image, may patch": ("workspace", IMAGE, 3, {1}),
    "repo, may patch": ("workspace", REPO, 4, {1}),
    "branch, may patch": ("workspace", BRANCH, 4, {1}),
    "image, project token": ("project", IMAGE, 2, {1}),
    "image and health check, project token": ("project", CHECKED, 4, {2}),
    "repo, project token": ("project", REPO, 3, {1, 2, 3}),
}
CREATING = {
    "ServiceCreate",
    "ServiceDomainCreate",
    "EnvironmentPatchCommit",
    "AutoDeploySet",
    "ServiceInstanceUpdate",
    "ServiceInstanceDeploy",
}


async def one_instance(
    state: Path, token: TokenKind, template: Template
) -> tuple[Counter[str], int, str]:
    """Make one instance; the requests that created it, its deployments, and the pool's Stalled reason."""
    simulator = Simulator(
        SimulatorConfig(state=state, port=0, agent_port=free_ports(1)[0], token_kind=token)
    )
    await simulator.start()
    told = json.loads((state / "simulator.json").read_text())
    railway = RailwayClient(
        told["endpoint"],
        told["token"],
        told["projectId"],
        told["environmentId"],
        clock=lambda: datetime.now(UTC),
    )
    records = MemoryRecords(MemoryStore(lambda: datetime.now(UTC), random.Random(1)), Shape.ONE)
    agents = HttpAgents(schemes=frozenset({"http"}))
    where = RailwayRef(
        endpoint=told["endpoint"],
        project_id=told["projectId"],
        environment_id=told["environmentId"],
    )
    made = await records.installation()
    recipe = Recipe(made.owner_id, (made.instance_secret,), {"INSTANCE_ANTHROPIC_API_KEY": "x"})
    charge = Charge("me", recipe, where, Limits(tick_s=5.0), "http")
    ports = Ports(records, railway, agents, time.monotonic, random.Random(2))
    running = asyncio.create_task(Controller(ports, charge).run())
    try:
        await records.create_pool(a_pool(min_idle=1, template=template))
        reason = await _settled(records)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for port in (agents, railway):
            await port.close()
        await simulator.stop()
    lines = [json.loads(line) for line in (state / "journal.jsonl").read_text().splitlines()]
    requests = Counter(x["op"] for x in lines if x["effect"] == "request" and x["op"] in CREATING)
    requests["EnvironmentPatchCommit"] -= 1  # The probe at start.
    return +requests, sum(x["effect"] == "deployment" for x in lines), reason


async def _settled(records: MemoryRecords) -> str:
    async with asyncio.timeout(40):
        while True:
            await asyncio.sleep(0.05)
            status = (await records.pool(Key("default", "default"))).status
            stalled = [
                c.reason for c in status.conditions if c.type == "Stalled" and c.status == "True"
            ]
            if status.idle or stalled:
                return stalled[0] if stalled else ""


@pytest.mark.parametrize(
    ("token", "template", "requests", "deployments"), list(WAYS.values()), ids=list(WAYS)
)
async def test_each_way_to_create_costs_what_the_table_says(
    tmp_path: Path, token: TokenKind, template: Template, requests: int, deployments: set[int]
) -> None:
    asked, deployed, stalled = await one_instance(tmp_path, token, template)
    assert asked.total() == requests
    assert deployed in deployments
    assert stalled == ""


async def test_a_branch_with_a_project_token_is_refused_before_anything_is_created(
    tmp_path: Path,
) -> None:
    asked, deployed, stalled = await one_instance(tmp_path, "project", BRANCH)
    assert (asked.total(), deployed, stalled) == (0, 0, "TokenTooNarrow")
