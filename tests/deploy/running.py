"""The two processes as the shipped Deployments run them: their arguments, variables and service accounts.

What a kubelet would add is added here: a kubeconfig with the account's token for the mounted one, ports of
our own, the values of the Secrets. Railway is the simulator.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp

from api.records.kubernetes_leases import SECRET
from controller.local.apiserver import LocalApiServer
from controller.local.children import Child
from tests.deploy.rendered import (
    DEPLOY,
    NAMESPACE,
    OVERLAYS,
    Json,
    Kustomize,
    Name,
    by_name,
    objects,
)
from tests.end_to_end.system import free_ports

API_KEY = "key-of-the-api-for-these-tests"
START_WITHIN_S = 60.0
GRACE_S = 30.0  # terminationGracePeriodSeconds


@dataclass(frozen=True)
class Deployed:
    """What the container of a Deployment is started with: its arguments, variables and service account."""

    account: str
    args: Sequence[str]
    env: dict[str, str]

    @classmethod
    def of(cls, objects: Mapping[Name, Json], name: str) -> Self:
        spec = objects["Deployment", name]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        env = {each["name"]: each.get("value", NAMESPACE) for each in container["env"]}
        return cls(spec["serviceAccountName"], container["args"], env)


async def install(server: LocalApiServer, kustomize: Kustomize, overlay: str) -> dict[Name, Json]:
    """That overlay as it is shipped, and the installation's Secret; what was applied."""
    await server.apply(DEPLOY.parent / "crds")
    text = await kustomize.text(OVERLAYS / overlay)
    await server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    words = ("--from-literal=ownerId=tests", f"--from-literal=instanceSecret={'x' * 64}")
    await server.kubectl("create", "secret", "generic", SECRET, "-n", NAMESPACE, *words)
    return by_name(objects(text))


async def as_deployed(
    server: LocalApiServer, applied: Mapping[Name, Json], name: str
) -> tuple[Sequence[str], dict[str, str]]:
    """Arguments and variables of that Deployment's container, as its service account."""
    deployed = Deployed.of(applied, name)
    account = await server.kubeconfig_of(NAMESPACE, deployed.account)
    return deployed.args, deployed.env | {"KUBECONFIG": str(account)}


@dataclass
class Running:
    """Simulator, controller and sidecar of one installation; `objects` are what was applied."""

    server: LocalApiServer
    objects: Mapping[Name, Json]
    folder: Path
    children: dict[str, Child] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    railway: dict[str, str] = field(default_factory=dict)  # The controller's variables.

    async def start(self) -> None:
        """Until both are ready to serve."""
        await self.start_railway()
        await self.start_pods()

    async def start_railway(self) -> None:
        names = ("PORT", "API_OPS_PORT", "CONTROLLER_OPS_PORT", "SIMULATOR", "AGENTS")
        self.ports = {n: str(p) for n, p in zip(names, free_ports(len(names)), strict=True)}
        told = await self._simulator()
        self.railway = {
            "RAILWAY_API_TOKEN": told["token"],
            "RAILWAY_PROJECT_ID": told["projectId"],
            "RAILWAY_ENVIRONMENT_ID": told["environmentId"],
            "RAILWAY_ENDPOINT": told["endpoint"],
            "AGENT_SCHEME": told["agentScheme"],
            "INSTANCE_ANTHROPIC_API_KEY": "key-of-a-model",
        }

    async def start_pods(self) -> None:
        await self.start_controller()
        await self._process("agent-pool-api", {"POOL_API_KEY": API_KEY}, "PORT", "API_OPS_PORT")

    async def start_controller(self) -> None:
        await self._process("agent-pool-controller", self.railway, "CONTROLLER_OPS_PORT")

    async def stop(self) -> dict[str, int]:
        """As the kubelet does: SIGTERM, and SIGKILL after the grace period; their exit codes."""
        codes = {}
        for name, child in reversed(self.children.items()):
            await child.stop(signal.SIGTERM, patience_s=GRACE_S)
            codes[name] = await child.wait()
        return codes

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    async def _simulator(self) -> Json:
        state = self.folder / "simulator"
        words = ["simulator", "--state", str(state), "--pace", "at-once"]
        words += ["--port", self.ports["SIMULATOR"], "--agent-port", self.ports["AGENTS"]]
        await self._spawn("simulator", words, {})
        told = state / "simulator.json"
        async with asyncio.timeout(START_WITHIN_S):
            while not told.exists():
                await asyncio.sleep(0.05)
        found: Json = json.loads(told.read_text())
        return found

    async def _process(self, name: str, secrets: Mapping[str, str], *ports: str) -> None:
        words, env = await as_deployed(self.server, self.objects, name)
        await self.begin(name, words, env | dict(secrets), *ports)

    async def begin(
        self, name: str, words: Sequence[str], env: Mapping[str, str], *ports: str
    ) -> None:
        """That process, until it is ready on the last of these ports."""
        await self._spawn(name, words, {**env, **{p: self.ports[p] for p in ports}})
        async with asyncio.timeout(START_WITHIN_S):
            await self._until_ready(name, self.url(ports[-1]) + "/readyz")

    async def end(self, name: str) -> None:
        await self.children.pop(name).stop(signal.SIGTERM, patience_s=GRACE_S)

    async def _spawn(self, name: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        kept = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
        argv = [sys.executable, "-m", "controller.cli", *words]
        log = self.folder / f"{name}.log"
        self.children[name] = await Child.spawn(argv, env=kept | dict(env), log=log)

    async def _until_ready(self, name: str, url: str) -> None:
        async with aiohttp.ClientSession() as http:
            while self.children[name].ended is None:
                try:
                    async with http.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        raise AssertionError(f"{name} ended:\n{self.log(name)}")
