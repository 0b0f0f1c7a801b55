"""The shipped roles on a real server, in a namespace of their own, with one of each kind to do deeds on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api.records.kubernetes_leases import SECRET
from api.types import AgentClaim, AgentInstance, AgentPool
from controller.local.apiserver import LocalApiServer
from tests.builders import a_claim, a_pool, an_instance
from tests.cluster import make_namespace
from tests.deploy.deeds import Deed, Somebody
from tests.deploy.rendered import Json, Kustomize

POOLS, CLAIMS, INSTANCES = "agentpools", "agentclaims", "agentinstances"
LEASES, EVENTS = "coordination.k8s.io", "events.k8s.io"
SOMEBODYS = "of-somebody"  # A Secret that is no affair of ours.
_KINDS: dict[str, Callable[..., AgentPool | AgentClaim | AgentInstance]] = {
    POOLS: a_pool,
    CLAIMS: a_claim,
    INSTANCES: an_instance,
}


@dataclass(frozen=True)
class Installed:
    """One installation. In both namespaces of `namespaces` stands the same; only `own` is its."""

    server: LocalApiServer
    namespaces: dict[str, str]

    async def somebody(self, account: str) -> Somebody:
        """Who acts with a token of that service account."""
        kubeconfig = await self.server.kubeconfig_of(self.namespaces["own"], account)
        return Somebody(self.server, kubeconfig, self.namespaces)

    async def kubectl(self, *words: str) -> str:
        """As the administrator, in its own namespace."""
        return await self.server.kubectl(*words, f"--namespace={self.namespaces['own']}")

    async def body(self, deed: Deed) -> Json | None:
        """Something that the server takes for that deed, if it is allowed."""
        if deed.verb == "create":
            return _made(deed.resource, "another", self.namespaces["own"])
        if deed.verb == "update":
            return await self.server.ask("GET", deed.path(self.namespaces))
        return {"metadata": {"labels": {"a": "b"}}} if deed.verb == "patch" else None


async def install(
    server: LocalApiServer, kustomize: Kustomize, folder: Path, overlay: str
) -> Installed:
    """That overlay, as it is shipped but for the name of its namespace, which is new."""
    own, other = await make_namespace(server), await make_namespace(server)
    text = await kustomize.elsewhere(folder, own, overlay)
    await server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    await server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    for namespace in (own, other):
        await _furnish(server, {"own": namespace})
    return Installed(server, {"own": own, "other": other})


async def _furnish(server: LocalApiServer, where: dict[str, str]) -> None:
    """One of each kind, called `it`, and two secrets."""
    groups = {"leases": LEASES, "events": EVENTS}
    for resource in (*_KINDS, "leases", "events"):
        deed = Deed("create", resource, groups.get(resource, "pool.convos.org"))
        await server.ask("POST", deed.path(where), _made(resource, "it", where["own"]))
    for name in (SECRET, SOMEBODYS):
        secret = {"metadata": {"name": name}, "stringData": {"key": "value"}}
        await server.ask("POST", Deed("create", "secrets", "").path(where), secret)


def _made(resource: str, name: str, namespace: str) -> Json:
    meta = {"metadata": {"name": name}}
    if resource == "leases":
        return {**meta, "spec": {"holderIdentity": "somebody"}}
    if resource == "events":
        return _event(namespace) | meta
    return _KINDS[resource](name=name).wire() | meta


def _event(namespace: str) -> Json:
    return {
        "eventTime": "2026-08-01T12:00:00.000000Z",
        "reportingController": "pool.convos.org/agent-pool",
        "reportingInstance": "test",
        "action": "Look",
        "reason": "Looked",
        "type": "Normal",
        "regarding": {"kind": "AgentPool", "name": "it", "namespace": namespace},
    }
