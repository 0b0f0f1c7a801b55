"""A few seeds of storm, then calm; the hundreds and thousands are `make storm`'s, and of `make test`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from api.records.memory import Shape
from tests.history.checker import judge
from tests.history.events import Said, read, write
from tests.storm.fate import Mute
from tests.storm.simulation import Simulation, simulate
from tests.storm.weather import HANDOVER_TIMEOUT_S

ROOT = Path(__file__).parents[2]
SEEDS = 24
FIRST = 1_000_000 - SEEDS // 2  # Others than those of `make storm`; half of them crowded.


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_the_laws_hold_in_every_storm(seed: int) -> None:
    assert simulate(seed).met["law_12_every_pool_is_full"] <= 2


@pytest.mark.parametrize("shape", Shape)
def test_the_same_seed_gives_the_same_history(shape: Shape) -> None:
    first, again, other = (simulate(seed, shape).digest for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_another_process_sees_the_same_history() -> None:
    command = [sys.executable, "-m", "tests.storm", "--seed", "7", "--shape", "TWO"]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != ""


@pytest.mark.parametrize("shape", Shape)
def test_a_history_on_file_is_judged_as_it_was_while_it_happened(
    shape: Shape, tmp_path: Path
) -> None:
    simulation = Simulation(3, shape)
    met = dict(simulation.run().met)
    lines = [e for e in simulation.stage.witness.lines if not isinstance(e.event, Said)]
    with (tmp_path / "history.jsonl").open("w") as file:
        write(lines, file)
    with (tmp_path / "history.jsonl").open() as file:
        again = judge(read(file), HANDOVER_TIMEOUT_S)
    met.pop("law_10_no_secret_is_told")  # Of texts, which stand in no file.
    assert dict(again.met) == met


def test_what_is_muted_does_not_happen() -> None:
    calm = Simulation(5, Shape.ONE, Mute(beyond=1))
    result = calm.run()
    assert calm.fate.happened == []
    assert result.counts["crashes"] == result.counts["claims"] == 0


def test_the_command_writes_its_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.storm", "--seed", "2000000", "--count", "4"]
    environ = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)
    said = json.loads((tmp_path / "build/storm.json").read_text())
    assert said["schema"] == 1
    assert (said["seeds"], said["violations"]) == (4, 0)
    assert said["claims"] >= said["binds"] > 0
