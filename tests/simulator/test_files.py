"""What outlives the process: whole lines after a kill, the world as it was, evidence that agrees with it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from controller.railway.simulator.agent import Call
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.files import InUse, StateFiles
from controller.railway.simulator.habits import AT_ONCE
from controller.railway.simulator.house import AgentHouse
from controller.railway.simulator.state import Thing, write
from controller.railway.simulator.world import World
from tests.simulator.builders import AGENT, TOKENS, Clock


class Life:
    """One life of the simulator over a state folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.files = StateFiles(folder)
        rng = random.Random(self.files.n)
        self.world = World(self.clock, rng, pace=AT_ONCE)
        self.writer = Writer(self.world, self.files)
        self.world.restore(self.files.things)
        if not self.world.projects:
            self.world.found(TOKENS)
        self.writer.commit()

    def make(self, name: str) -> str:
        """A service with a domain; its host."""
        environment = next(iter(self.world.environments.values()))
        place = (environment.project_id, environment.id)
        service = self.world.create_service(*place, name, {"image": "i"}, AGENT)
        host = self.world.create_domain(service.id, environment.id).host
        self.writer.commit("r1", "ServiceCreate")
        return host

    def shape(self) -> list[dict[str, Any]]:
        world = self.world
        held: list[Thing] = [
            *world.projects.values(),
            *world.environments.values(),
            *world.tokens.values(),
        ]
        held += [*world.services.values(), *world.instances.values()]
        return [write(one) for one in held]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def created(folder: Path) -> list[str]:
    return [x["name"] for x in lines(folder, "journal.jsonl") if x["effect"] == "serviceCreate"]


async def test_after_a_restart_everything_is_as_it_was(tmp_path: Path) -> None:
    one = Life(tmp_path)
    host = one.make("a")
    one.make("b")
    house = AgentHouse(one.world, one.writer, one.clock.sleep)
    found = one.world.at(host)
    assert found is not None
    service, instance, _ = found
    body = b'{"instructions": "x"}'
    answer = await house.handle(host, Call("POST", "/pool/provision", "Bearer key", body))
    one.world.rename_service(service.id, "c")
    one.writer.commit()
    shape = one.shape()
    one.files.close()
    two = Life(tmp_path)
    assert two.shape() == shape
    process = two.world.instances[(service.id, instance.environment_id)].deployments[0].process
    assert process.conversation_id == answer.said["conversationId"]
    assert len(two.files.heard) == 2


def test_what_was_deleted_stays_deleted(tmp_path: Path) -> None:
    one = Life(tmp_path)
    host = one.make("a")
    found = one.world.at(host)
    assert found is not None
    one.world.delete_service(found[0].id)
    one.writer.commit()
    one.files.close()
    two = Life(tmp_path)
    assert (two.world.services, two.world.instances) == ({}, {})


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_last_line_that_is_cut_off_counts_as_never_written(tmp_path: Path, cut: int) -> None:
    one = Life(tmp_path)
    one.make("a")
    shape = one.shape()
    one.make("b")
    one.files.close()
    for name in ("world.jsonl", "journal.jsonl"):
        whole = (tmp_path / name).read_bytes()
        start = whole.rstrip(b"\n").rfind(b"\n") + 1
        (tmp_path / name).write_bytes(whole[: max(start, len(whole) - cut)])
    two = Life(tmp_path)
    assert [thing for thing in two.shape() if thing not in shape] == []
    assert created(tmp_path) in (["a"], ["a", "b"])
    two.make("b2")
    two.files.close()
    assert Life(tmp_path).world.services.keys() == two.world.services.keys()


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 4])
def test_a_kill_between_the_two_files_loses_no_line_and_doubles_none(
    tmp_path: Path, lost: int
) -> None:
    one = Life(tmp_path)
    one.make("a")
    one.make("b")
    one.files.close()
    whole = lines(tmp_path, "journal.jsonl")
    kept = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(kept[: len(kept) - lost]))
    Life(tmp_path).files.close()
    assert lines(tmp_path, "journal.jsonl") == whole


def test_the_world_is_written_anew_at_a_start_and_holds_only_what_is(tmp_path: Path) -> None:
    one = Life(tmp_path)
    for n in range(20):
        one.make(f"s{n}")
    one.files.close()
    Life(tmp_path).files.close()
    assert len(lines(tmp_path, "world.jsonl")) == 1
    assert len(Life(tmp_path).world.services) == 20


def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    one = Life(tmp_path)
    with pytest.raises(InUse, match=str(tmp_path)):
        Life(tmp_path)
    one.files.close()


def test_only_its_owner_may_read_and_values_stand_only_in_the_world(tmp_path: Path) -> None:
    one = Life(tmp_path / "state")
    one.make("a")
    one.files.close()
    folder = tmp_path / "state"
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert AGENT["ANTHROPIC_API_KEY"] not in (folder / "journal.jsonl").read_text()
