"""`up --records kubernetes`, as a stranger uses it: its lines pasted, restarts that change nothing."""

import asyncio
import os
from pathlib import Path

import psutil

from controller.local.binaries import Binaries
from tests.end_to_end.system import System

PROJECT = Path(__file__).parents[2]


async def pasted(lines: str, binaries: Binaries, home: Path) -> str:
    """What a shell in a checkout prints for these lines; the first that fails ends it."""
    path = f"{binaries.kubectl.parent}:{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-e"),
        cwd=PROJECT,
        env={"PATH": path, "HOME": str(home)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await shell.communicate(lines.encode())
    assert shell.returncode == 0, printed.decode()
    return printed.decode()


def printed_lines(system: System) -> str:
    """The lines to paste, from `export KUBECONFIG=` on."""
    said = system.output.decode()
    return said[said.index("export KUBECONFIG=") :].split("\n\n")[0] + "\n"


async def until_said(system: System, word: bytes) -> None:
    async with asyncio.timeout(20):
        while word not in system.output:
            await asyncio.sleep(0.05)


async def test_the_printed_lines_give_an_invite_and_a_restart_keeps_it(
    state: Path, binaries: Binaries
) -> None:
    home = state.parent
    system = System(state, POOL_RECORDS="kubernetes")
    await system.start()
    await until_said(system, b"Ctrl-C")
    lines = printed_lines(system)
    invite = (await pasted(lines, binaries, home)).splitlines()[-1]
    assert invite.startswith("https://")
    code, first = await system.claim("by-rest", Idempotency_Key="kept")
    assert code == 200
    await system.until(idle=3, claimed=2)
    export = lines.splitlines()[0]
    await pasted(f"{export}\nkubectl scale apool/default --replicas=4", binaries, home)
    await system.until(idle=4, claimed=2)

    before = {s["id"] for s in await system.services()}
    family = psutil.Process(system.run["pid"]).children(recursive=True)
    await system.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
    assert not alive
    await system.start()
    await until_said(system, b"Ctrl-C")
    assert (await pasted(printed_lines(system), binaries, home)).splitlines()[-1] == invite
    assert await system.claim("by-rest", Idempotency_Key="kept") == (200, first)
    await system.until(idle=4, claimed=2)
    assert {s["id"] for s in await system.services()} == before
    assert await system.stop() == 0
