"""Children: they do not outlive us, whoever kills us; their logs stay within their bound."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from controller.local import children
from controller.local.children import Child, open_log

PATIENCE_S = 15.0
# Starts a child that would run for minutes, says its number, and waits to be killed.
PARENT = """
import asyncio, sys
from pathlib import Path
from controller.local.children import Child

async def main():
    child = await Child.spawn(
        ["/bin/sleep", "300"], env={}, log=Path(sys.argv[1]), kernel_guards=sys.argv[2] == "kernel"
    )
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def runs(pid: int) -> bool:
    """Whether it does more than wait to be buried."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return sys.platform != "linux"


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while runs(pid):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("guard", ["kernel", "shell"] if sys.platform == "linux" else ["shell"])
async def test_a_child_ends_when_its_parent_is_killed_with_9(tmp_path: Path, guard: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "log"), guard),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert runs(pid)
    parent.kill()
    await parent.wait()
    await until_gone(pid)


@pytest.mark.parametrize("kernel_guards", [True, False])
async def test_its_whole_group_goes_with_it(tmp_path: Path, kernel_guards: bool) -> None:
    log = tmp_path / "log"
    child = await Child.spawn(
        ["/bin/sh", "-c", "sleep 300 & echo $!; wait"],
        env={"PATH": os.environ["PATH"]},
        log=log,
        kernel_guards=kernel_guards and sys.platform == "linux",
    )
    async with asyncio.timeout(PATIENCE_S):
        while not log.read_text():
            await asyncio.sleep(0.01)
    await child.stop(signal.SIGTERM, patience_s=PATIENCE_S)
    await until_gone(int(log.read_text()))


async def test_one_that_will_not_hear_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(300)"
    child = await Child.spawn([sys.executable, "-c", script], env={}, log=log)
    async with asyncio.timeout(PATIENCE_S):
        while not log.read_text():
            await asyncio.sleep(0.01)
    assert await child.stop(signal.SIGTERM, patience_s=0.1) == -signal.SIGKILL


async def test_it_reads_nothing_and_is_told_only_what_it_is_given(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = await Child.spawn(["/bin/sh", "-c", "cat; /usr/bin/env"], env={"A": "b"}, log=log)
    assert await child.wait() == 0
    said = dict(line.split("=", 1) for line in log.read_text().splitlines())
    assert said.pop("A") == "b"
    assert set(said) <= {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}  # The shell's own.


def test_a_log_beyond_its_bound_is_set_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "part.log"
    with open_log(log) as writer:
        writer.write(b"x" * (children.LOG_MAX_BYTES + 1))
        writer.flush()
        children.bound_log(log)
        writer.write(b"more")
    assert log.read_bytes() == b"more"
    assert log.with_name("part.log.1").stat().st_size == children.LOG_MAX_BYTES + 1
