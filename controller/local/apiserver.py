"""A Kubernetes API server of our own for one state folder: a real kube-apiserver over a real etcd.

All of core, RBAC, Pod Security, custom resources with their rules, tokens of service accounts. What only
controllers do is not done: no pod runs, a deleted namespace stays Terminating, nothing is garbage-collected.
The server listens on loopback with certificates of its own; etcd on sockets in a folder that only we can
enter. Both are gone when we are, kill -9 included, and nothing outside the state folder is touched.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp

from api.kubernetes.client import lines_of
from api.settings import SettingError
from controller.local.administrator import ASK_S, Administrator
from controller.local.binaries import ASSETS, Binaries
from controller.local.certificates import Certificates
from controller.local.children import Child
from controller.local.state import make_passable, port_problem

ETCD = "etcd"
SERVER = "kube-apiserver"
START_PATIENCE_S = 120.0  # 3 s where the machine has nothing else to do.
STOP_PATIENCE_S = 10.0
_LOOK_AGAIN_S = 0.05
_MEND = "choose another folder with --state"
_SOCKET, _HTTP_SOCKET, _PEER_SOCKET = "etcd.sock", "http.sock", "peer.sock"
_COMPLAINT = re.compile(r"^panic: |^Error: |^[EF]\d{4} |\t(fatal|panic|error)\t")  # Go, klog, zap.
# Relative to the folder that both run in: the whole path may be longer than a socket's may.
_ETCD_FLAGS = {
    "name": "agent-pool",
    "data-dir": "data",
    "listen-client-urls": f"unix://{_SOCKET}",
    "listen-client-http-urls": f"unix://{_HTTP_SOCKET}",
    "listen-peer-urls": f"unix://{_PEER_SOCKET}",
    # It has no peers, and its one client knows where it is; it wants to be told something.
    "advertise-client-urls": "http://127.0.0.1:1",
    "initial-advertise-peer-urls": "http://127.0.0.1:1",
    "initial-cluster": "agent-pool=http://127.0.0.1:1",
    "quota-backend-bytes": str(8 * 1024**3),
    "log-format": "console",
    "log-level": "warn",
}
_SERVER_FLAGS = {
    "etcd-servers": f"unix://{_SOCKET}",
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "permit-port-sharing": "true",  # With ourselves, who hold the port.
    "endpoint-reconciler-type": "none",
    "authorization-mode": "RBAC",
    "disable-admission-plugins": "ServiceAccount",  # Nobody makes one for each namespace.
    "service-cluster-ip-range": "10.0.0.0/24",
    "service-account-issuer": "https://kubernetes.default.svc",
}


class LocalApiServer(Administrator):
    """One server over `<state>/kubernetes`. `fsync` off, and `options` to kube-apiserver, are for tests;
    `tell` hears what a start waits for."""

    name = "kubernetes"

    def __init__(
        self,
        state: Path,
        binaries: Binaries,
        *,
        port: int = 0,
        fsync: bool = True,
        options: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        state = state.absolute()
        super().__init__(state / "kubernetes", state / "kubeconfig", binaries.kubectl, port)
        self._logs = state / "logs"
        self._binaries = binaries
        self._held: socket.socket | None = None
        self._etcd_flags = _ETCD_FLAGS | {"unsafe-no-fsync": str(not fsync).lower()}
        self._server_flags = {**_SERVER_FLAGS, **(options or {})}
        self._tell = tell
        self._children: dict[str, Child] = {}
        self._logged: dict[str, int] = {}  # How long its log was when it was started.

    @property
    def pids(self) -> dict[str, int]:
        """Of those of the two that run."""
        return {n: child.pid for n, child in self._children.items() if child.ended is None}

    # ---- its life

    async def start(self) -> str:
        """Start what of the two does not run, and wait until it serves; its URL. The first start makes
        certificates and data. Raises SettingError where it cannot run here."""
        self._prepare()
        self._children = {n: child for n, child in self._children.items() if child.ended is None}
        try:
            if not self._runs(ETCD):
                await self._start_etcd()
            if not self._runs(SERVER):
                await self._spawn(SERVER, self._binaries.kube_apiserver, self._flags_of_server())
            await self._until(SERVER, self._unready)
        except BaseException:
            await self.kill()
            raise
        return self.url

    async def wait(self) -> int:
        """The exit code of the first of the two that ends."""
        if not self._children:
            raise RuntimeError("not started")
        waits = [asyncio.create_task(child.wait()) for child in self._children.values()]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        return done.pop().result()

    async def stop(self) -> None:
        """In good order: what it was answering is answered, what was written is kept."""
        if self._runs(ETCD):
            self.resume_etcd()
        for name in (SERVER, ETCD):
            if self._runs(name):
                await self._children[name].stop(signal.SIGTERM, patience_s=STOP_PATIENCE_S)
        self._children.clear()
        if self._held is not None:
            self._held.close()
            self._held = None

    async def kill(self, *names: str) -> None:
        """kill -9 of ETCD, SERVER or both. The port stays ours, so that `start` finds it free."""
        for name in names or (SERVER, ETCD):
            if self._runs(name):
                await self._children[name].stop(signal.SIGKILL, patience_s=STOP_PATIENCE_S)

    def pause_etcd(self) -> None:
        """From now on the server answers what it has in its cache, and nothing else."""
        os.kill(self.pids[ETCD], signal.SIGSTOP)

    def resume_etcd(self) -> None:
        os.kill(self.pids[ETCD], signal.SIGCONT)

    async def compact(self) -> int:
        """Make etcd forget every state before now; the revision of now. A watch from an earlier version
        gets a 410, but as long as the server has it in its cache: until kill(SERVER) and start(), or at
        once with the option `watch-cache` false."""
        async with self.etcd() as etcd:
            async with etcd.post("/v3/kv/range", json={"key": "AA=="}) as answer:
                revision = int((await answer.json())["header"]["revision"])
            body = {"revision": revision, "physical": True}
            async with etcd.post("/v3/kv/compaction", json=body) as answer:
                answer.raise_for_status()
        return revision

    async def writes(self, below: str, since: int) -> AsyncIterator[tuple[int, str, bytes | None]]:
        """For ever each write to what etcd keeps below that key, from that revision on: its revision, the
        key, and what stands there now (None: nothing). Raises ValueError where a compaction was quicker."""
        first, last = (base64.b64encode(key.encode()).decode() for key in (below, f"{below}\x7f"))
        asked = {"key": first, "range_end": last, "start_revision": str(since)}
        body, for_ever = {"create_request": asked}, aiohttp.ClientTimeout(total=None)
        async with (
            self.etcd() as etcd,
            etcd.post("/v3/watch", json=body, timeout=for_ever) as answer,
        ):
            async for line in lines_of(answer.content):
                told = json.loads(line)["result"]
                if told.get("canceled"):
                    raise ValueError(f"etcd has forgotten what was written since {since}")
                for event in told.get("events", ()):
                    found = event["kv"]
                    deleted = event.get("type") == "DELETE"
                    value = None if deleted else base64.b64decode(found["value"])
                    key = base64.b64decode(found["key"]).decode()
                    yield int(found["mod_revision"]), key, value

    # ---- steps of a start

    @property
    def _etcd_home(self) -> Path:
        return self._home / ETCD

    def _runs(self, name: str) -> bool:
        return name in self.pids

    def _prepare(self) -> None:
        """Folders, certificates, a port that is ours, and the kubeconfig with it."""
        make_passable(self._home.parent)
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._etcd_home.mkdir(mode=0o700, exist_ok=True)
        Certificates.kept_in(self._home / "pki")
        if self._held is None:
            self._held = hold_port(self._port)
            self._port = self._held.getsockname()[1]
        self.write_kubeconfig()

    async def _start_etcd(self) -> None:
        for name in (_SOCKET, _HTTP_SOCKET, _PEER_SOCKET):
            (self._etcd_home / name).unlink(missing_ok=True)
        await self._spawn(ETCD, self._binaries.etcd, self._etcd_flags)
        await self._until(ETCD, self._etcd_unready)

    def _flags_of_server(self) -> Mapping[str, str]:
        certificate, key = self.certificates.server
        public, private = self.certificates.service_accounts
        return {
            **self._server_flags,
            "secure-port": str(self._port),
            "client-ca-file": str(self.ca),
            "tls-cert-file": str(certificate),
            "tls-private-key-file": str(key),
            "service-account-key-file": str(public),
            "service-account-signing-key-file": str(private),
        }

    async def _spawn(self, name: str, program: Path, flags: Mapping[str, str]) -> None:
        argv = [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]
        log = self._log(name)
        self._logged[name] = log.stat().st_size if log.exists() else 0
        try:
            self._children[name] = await Child.spawn(
                argv,
                env={"PATH": "/usr/bin:/bin", "TZ": "UTC"},  # Nothing of ours: no secret.
                log=log,
                end_with=signal.SIGKILL,  # What was written is on the disk, or with the kernel.
                cwd=self._etcd_home,
            )
        except OSError as error:
            problem = f"{program} does not run here ({os.strerror(error.errno or 0)})"
            raise SettingError(ASSETS, f"{problem}; unset it, and one that does is built") from None

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    async def _until(self, name: str, lacks: Callable[[], Awaitable[str]]) -> None:
        """Until nothing is lacking. Raises SettingError with the last line of who ended, or is late."""
        began = time.monotonic()
        while lack := await lacks():
            gone_s = time.monotonic() - began
            ended = next((n for n, child in self._children.items() if child.ended is not None), "")
            if ended or gone_s > START_PATIENCE_S:
                said = _complaint(self._log(ended or name), self._logged[ended or name]) or lack
                raise SettingError("--state", f"{ended or name} did not start ({said}); {_MEND}")
            self._tell(f"{name}: {gone_s:.0f} s")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _etcd_unready(self) -> str:
        try:
            async with self.etcd() as etcd, etcd.get("/health") as answer:
                return "" if answer.status == 200 else "not healthy yet"
        except (aiohttp.ClientError, OSError, TimeoutError):
            return "it does not answer yet"

    async def _unready(self) -> str:
        """What the server lacks; "" where it serves, and has the namespace that it makes for everybody."""
        try:
            async with self.http() as http:
                async with http.get("/readyz?verbose") as answer:
                    if answer.status != 200:
                        return _failing(await answer.text())
                async with http.get("/api/v1/namespaces/default") as answer:
                    return "" if answer.status == 200 else "it makes its namespaces"
        except (aiohttp.ClientError, OSError, TimeoutError):
            return "it does not answer yet"

    @contextlib.asynccontextmanager
    async def etcd(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Its HTTP gateway: what the server would not do, or not so fast."""
        with tempfile.TemporaryDirectory() as folder:  # For a path short enough for a socket.
            link = Path(folder) / "etcd"
            link.symlink_to(self._etcd_home)
            connector = aiohttp.UnixConnector(str(link / _HTTP_SOCKET))
            timeout = aiohttp.ClientTimeout(ASK_S)
            async with aiohttp.ClientSession(
                "http://etcd", connector=connector, timeout=timeout
            ) as http:
                yield http


def hold_port(port: int) -> socket.socket:
    """A port of loopback (0: any that is free), ours until the socket is closed, also while the server
    that shares it does not run. Raises SettingError where somebody has it."""
    if port and (problem := port_problem("127.0.0.1", port)):
        raise SettingError("--state", f"{problem}; kube-apiserver cannot listen there")
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held


def _complaint(log: Path, since: int) -> str:
    """The last line in which a program says what is wrong, else its last; without the stack below it."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return ([line for line in lines if _COMPLAINT.search(line)] or lines or [""])[-1]


def _failing(checks: str) -> str:
    """Which checks of /readyz fail."""
    names = [line[3:].split()[0] for line in checks.splitlines() if line.startswith("[-]")]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"not ready yet: {names[0]}{more}" if names else "not ready yet"
