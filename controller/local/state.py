"""The state folder: who runs there, what programs need to find it, and its key. One `up` at a time."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from api.settings import SettingError

DEFAULT_STATE = Path(".state")


class AlreadyRunning(Exception):
    """Another `up` holds this folder."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"already running (pid {pid or 'unknown'}); `agent-pool down` stops it")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Running:
    """`run.json`: what is running, for programs that want to talk to it."""

    api: str  # http://127.0.0.1:3001
    ops: dict[str, str]  # By process: its port without auth.
    simulator: str | None
    database_url: str = field(repr=False)
    pid: int
    version: str
    kubeconfig: str = ""  # Where the records are on Kubernetes: then there is no database_url.

    def wire(self) -> dict[str, Any]:
        data = asdict(self)
        data["databaseUrl"] = data.pop("database_url")
        return data


class StateFolder:
    """Paths and small files of one installation on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.run_file = self.folder / "run.json"
        self.key_file = self.folder / "api-key"
        self.lock_file = self.folder / "lock"
        self.logs = self.folder / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make the folder where it is missing. Raises SettingError where that is not allowed."""
        try:
            make_passable(self.folder)
        except OSError as error:
            problem = f"{self.folder} cannot be made ({os.strerror(error.errno or 0)})"
            raise SettingError("--state", f"{problem}; choose another folder") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only `up` here; the kernel frees the lock however we end. Raises AlreadyRunning."""
        with open(os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644), "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(_number(file.read())) from None
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def holder(self) -> int | None:
        """The pid of the `up` that runs here, None where none does."""
        if not self.lock_file.exists():
            return None
        with self.lock_file.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _number(file.read())
        return None

    def api_key(self) -> str:
        """The key made for this folder, at random, the first time it is asked for."""
        if not self.key_file.exists():
            write_private(self.key_file, f"pool_{secrets.token_urlsafe(24)}\n")
        return self.key_file.read_text().strip()

    def write_running(self, running: Running) -> None:
        write_private(self.run_file, json.dumps(running.wire(), indent=2) + "\n")

    def read_running(self) -> Running | None:
        try:
            data = json.loads(self.run_file.read_text())
            return Running(database_url=data.pop("databaseUrl"), **data)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget_running(self) -> None:
        self.run_file.unlink(missing_ok=True)


def make_passable(folder: Path) -> None:
    """Make a folder and its missing parents such that others may pass, whatever the umask; those that
    are there already stay as they are."""
    if not folder.is_dir():
        make_passable(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, mode 0600 from its first byte."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


def free_port() -> int:
    """A TCP port of loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_problem(host: str, port: int) -> str | None:
    """Why nobody can listen there now; None where one can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} is taken on {host}"
            return f"cannot listen on {host} port {port} ({error.strerror})"
    return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
