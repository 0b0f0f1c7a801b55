"""The suite's store on a real API server: three kinds and the namespace `default` emptied for each test."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from api.kubernetes.client import Api, Json
from api.kubernetes.config import from_kubeconfig
from api.records import AlreadyExists, NotFound
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_leases import SECRET
from api.records.kubernetes_objects import CLASSES, path_of
from api.types import API_VERSION
from controller.local.apiserver import LocalApiServer
from tests.sockets import Line

ROOT = Path(__file__).parents[2]

EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SECRETS = "/api/v1/namespaces/default/secrets"


class KubernetesHarness:
    """Clients of one API server, each with watches of its own and a line that can be cut."""

    patience_s = 20.0

    def __init__(self, kubeconfig: Path, admin: Api) -> None:
        self._cluster = from_kubeconfig(kubeconfig)
        self.admin = admin
        self.clients: list[tuple[KubernetesRecords, Line]] = []

    async def client(self) -> KubernetesRecords:
        line = Line(int(self._cluster.server.rsplit(":", 1)[1]))
        await line.mend()
        through = replace(self._cluster, server=f"https://127.0.0.1:{line.port}")
        made = KubernetesRecords(through, scope=None, home="default")
        self.clients.append((made, line))
        await made.look()
        return made

    async def tick(self) -> None:
        """Creation times are whole seconds here."""
        await asyncio.sleep(1.01 - time.time() % 1)

    async def age_events(self, by: timedelta) -> None:
        for client, _ in self.clients:
            for series in client.recorder.known.values():
                series.last -= by

    async def events(self) -> list[tuple[str, int]]:
        found, _ = await self.admin.list(EVENTS.format("default"))
        ordered = sorted(found, key=lambda e: str(e["eventTime"]))
        return [(e["reason"], (e.get("series") or {}).get("count", 1)) for e in ordered]

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        cut = [line for client, line in self.clients if client.cache.doors]
        for line in cut:
            await line.cut()
        yield
        for line in cut:
            await line.mend()

    async def empty(self) -> None:
        """Until lists show nothing any more: other tests leave theirs in namespaces of their own."""
        paths = [path_of(plural, None) for plural in CLASSES]
        async with asyncio.timeout(self.patience_s):
            for path in (*paths, EVENTS.format("default"), LEASES):
                while found := (await self.admin.list(path))[0]:
                    for each in found:
                        await self._delete(path, each["metadata"])

    async def _delete(self, path: str, meta: Json) -> None:
        head, plural = path.rsplit("/", 1)
        if "/namespaces/" not in head:
            head += f"/namespaces/{meta['namespace']}"
        with suppress(NotFound):
            await self.admin.delete(f"{head}/{plural}/{meta['name']}", meta["uid"])


async def _define(admin: Api, server: LocalApiServer) -> None:
    """Our kinds, once for each server."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    there = {d["metadata"]["name"] for d in (await admin.list(path))[0]}
    if not all(f"{plural}.{API_VERSION.split('/')[0]}" in there for plural in CLASSES):
        await server.apply(ROOT / "crds")


@asynccontextmanager
async def kubernetes(server: LocalApiServer) -> AsyncIterator[KubernetesHarness]:
    """An API server with our kinds; emptied of them."""
    admin = Api(from_kubeconfig(server.kubeconfig))
    harness = KubernetesHarness(server.kubeconfig, admin)
    try:
        await _define(admin, server)
        await harness.empty()
        installation = {
            "metadata": {"name": SECRET},
            "stringData": {"ownerId": "0123456789abcdef", "instanceSecret": "s" * 64},
        }
        with suppress(AlreadyExists):
            await admin.create(SECRETS, installation)
        with suppress(AlreadyExists):
            await admin.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
        yield harness
    finally:
        for client, line in harness.clients:
            await client.close()
            await line.cut()
        await admin.close()
