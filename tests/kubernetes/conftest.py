"""A namespace with our kinds and the shipped roles, a door before its server, and who may speak there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from api.kubernetes.client import Api
from api.kubernetes.config import Cluster, from_kubeconfig
from api.records.kubernetes_objects import CLASSES
from controller.local.apiserver import LocalApiServer
from tests.cluster import make_namespace
from tests.kubernetes.front import Front, a_front

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "deploy" / "kustomize" / "base" / "rbac.yaml"


@dataclass
class Place:
    """One namespace of a server; `cluster` is the way there through `front`, with the controller's token."""

    server: LocalApiServer
    namespace: str
    front: Front
    token: Path
    cluster: Cluster
    admin: Api

    async def api(self, account: str) -> Api:
        """As that service account, without the door. To be closed."""
        return Api(from_kubeconfig(await self.server.kubeconfig_of(self.namespace, account)))


@pytest.fixture
async def place(api_server: LocalApiServer) -> AsyncIterator[Place]:
    async for each in a_place(api_server):
        yield each


async def _define(server: LocalApiServer) -> None:
    """Our kinds, once for each server."""
    there = await server.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    if not {each["spec"]["names"]["plural"] for each in there["items"]} >= set(CLASSES):
        await server.apply(ROOT / "crds")


async def a_place(server: LocalApiServer) -> AsyncIterator[Place]:
    """The shipped roles, in a namespace of their own."""
    await _define(server)
    namespace = await make_namespace(server)
    for each in yaml.safe_load_all(RBAC.read_text().replace(": default", f": {namespace}")):
        plural = f"{each['kind'].lower()}s"
        group = "/api/v1" if plural == "serviceaccounts" else f"/apis/{each['apiVersion']}"
        await server.ask("POST", f"{group}/namespaces/{namespace}/{plural}", each)
    path = await server.kubeconfig_of(namespace, "agent-pool-controller")
    cluster = from_kubeconfig(path)
    admin = Api(from_kubeconfig(server.kubeconfig))
    async with a_front(cluster) as front:
        through = replace(cluster, server=f"http://127.0.0.1:{front.port}")
        token = path.with_name(f"{path.name}.token")
        yield Place(server, namespace, front, token, through, admin)
    await admin.close()
