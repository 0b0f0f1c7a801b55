"""Child processes that do not outlive us: each in a group of its own, gone when we are, kill -9 included."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

LOG_MAX_BYTES = 8 * 1024 * 1024
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GUARD = 'read -r _; kill -s "$1" "$2"; sleep 5; kill -s KILL -- "-$2"'


@dataclass(frozen=True, slots=True)
class User:
    """The account a child runs as, where it is not ours."""

    uid: int
    gid: int
    name: str


def as_user(user: User | None) -> dict[str, Any]:
    """The arguments of a subprocess that runs as that user, with that user's group alone."""
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}


class Child:
    """One running process, its group, and what ends it with us."""

    def __init__(
        self, process: asyncio.subprocess.Process, guard: asyncio.subprocess.Process | None
    ) -> None:
        self._process = process
        self._guard = guard

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        end_with: signal.Signals = signal.SIGTERM,
        user: User | None = None,
        cwd: Path | None = None,
        kernel_guards: bool | None = None,
    ) -> Self:
        """Start it, its output appended to `log`. When we die it gets `end_with`: from the kernel where
        that can be asked for (Linux), else from a shell that waits for the end of our pipe."""
        by_kernel = sys.platform == "linux" if kernel_guards is None else kernel_guards
        with open_log(log) as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_ask_kernel(end_with) if by_kernel else None,
                **as_user(user),
            )
        return cls(process, None if by_kernel else await _start_guard(process.pid, end_with))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code (negative: the signal), None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Its exit code, once it and its whole group are gone."""
        code = await self._process.wait()
        _kill_group(self.pid)
        if self._guard is not None and self._guard.returncode is None:
            self._guard.kill()
            await self._guard.wait()
        return code

    async def stop(self, *signals: signal.Signals, patience_s: float) -> int:
        """Send the signals one after the other, each with this much patience; at last KILL the group."""
        for sent in signals:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(sent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    return await self.wait()
        _kill_group(self.pid)
        return await self.wait()


def open_log(path: Path) -> BinaryIO:
    """The file for appending; what stood in it beyond the bound is set aside as `<name>.1` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bound_log(path)
    return path.open("ab")


def bound_log(path: Path) -> None:
    """Keep one earlier file of the same size. The writer goes on in the emptied one (it appends)."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


def _ask_kernel(end_with: signal.Signals) -> Callable[[], None]:
    """Runs in the child, after the change of user (which would undo it) and before exec."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(end_with), 0, 0, 0)
        if os.getppid() != parent:  # We died in between.
            os._exit(1)

    return ask


async def _start_guard(pid: int, end_with: signal.Signals) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _GUARD, "guard", end_with.name.removeprefix("SIG"), str(pid)),
        stdin=asyncio.subprocess.PIPE,  # Held by nobody but us: its end is our end.
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
