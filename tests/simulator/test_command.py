"""The simulator's command line, and the process that it starts."""

import argparse
import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp
import pytest

from controller.railway.simulator.command import add_arguments, config_from
from controller.railway.simulator.habits import RAILWAY_PACE
from controller.railway.simulator.server import SimulatorConfig
from tests.sockets import a_closed_port

REPOSITORY = Path(__file__).resolve().parents[2]
CREATE = "mutation ($p: String!) { serviceCreate(input: {projectId: $p}) { id } }"


def parsed(*args: str) -> SimulatorConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return config_from(parser.parse_args(args))


def test_without_options_it_is_the_default() -> None:
    assert parsed() == SimulatorConfig(Path(".state"))


def test_each_option_is_taken() -> None:
    config = parsed(
        "--state=/s", "--port=0", "--agent-port=1", "--seed=7", "--token=workspace", "--pace=railway",
        "--requests-per-hour=100", "--requests-per-second=10", "--rate-limit-reset=iso",
        "--habit=project_token_may_patch=true", "--habit=services_most=5",
        "--agent-command=python 'my agent.py'",
    )  # fmt: skip
    assert (config.state, config.port, config.agent_port, config.seed) == (Path("/s"), 0, 1, 7)
    assert (config.token_kind, config.pace, config.reset_format) == (
        "workspace",
        RAILWAY_PACE,
        "iso",
    )
    assert (config.requests_per_hour, config.requests_per_s) == (100, 10)
    assert (config.habits.project_token_may_patch, config.habits.services_most) == (True, 5)
    assert config.agent_command == ("python", "my agent.py")


@pytest.mark.parametrize("wrong", ["nobody=true", "services_most=many"])
def test_a_wrong_habit_is_refused_by_its_name(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--habit={wrong}")
    assert wrong.partition("=")[0] in capsys.readouterr().err


# ---------------------------------------------------------------- the process


async def started(state: Path) -> tuple[Process, dict[str, str]]:
    """A simulator of its own process that listens, and what it tells."""
    command = (sys.executable, "-m", "controller.cli", "simulator", "--port=0", f"--state={state}")
    process = await asyncio.create_subprocess_exec(
        *command, f"--agent-port={a_closed_port()}", "--pace=at-once", stderr=PIPE, cwd=REPOSITORY
    )
    assert process.stderr is not None
    async with asyncio.timeout(15):
        line = (await process.stderr.readline()).decode()
    assert "listens on http://127.0.0.1:" in line
    return process, json.loads((state / "simulator.json").read_text())


async def create(told: dict[str, str]) -> None:
    body = {"query": CREATE, "variables": {"p": told["projectId"]}}
    headers = {"Project-Access-Token": told["token"]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(told["endpoint"] + "?x=y", json=body, headers=headers) as said,
    ):
        assert (await said.json())["data"]["serviceCreate"]["id"]


async def test_after_a_kill_nine_the_world_is_there_and_agrees_with_the_journal(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        process, told = await started(tmp_path)
        await create(told)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    process, again = await started(tmp_path)
    assert again["token"] == told["token"]
    headers = {"Authorization": f"Bearer {again['token']}"}
    url = again["endpoint"].replace("/graphql/v2", "/_world")
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as said:
        services = (await said.json())["services"]
    journal = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    made = [line["service"] for line in journal if line["effect"] == "serviceCreate"]
    assert made == [service["id"] for service in services]
    assert len(made) == 2
    process.terminate()
    await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_cleanly_when_told(tmp_path: Path, number: signal.Signals) -> None:
    process, _ = await started(tmp_path)
    process.send_signal(number)
    async with asyncio.timeout(5):
        assert await process.wait() == 0


async def test_a_second_one_on_the_same_folder_says_so_and_exits_with_2(tmp_path: Path) -> None:
    first, _ = await started(tmp_path)
    command = (sys.executable, "-m", "controller.cli", "simulator", f"--state={tmp_path}")
    second = await asyncio.create_subprocess_exec(*command, stderr=PIPE, cwd=REPOSITORY)
    _, said = await second.communicate()
    assert second.returncode == 2
    assert str(tmp_path) in said.decode()
    first.terminate()
    await first.wait()
