"""Kubernetes under a rig: a real kube-apiserver and etcd (fsync on), the shipped roles and accounts."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import psutil

from api.kubernetes.client import Api
from api.kubernetes.config import from_kubeconfig
from api.records import Records, Thing
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_objects import (
    PLURALS,
    object_path,
    over,
    parse,
    path_of,
    unowned,
    written,
)
from api.types import AgentClaim, AgentInstance
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import kubernetes_binaries
from controller.local.plan import command
from controller.local.progress import Progress
from tests.bench.stores import Argv, Variables, used
from tests.builders import a_claim
from tests.deploy.rendered import NAMESPACE, Kustomize
from tests.deploy.running import as_deployed, install

AT_ONCE = 32  # More at a time made nothing faster on two cores (facts/kubernetes.md 8).
# Each request once, as it arrives, by whom and for what; nothing of what it holds.
AUDITED = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules: [{level: Metadata}]
"""
Sent = Counter[tuple[str, str, str]]  # By account, verb and resource (`agentclaims/status`).


class KubernetesStore:
    """One installation as it is shipped, by the overlay `namespace`. `audited`: requests can be counted."""

    namespace = NAMESPACE

    def __init__(self, *, audited: bool = False) -> None:
        self._audited = audited

    async def start(self, folder: Path) -> None:
        binaries = await kubernetes_binaries(Progress(sys.stderr))
        self._audit = folder / "audit.log"
        self.server = LocalApiServer(folder / "state", binaries, options=self._options(folder))
        await self.server.start()
        self._applied = await install(self.server, Kustomize(binaries.kubectl), "namespace")
        cluster = from_kubeconfig(self.server.kubeconfig)
        self.records: Records = KubernetesRecords(cluster, scope=NAMESPACE, home=NAMESPACE)
        self._api = Api(cluster)
        self.idle: list[AgentInstance] = []  # All that were put, as they stood then.

    def _options(self, folder: Path) -> dict[str, str]:
        if not self._audited:
            return {}
        policy = folder / "audit.yaml"
        policy.write_text(AUDITED)
        return {"audit-policy-file": str(policy), "audit-log-path": str(self._audit)}

    async def stop(self) -> None:
        if hasattr(self, "records"):
            await self.records.close()
            await self._api.close()
        if hasattr(self, "server"):
            await self.server.stop()

    async def program(self, part: str) -> tuple[Argv, Variables]:
        words, variables = await as_deployed(self.server, self._applied, f"agent-pool-{part}")
        return command(*words), variables

    async def put_idle(self, instances: Sequence[AgentInstance]) -> None:
        async def put(instance: AgentInstance) -> None:
            self.idle.append(await self._put(instance))

        await some_at_once(put, instances)

    async def put_ended(self, count: int, like: AgentClaim) -> None:
        ended = (
            a_claim(name=f"ended-{n}", namespace=NAMESPACE, instructions="Long served.").model_copy(
                update={"status": like.status}
            )
            for n in range(count)
        )

        async def put(claim: AgentClaim) -> None:
            await self._put(claim)

        await some_at_once(put, ended)

    async def _put(self, thing: Thing) -> Thing:
        path = path_of(PLURALS[thing.kind], thing.metadata.namespace)
        made = parse(type(thing), await self._api.create(path, written(thing)))
        body = unowned(
            over(made, {"status": thing.status.wire()})
        )  # As our controller leaves them.
        return parse(type(thing), await self._api.merge(object_path(made, "status"), body))

    def cpu(self) -> dict[str, float]:
        return {n: used(psutil.Process(pid)) for n, pid in sorted(self.server.pids.items())}

    def sent(self) -> Sent:
        """What our two service accounts have sent so far, whatever became of it."""
        sent: Sent = Counter()
        for line in self._audit.read_text().splitlines():
            said = json.loads(line)
            _, _, account = said["user"]["username"].partition(f":{NAMESPACE}:")
            if account:
                what = said.get("objectRef") or {"resource": said["requestURI"].partition("?")[0]}
                parts = (what["resource"], what.get("subresource", ""))
                sent[account, said["verb"], "/".join(filter(None, parts))] += 1
        return sent


async def some_at_once(work: Callable[[Thing], Awaitable[None]], things: Iterable[Thing]) -> None:
    """All of them, so many at a time."""
    left = iter(things)

    async def worker() -> None:
        for thing in left:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
