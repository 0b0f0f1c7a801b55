"""Real programs instead of agents: what they see, who keeps them running, and when they end."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from controller.railway.simulator.programs import environ
from tests.simulator.builders import AGENT
from tests.simulator.test_server import Running, running

PROGRAM = (sys.executable, str(Path(__file__).with_name("program.py")))
WAIT_S = 15.0


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Programs start and end in their own time: ask until it is so."""
    async with asyncio.timeout(WAIT_S):
        while not await true():
            await asyncio.sleep(0.05)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, agent_command=PROGRAM) as made:
        yield made


async def answered(it: Running, host: str) -> dict[str, Any] | None:
    """What the program says, None while the edge speaks for it."""
    status, said = await it.agent(host, "/")
    return said if status == 200 else None


async def up(it: Running, name: str = "a") -> tuple[str, dict[str, Any]]:
    """Host of a service whose program answers, and what it said."""
    _, host = await it.make(name)

    async def answers() -> bool:
        return await answered(it, host) is not None

    await until(answers)
    said = await answered(it, host)
    assert said is not None
    return host, said


async def status(it: Running) -> tuple[str, bool]:
    query = (
        "query ($p: String!, $e: String!) { environment(id: $e, projectId: $p) { serviceInstances"
        " { edges { node { latestDeployment { status deploymentStopped } } } } } }"
    )
    said = await it.graphql(query, p=it.told["projectId"], e=it.told["environmentId"])
    (edge,) = said["data"]["environment"]["serviceInstances"]["edges"]
    latest = edge["node"]["latestDeployment"]
    return latest["status"], latest["deploymentStopped"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_program_sees_its_variables_a_port_and_nothing_of_ours(it: Running) -> None:
    _, said = await up(it)
    seen = said["environ"]
    assert {name: seen[name] for name in AGENT if name != "PORT"} == {
        name: value for name, value in AGENT.items() if name != "PORT"
    }
    assert seen["PORT"] != AGENT["PORT"]
    ours = {name for name in seen if name not in AGENT and not name.startswith("RAILWAY_")}
    assert ours <= {*environ({}, 0), "LC_CTYPE"}  # Python itself may set the last one.
    log = it.simulator.config.state / "agents" / "a.log"
    assert "listening" in log.read_text()


def test_the_environment_of_the_simulator_is_not_passed_on() -> None:
    os.environ["CANARY_OF_OURS"] = "x"
    try:
        assert "CANARY_OF_OURS" not in environ({"A": "1"}, 80)
    finally:
        del os.environ["CANARY_OF_OURS"]


async def test_it_ends_when_its_service_goes(it: Running) -> None:
    host, said = await up(it)
    await it.own("POST", "/_acts", {"act": "delete-service", "service": "a"})

    async def gone() -> bool:
        return not alive(said["pid"])

    await until(gone)
    assert (await it.agent(host, "/"))[0] == 404


async def test_it_ends_when_the_simulator_does(tmp_path: Path) -> None:
    async with running(tmp_path, agent_command=PROGRAM) as it:
        _, said = await up(it)
    assert not alive(said["pid"])


async def test_after_a_crash_it_is_started_again(it: Running) -> None:
    host, said = await up(it)
    await it.agent(host, "/exit", code=1)

    async def again() -> bool:
        now = await answered(it, host)
        return now is not None and now["pid"] != said["pid"]

    await until(again)
    assert await status(it) == ("SUCCESS", False)


async def test_an_exit_with_zero_stays_success_and_is_stopped(it: Running) -> None:
    host, _ = await up(it)
    await it.agent(host, "/exit", code=0)

    async def stopped() -> bool:
        return await status(it) == ("SUCCESS", True)

    await until(stopped)
    assert (await it.agent(host, "/"))[0] == 502


async def test_a_command_that_cannot_be_run_crashes_its_deployment(tmp_path: Path) -> None:
    async with running(tmp_path, agent_command=("/nobody/here",)) as it:
        update = (
            "mutation ($s: String!, $e: String!) { serviceInstanceUpdate(serviceId: $s, "
            'environmentId: $e, input: {restartPolicyType: NEVER, source: {image: "i"}}) }'
        )
        create = "mutation ($i: ServiceCreateInput!) { serviceCreate(input: $i) { id } }"
        made = await it.graphql(create, i={"projectId": it.told["projectId"], "name": "a"})
        service_id = made["data"]["serviceCreate"]["id"]
        await it.graphql(update, s=service_id, e=it.told["environmentId"])

        async def crashed() -> bool:
            return (await status(it))[0] == "CRASHED"

        await until(crashed)
