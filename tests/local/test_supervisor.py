"""The supervisor: parts start in order, come back when they die, stop in reverse; the reason is told."""

import asyncio
import sys
from pathlib import Path

import pytest

from controller.local.supervisor import PartFailed, Program, Supervisor

PATIENCE_S = 15.0


class FakePart:
    """A part that dies when told to; what happens to it goes into `story`."""

    def __init__(self, name: str, story: list[str], refuses: int = 0) -> None:
        self.name = name
        self.refuses = refuses
        self.dies = asyncio.Event()
        self.runs = asyncio.Event()
        self._story = story

    async def start(self) -> None:
        if self.refuses and self._story:
            self.refuses -= 1
            raise PartFailed(self.name, 1, "not yet")
        self._story.append(f"{self.name} starts")
        self.dies.clear()
        self.runs.set()

    async def wait(self) -> int:
        await self.dies.wait()
        self.runs.clear()
        return 1

    async def stop(self) -> None:
        self._story.append(f"{self.name} stops")


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    story: list[str] = []
    supervisor = Supervisor(story.append)
    for name in ("a", "b"):
        await supervisor.start(FakePart(name, story))
    await supervisor.stop()
    assert story == ["a starts", "b starts", "b stops", "a stops"]


async def test_a_part_that_dies_is_started_again_and_a_person_is_told() -> None:
    story: list[str] = []
    said: list[str] = []
    supervisor = Supervisor(said.append)
    part = FakePart("a", story, refuses=1)
    await supervisor.start(part)
    await asyncio.sleep(0)
    part.runs.clear()
    part.dies.set()
    async with asyncio.timeout(PATIENCE_S):
        await part.runs.wait()
        await asyncio.sleep(0)
    await supervisor.stop()
    assert story == ["a starts", "a starts", "a stops"]
    assert said == [
        "a ended (exit code 1); it is started again in 0.2 s",
        "a does not start: not yet",
        "a ended (exit code 1); it is started again in 0.5 s",
        "a runs again",
    ]


async def test_one_that_cannot_be_stopped_does_not_keep_the_others_running() -> None:
    class Stubborn(FakePart):
        async def stop(self) -> None:
            raise OSError("no")

    story: list[str] = []
    said: list[str] = []
    supervisor = Supervisor(said.append)
    await supervisor.start(FakePart("a", story))
    await supervisor.start(Stubborn("b", story))
    await supervisor.stop()
    assert story[-1] == "a stops"
    assert said == ["b could not be stopped: no"]


async def never() -> bool:
    return False


def a_program(tmp_path: Path, script: str) -> Program:
    log = tmp_path / "p.log"
    return Program("p", [sys.executable, "-c", script], {}, log, never)


async def test_a_program_that_ends_before_it_is_ready_shows_its_last_line(tmp_path: Path) -> None:
    script = "import sys; print('noise', file=sys.stderr); sys.exit('agent-pool: PORT: is taken')"
    (tmp_path / "p.log").write_text("an older line\n")
    with pytest.raises(PartFailed) as caught:
        await a_program(tmp_path, script).start()
    assert (str(caught.value), caught.value.code) == ("PORT: is taken", 1)


async def test_one_that_says_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="p did not start") as caught:
        await a_program(tmp_path, "raise SystemExit(2)").start()
    assert caught.value.code == 2


async def test_a_program_runs_once_it_answers_and_stops_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "p.log"

    async def answers() -> bool:
        return "ready" in log.read_text()

    argv = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(300)"]
    program = Program("p", argv, {}, log, answers)
    await program.start()
    await program.stop()
    assert await program.wait() < 0
