"""A storm on Kubernetes: a real API server; two controllers and two sidecars as they are deployed, by the
shipped roles, each with a token and a line to the server of its own."""

import asyncio
import base64
import contextlib
import json
import random
import secrets
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from api.conditions import is_true
from api.kubernetes.client import Api
from api.kubernetes.config import from_kubeconfig
from api.records import RecordsError
from api.records.kubernetes_leases import SECRET
from api.records.kubernetes_objects import path_of
from api.types import API_VERSION, AgentInstance, AgentPool, ClaimPhase, InstancePhase
from controller.local.administrator import ServerRefused
from controller.local.apiserver import ETCD, SERVER, LocalApiServer
from controller.local.binaries import kubernetes_binaries
from controller.local.plan import environment_of
from controller.local.progress import Progress
from tests.deploy.rendered import DEPLOY, NAMESPACE, OVERLAYS, Kustomize
from tests.deploy.running import Deployed
from tests.end_to_end.storm.kubernetes_history import History
from tests.end_to_end.storm.kubernetes_trouble import FULL, OURS, Trouble, Troubles
from tests.end_to_end.storm.stage import (
    AGAIN_AFTER_S,
    SIMULATOR,
    Kept,
    Stage,
    Tell,
    Write,
    railway_settings,
)
from tests.end_to_end.system import START_WITHIN_S, free_ports
from tests.sockets import Line

REJECTED_WITHIN_S = 90.0  # The server remembers for ten seconds whom it knew.
OVER = (InstancePhase.RETIRING, InstancePhase.GONE)
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
EVENTS = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
PORTS = ("PORT", "API_OPS_PORT", "CONTROLLER_OPS_PORT")


class KubernetesStage(Stage):
    """Deployments without a kubelet: whoever ends is started again."""

    records = "kubernetes"
    parts = (*OURS, "simulator", SERVER, ETCD)
    outside = (OSError, aiohttp.ClientError, RecordsError, ServerRefused, KeyError)

    def __init__(
        self, state: Path, trouble: Trouble = FULL, ours: Sequence[str] = OURS, **variables: str
    ) -> None:
        """`ours`: which of our processes it has."""
        super().__init__(state, **variables)
        self._ours = ours
        self.deck = trouble.deck
        self.stops = {**Stage.stops, ETCD: (trouble.etcd_s, trouble.etcd_s)}
        self._outage_s = trouble.server_s
        more = zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)
        self._second = {**self.environ, **dict(more)}  # What the second ones are told.
        self._kept: dict[str, Kept] = {}
        self.lines_of: dict[str, Line] = {}
        self._bound_to: dict[str, str] = {}  # The Secret that the token of each is bound to.

    # ---------------------------------------------------------------- its life

    async def start(self) -> None:
        """Until everything is installed, the pool is there and what sidecars it has serve."""
        self.logs.mkdir(parents=True)
        binaries = await kubernetes_binaries(Progress(sys.stderr))
        audit = self.state / "audit"
        options = History.options(audit)
        self.server = LocalApiServer(self.state, binaries, fsync=False, options=options)
        await self.server.start()
        self.history = History(self.server, audit, NAMESPACE)
        self._following = asyncio.create_task(self.history.follow())
        self.troubles = Troubles(self.server, self.lines_of, self._outage_s, self._rotate)
        self.admin = Api(from_kubeconfig(self.server.kubeconfig))
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        await self._install(Kustomize(binaries.kubectl))
        await self._simulate()
        for part in self._ours:
            await self._run(part)
        async with asyncio.timeout(START_WITHIN_S):
            while not (self.history.pools and await self._serve()):
                await asyncio.sleep(0.1)

    async def stop(self) -> int:
        """Whatever of it runs."""
        await self.troubles.stop()
        await asyncio.gather(*(kept.stop() for kept in self._kept.values()))
        await asyncio.gather(*(line.cut() for line in self.lines_of.values()))
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.admin.close()
        if self._http is not None:
            await self._http.close()
        await self.server.stop()
        return 0

    async def _install(self, kustomize: Kustomize) -> None:
        await self.server.apply(DEPLOY.parent / "crds")
        text = await kustomize.text(OVERLAYS / "namespace")
        words = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        await self.server.kubectl(*words, stdin=text)
        self._secret = secrets.token_hex(32)
        await self._make_secret(SECRET, {"ownerId": "a-storm", "instanceSecret": self._secret})
        self._objects = await kustomize.overlay("namespace")

    async def _make_secret(self, name: str, data: Mapping[str, str]) -> None:
        await self.server.ask(
            "POST", SECRETS, {"metadata": {"name": name}, "stringData": dict(data)}
        )

    async def _simulate(self) -> None:
        told = self.environ
        ports = ("--port", told["SIMULATOR_PORT"], "--agent-port", told["SIMULATOR_AGENT_PORT"])
        words = ("simulator", "--state", str(self.state), *ports, *SIMULATOR)
        await self._keep("simulator", words, environment_of("simulator", told))
        async with asyncio.timeout(START_WITHIN_S):
            while not (self.state / "simulator.json").exists():
                await asyncio.sleep(0.05)

    async def _run(self, part: str) -> None:
        """As its Deployment has it, but for the addresses."""
        self.lines_of[part] = line = Line(int(self.server.url.rsplit(":", 1)[1]))
        await line.mend()
        kind = part.removesuffix("-2")
        told = environment_of(kind, self.environ if part == kind else self._second)
        deployed = Deployed.of(self._objects, f"agent-pool-{kind}")
        env = deployed.env | told | {"POOL_NAMESPACE": NAMESPACE, "HOST": "127.0.0.1"}
        env["KUBECONFIG"] = str(await self._login(part))
        if kind == "controller":
            env |= railway_settings(json.loads((self.state / "simulator.json").read_text()))
        await self._keep(part, deployed.args, env)

    async def _keep(self, name: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        argv = (sys.executable, "-m", "controller.cli", *words)
        self._kept[name] = Kept(argv, env, self.logs / f"{name}.log")
        await self._kept[name].start()

    async def _serve(self) -> bool:
        assert self._http is not None
        with contextlib.suppress(aiohttp.ClientError):
            for url in self.sidecars if "api" in self._ours else ():
                async with self._http.get(f"{url}/healthz") as answer:
                    answer.raise_for_status()
            return True
        return False

    def port(self, part: str, name: str) -> str:
        """What that one of our processes was told as that variable."""
        return (self._second if part.endswith("-2") else self.environ)[name]

    @property
    def run(self) -> dict[str, Any]:
        return {"api": self.sidecars[0]}

    @property
    def sidecars(self) -> tuple[str, str]:
        first, second = (f"http://127.0.0.1:{self.port(part, 'PORT')}" for part in ("api", "api-2"))
        return first, second

    # ---------------------------------------------------------------- what befalls it

    def family(self, part: str) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            if part in self._kept:
                return self._kept[part].running
            if pid := self.server.pids.get(part):
                return [psutil.Process(pid)]
        return []

    async def befall(self, what: str, whom: str, rng: random.Random, tell: Tell) -> None:
        self.troubles.begin(what, whom, rng, tell)

    async def until_reachable(self) -> None:
        await self.troubles.calm()
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                try:
                    await self.server.ask("GET", "/version")
                    return
                except self.outside:
                    await asyncio.sleep(AGAIN_AFTER_S)

    async def _login(self, part: str) -> Path:
        """Its kubeconfig, with a new token that ends with a Secret of its own."""
        bound_to = f"token-{part}-{secrets.token_hex(4)}"
        await self._make_secret(bound_to, {})
        account, port = f"agent-pool-{part.removesuffix('-2')}", self.lines_of[part].port
        path = await self.server.kubeconfig_of(
            NAMESPACE, account, called=part, port=port, bound_to=bound_to
        )
        self._bound_to[part] = bound_to
        token = from_kubeconfig(path).token()
        self.history.whose[_id_of(token)] = part.replace("api", "sidecar")
        return path

    async def _rotate(self, part: str, tell: Tell) -> Coroutine[Any, Any, None]:
        """Its file holds another token, and the old one ends."""
        old = self._bound_to[part]
        before = from_kubeconfig(self.server.user_file(part)).token()
        await self._login(part)
        tell(part, "gets a new token")
        await self.server.ask("DELETE", f"{SECRETS}/{old}")
        return self._until_rejected(part, before, tell)

    async def _until_rejected(self, part: str, token: str, tell: Tell) -> None:
        """The server answers 401 to it."""
        async with asyncio.timeout(REJECTED_WITHIN_S):
            while await self._knows(token):
                await asyncio.sleep(0.5)
        tell(part, "has its old token rejected")

    async def _knows(self, token: str) -> bool:
        """Whether the server takes this token."""
        tls = from_kubeconfig(self.server.user_file("api")).tls
        headers = {"Authorization": f"Bearer {token}"}
        assert self._http is not None
        url, nobody = f"{self.server.url}{WHO_AM_I}", {"kind": "SelfSubjectReview"}
        try:
            async with self._http.post(url, json=nobody, headers=headers, ssl=tls) as answer:
                return answer.status != 401
        except (aiohttp.ClientError, TimeoutError):
            return True  # Etcd is stopped just now.

    # ---------------------------------------------------------------- by hand

    async def set_up(self, min_idle: int, policy: str) -> None:
        """However long the storm lasts on a busy machine, no claim is given up meanwhile."""
        times = {"provisionTimeout": "20s", "claimTimeout": "1h"}
        await self._patch_pool({"minIdle": min_idle, "reclaimPolicy": policy, **times})

    async def resize(self, min_idle: int) -> None:
        await self._patch_pool({"minIdle": min_idle})

    async def change_image(self, image: str) -> None:
        await self._patch_pool({"template": {"source": {"image": image}}})

    async def _patch_pool(self, spec: Mapping[str, Any]) -> None:
        await self.admin.merge(path_of("agentpools", NAMESPACE, "default"), {"spec": dict(spec)})

    async def claim_by_hand(self, name: str, instructions: str, policy: str) -> None:
        spec = {
            "poolRef": {"name": "default"},
            "agentId": name,
            "instructions": instructions,
            "reclaimPolicy": policy,
            "onEmpty": "Wait",
        }
        body = {"apiVersion": API_VERSION, "kind": "AgentClaim", "metadata": {"name": name}}
        await self.admin.create(path_of("agentclaims", NAMESPACE), {**body, "spec": spec})

    async def release_by_hand(self, name: str) -> None:
        path = path_of("agentclaims", NAMESPACE, name)
        await self.server.ask("DELETE", path)

    async def some_service(self, rng: random.Random, *, idle: bool) -> str | None:
        found = [
            instance.status.service_id
            for instance in self.history.instances.values()
            if instance.status.service_id and instance.status.phase not in OVER
            if not idle or _is_offered(instance)
        ]
        return rng.choice(found) if found else None

    # ---------------------------------------------------------------- records

    async def moves(self) -> str:
        open_claims = [
            f"{name} {claim.status.phase}"
            for name, claim in self.history.claims.items()
            if claim.status.phase in (ClaimPhase.PENDING, ClaimPhase.BOUND)
        ]
        moving = [
            f"{name} {instance.status.phase}"
            for name, instance in self.history.instances.items()
            if instance.status.phase is InstancePhase.RETIRING
            or (instance.status.phase is InstancePhase.PROVISIONING and not instance.status.barred)
        ]
        pools = [f"{name} {why}" for name, p in self.history.pools.items() if (why := _lacks(p))]
        counts = {"open claims": len(open_claims), "moving": len(moving)}
        told = [f"{count} {name}" for name, count in counts.items() if count]
        return ", ".join([*told, *pools, *(open_claims + moving)[:6]])

    async def last_write(self) -> float:
        return self.history.last_write

    async def served(self) -> set[str]:
        instances = self.history.instances.values()
        there = (i.status.service_id for i in instances if i.status.phase is not InstancePhase.GONE)
        return {service for service in there if service}

    async def instance_secret(self) -> bytes:
        return self._secret.encode()

    async def writes(self) -> Iterator[Write]:
        if self._following.done():
            self._following.result()  # Raises what it died of: a history with a gap proves nothing.
        return self.history.writes()

    async def events(self) -> str:
        found, _ = await self.admin.list(EVENTS)
        return "\n".join(f"{event['reason']} {event.get('note', '')}" for event in found)


def _is_offered(instance: AgentInstance) -> bool:
    return instance.status.phase is InstancePhase.IDLE and instance.spec.claim_ref is None


def _lacks(pool: AgentPool) -> str:
    """Why its status may not stay like this."""
    spec, status = pool.spec, pool.status
    if status.observed_generation != pool.metadata.generation:
        return "is of an older generation"
    excused = any(is_true(status.conditions, kind) for kind in ("Stalled", "AtCapacity"))
    if status.idle < spec.min_idle and not spec.paused and not excused:
        return f"has {status.idle} of {spec.min_idle} idle"
    return ""


def _id_of(token: str) -> str:
    """The id that the audit calls this token by."""
    middle = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))["jti"])
