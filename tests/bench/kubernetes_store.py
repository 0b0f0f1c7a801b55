"""Kubernetes under a rig: a real kube-apiserver and etcd (fsync on), the shipped roles and accounts."""

import base64
import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psutil

from api.kubernetes.config import from_kubeconfig
from api.records import Records, Thing
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_objects import PLURALS
from api.types import API_VERSION, AgentClaim, AgentInstance
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import kubernetes_binaries
from controller.local.plan import command
from controller.local.progress import Progress
from tests.bench.fleet import MADE
from tests.bench.stores import Argv, Variables, used
from tests.builders import a_claim
from tests.deploy.rendered import NAMESPACE, Kustomize
from tests.deploy.running import as_deployed, install

AT_ONCE = 100  # Writes of one transaction; etcd allows 128.
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
        if hasattr(self, "server"):
            await self.server.stop()

    async def program(self, part: str) -> tuple[Argv, Variables]:
        words, variables = await as_deployed(self.server, self._applied, f"agent-pool-{part}")
        return command(*words), variables

    async def put_idle(self, instances: Sequence[AgentInstance]) -> None:
        self.idle += await self._put(instances)

    async def put_ended(self, count: int, like: AgentClaim) -> None:
        wish = {"namespace": NAMESPACE, "instructions": "Long served."}
        claims = [a_claim(name=f"ended-{n}", **wish) for n in range(count)]
        await self._put([c.model_copy(update={"status": like.status}) for c in claims])

    async def _put(self, things: Sequence[Thing]) -> list[Thing]:
        """Past the server, as it would keep what our controller wrote long ago; as they stand there.

        It sees them as it sees what another server of its cluster wrote.
        """
        there: list[Thing] = []
        async with self.server.etcd() as etcd:
            for first in range(0, len(things), AT_ONCE):
                made = [_made(thing) for thing in things[first : first + AT_ONCE]]
                puts = [{"requestPut": _entry(thing)} for thing in made]
                async with etcd.post("/v3/kv/txn", json={"success": puts}) as answer:
                    answer.raise_for_status()
                    revision = (await answer.json())["header"]["revision"]
                there += [_with_meta(thing, resource_version=revision) for thing in made]
        return there

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


def _made(thing: Thing) -> Thing:
    made_at = datetime.fromisoformat(MADE)
    return _with_meta(thing, uid=str(uuid4()), generation=1, creation_timestamp=made_at)


def _with_meta(thing: Thing, **meta: object) -> Thing:
    return thing.model_copy(update={"metadata": thing.metadata.model_copy(update=meta)})


def _entry(thing: Thing) -> dict[str, str]:
    """Where the server keeps it, and what it keeps."""
    group, meta = API_VERSION.partition("/")[0], thing.metadata
    key = f"/registry/{group}/{PLURALS[thing.kind]}/{meta.namespace}/{meta.name}"
    kept = thing.wire()
    del kept["metadata"]["resourceVersion"]
    value = json.dumps(kept, separators=(",", ":"))
    return {n: base64.b64encode(t.encode()).decode() for n, t in (("key", key), ("value", value))}
