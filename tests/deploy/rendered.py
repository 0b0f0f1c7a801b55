"""What kustomize and Helm make of `deploy/`, as objects that can be compared."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = DEPLOY / "kustomize" / "overlays"
CHART = DEPLOY / "helm" / "agent-pool"
NAMESPACE = "agent-pool"  # Of the overlays as they are shipped.
KUBERNETES = "1.36.0"  # What Helm takes the cluster for while it asks none.
Json = dict[str, Any]
Name = tuple[str, str]


class Refused(Exception):
    """A program said no; its text says why."""


async def run(
    *argv: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None
) -> str:
    """What the program prints. Raises Refused with what it says on stderr."""
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate(None if stdin is None else stdin.encode())
    if process.returncode != 0:
        raise Refused(said.decode(errors="replace").strip())
    return out.decode()


def objects(text: str) -> list[Json]:
    return [each for each in yaml.safe_load_all(text) if each]


def by_name(things: Iterable[Json]) -> dict[Name, Json]:
    """Each by kind and name; no two may have the same."""
    listed = [((each["kind"], each["metadata"]["name"]), each) for each in things]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


@dataclass(frozen=True)
class Kustomize:
    """kustomize as it is in kubectl."""

    kubectl: Path

    async def text(self, folder: Path) -> str:
        return await run(self.kubectl, "kustomize", folder)

    async def overlay(self, name: str) -> dict[Name, Json]:
        """An overlay as it is shipped."""
        return by_name(objects(await self.text(OVERLAYS / name)))

    async def elsewhere(self, folder: Path, namespace: str, overlay: str, *components: str) -> str:
        """An overlay of a user's own over a shipped one, in that folder."""
        above = Path(os.path.relpath(DEPLOY / "kustomize", folder.resolve()))
        own = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [str(above / "overlays" / overlay)],
            "components": [str(above / "components" / name) for name in components],
            "images": [{"name": "agent-pool", "newName": "mine/agent-pool", "newTag": "7"}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
        return await self.text(folder)


@dataclass(frozen=True)
class Helm:
    """Helm 3; `home` is where it keeps what it likes to keep."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    async def __call__(self, *words: str | Path) -> str:
        env = {
            f"HELM_{part}_HOME": str(self.home / part) for part in ("CACHE", "CONFIG", "DATA")
        } | {"KUBECONFIG": str(self.kubeconfig or self.home / "no cluster")}
        return await run(self.program, *words, env=env)

    async def text(self, *words: str, namespace: str = NAMESPACE) -> str:
        """What the chart makes of these values, without any cluster."""
        asked = ("template", "agent-pool", CHART, "-n", namespace, "--kube-version", KUBERNETES)
        return await self(*asked, *words)

    async def chart(self, *words: str) -> dict[Name, Json]:
        return by_name(objects(await self.text(*words)))
