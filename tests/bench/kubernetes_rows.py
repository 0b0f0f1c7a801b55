"""The same of records on Kubernetes: requests of a claim, a pass over many, requests of a pool at rest.

Requests are counted at the API server, by its audit log: what our two service accounts sent, whatever
became of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from tests.bench.kubernetes_store import KubernetesStore, Sent
from tests.bench.load import Clients
from tests.bench.records_rows import pass_cpu_s
from tests.bench.rig import Rig
from tests.bench.table import Row

CLAIMS = ((1, 50), (32, 640))  # Clients, and how many claims they make.
SETTLED_S = 3.0  # What follows a claim (its service's name, the pool's status) is counted with it.
SIZE = 10_000  # Instances, and as many ended claims.
REST_S = 60.0
AT_REST = 10
READS = ("get", "list", "watch")
LEASES, EVENTS, POOLS = "leases", "events", ("agentpools", "agentpools/status")
RENEWALS = 60 / 1.5  # A minute.
SWEEPS = 0.1  # A minute.
FOLLOWED = 3 * 2  # Kinds that are followed, by each of two processes.


async def writes(repeat: int) -> AsyncIterator[Row]:
    """Writes of a claim, its creation included; events, leases and the pool's own record stand apart."""
    store, name = KubernetesStore(audited=True), "writes-kubernetes"
    async with Rig(store, idle=sum(count for _, count in CLAIMS) + 20) as rig:
        clients = Clients(rig)
        await clients.one_by_one(20)
        await asyncio.sleep(SETTLED_S)
        for at_once, count in CLAIMS:
            before = store.sent()
            await clients.saturate(count, at_once)
            await asyncio.sleep(SETTLED_S)
            sent = store.sent() - before
            metric = f"{at_once} in flight"
            written = _of_claims(sent, reads=False) / count
            yield Row(name, metric, [written], "writes/claim", aim=4.0)
            read = _of_claims(sent, reads=True) / count
            yield Row(name, f"{metric}: reads", [read], "reads/claim")
            apart = sum(n for (_, verb, what), n in sent.items() if verb not in READS) / count
            yield Row(name, f"{metric}: all apart", [apart - written], "writes/claim")


def _of_claims(sent: Sent, *, reads: bool) -> int:
    """Requests for claims and instances; reads of the pool as well."""
    kinds = ("agentclaims", "agentinstances", *(("agentpools",) if reads else ()))
    return sum(
        count
        for (_, verb, what), count in sent.items()
        if what.partition("/")[0] in kinds and (verb in READS) == reads and verb != "watch"
    )


async def scale(repeat: int) -> AsyncIterator[Row]:
    """A full look and pass of the controller over many instances, with as many ended claims."""
    name, metric = "scale-kubernetes", f"{SIZE:,} instances"
    async with Rig(KubernetesStore(), idle=SIZE, ended=SIZE) as rig:
        started = rig.cpu()
        yield Row(name, f"{metric}: start", [started["controller-1"]], "CPU s")
        await asyncio.sleep(5.0)  # The first probes, and what they ring for.
        passes = [await pass_cpu_s(rig) for _ in range(repeat)]
        yield Row(name, f"{metric}: pass", passes, "CPU s", aim=2.0)
        yield Row(name, f"{metric}: memory", [rig.memory_mb("controller-1")], "MB", aim=400.0)
        sidecar = [rig.memory_mb("api-1")]
        yield Row(name, f"{metric}: memory of the sidecar", sidecar, "MB")


async def rest(repeat: int) -> AsyncIterator[Row]:
    """A minute in which nothing happens: the lease, and what keeps the watches and their sweeps going."""
    store = KubernetesStore(audited=True)
    async with Rig(store, idle=AT_REST) as rig:
        await asyncio.sleep(10.0)  # Past the first looks and probes.
        before, cpu, began = store.sent(), rig.cpu(), time.monotonic()
        await asyncio.sleep(REST_S)
        minutes = (time.monotonic() - began) / 60
        sent, now = store.sent() - before, rig.cpu()
    for row in _at_rest(sent, minutes):
        yield row
    for part in ("kube-apiserver", "controller-1", "api-1"):
        busy = 100 * (now[part] - cpu[part]) / (60 * minutes)
        yield Row("rest-kubernetes", f"{AT_REST} instances: {part}", [busy], "% of a core")


def _at_rest(sent: Sent, minutes: float) -> Iterator[Row]:
    by_use: Counter[str] = Counter()
    for (_, verb, what), count in sent.items():
        by_use["lease" if what == LEASES else verb if verb in ("watch", "list") else "other"] += (
            count
        )
    aims = {
        "lease": RENEWALS + 1,
        "watch": FOLLOWED,  # Each ends after five minutes at the latest, all perhaps in this one.
        "list": FOLLOWED * (1 if by_use["list"] else SWEEPS),
        "other": 0,
    }
    for use, aim in aims.items():
        metric = f"{AT_REST} instances: {use}"
        yield Row("rest-kubernetes", metric, [by_use[use] / minutes], "requests/min", aim=aim)
