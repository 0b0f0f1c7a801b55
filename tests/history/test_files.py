"""Histories on file: what is written is read again, and what is none is refused by its line."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.history.builders import (
    a_course,
    at_rest,
    claim,
    happened,
    instance,
    lines,
    pool,
    released,
)
from tests.history.events import Asked, Line, Told, read, wire, write
from tests.history.story import story

ROOT = Path(__file__).parents[2]


def checked(history: list[Line], folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m tests.history` on this history."""
    file = folder / "history.jsonl"
    with file.open("w") as out:
        write(history, out)
    command = [sys.executable, "-m", "tests.history", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_what_is_written_is_read_again() -> None:
    more = [
        Told("controller", "w", "https://i1.test", True),
        Asked("customer", None, "w"),
        released(),
    ]
    history = lines(*at_rest(), *more)
    file = io.StringIO()
    write(history, file)
    assert list(read(io.StringIO(file.getvalue()))) == history


def test_a_line_has_the_shape_that_programs_read() -> None:
    said = wire(lines(claim(phase="Pending"))[0])
    assert set(said) == {"t", "actor", "op", "claim", "key", "args", "result"}
    assert (said["op"], said["claim"], said["key"]) == ("wrote", "c1", None)


@pytest.mark.parametrize("text", ["{", "[]", '{"op": "dances"}', '{"op": "heard", "args": {}}'])
def test_what_is_no_line_is_refused_by_its_number(text: str) -> None:
    good = json.dumps(wire(lines(pool())[0]))
    with pytest.raises(ValueError, match="line 2"):
        list(read(io.StringIO(f"{good}\n{text}\n")))


def test_the_command_says_how_often_each_law_was_tested(tmp_path: Path) -> None:
    done = checked(lines(*at_rest()), tmp_path)
    assert done.returncode == 0
    assert "1 binds" in done.stdout
    assert "law_14_orphans_are_counted" in done.stdout


def test_the_command_tells_the_story_of_a_broken_law(tmp_path: Path) -> None:
    done = checked(lines(*a_course(), instance()), tmp_path)
    assert done.returncode == 1
    assert "claimRef of i1 changed" in done.stderr
    assert "agent of i1 hears" in done.stderr


def test_a_file_that_is_none_is_an_error_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.history", str(tmp_path / "nothing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2


def test_a_story_leaves_out_what_is_about_others() -> None:
    told = story(lines(*a_course(), instance("i9"), happened("calm")), ["c1"])
    assert "i1 is Idle" in told
    assert "calm" in told
    assert "i9" not in told
