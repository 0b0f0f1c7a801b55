"""A store worth moving: a pool with claims and instances in every state that a move must carry."""

from collections.abc import Sequence

from api.records import Bind, Outcome, Records
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    InstancePhase,
    Kind,
    ReclaimPolicy,
    key_of,
)
from tests.builders import a_claim, a_pool, an_instance
from tests.records.steps import changed

BY = "controller-of-the-source"


async def furnish(records: Records, namespace: str = "default") -> None:
    """Claims Ready, Bound, Failed, two Pending of one moment; one released; instances in all phases."""
    pool = await records.create_pool(a_pool(namespace=namespace, max_total=20, min_idle=2))
    names = ["ready", "bound", "released", "idle1", "idle2", "barred", "failed", "retiring", "new"]
    made = [
        (await records.intend(pool, [an_instance(name=name, namespace=namespace)], 0))[0]
        for name in names
    ]
    idle = {
        i.metadata.name: changed(i, phase=InstancePhase.IDLE, service_id=f"s-{i.metadata.name}")
        for i in made[:-1]
    }
    written = [i for i in await records.write_instances(list(idle.values())) if i]
    at = {i.metadata.name: i for i in written}
    await records.write_instances(
        [
            changed(at["barred"], barred="UsedByStranger"),
            changed(at["failed"], phase=InstancePhase.FAILED),
            changed(at["retiring"], phase=InstancePhase.RETIRING),
        ]
    )
    for name in ("ready", "bound", "released"):
        policy = ReclaimPolicy.DELETE if name == "released" else ReclaimPolicy.RETAIN
        await _serve(
            records, a_claim(name=name, namespace=namespace, reclaim_policy=policy), at[name]
        )
    failed, *_ = await _made(
        records, [a_claim(name=name, namespace=namespace) for name in ("lost", "wait-b", "wait-a")]
    )
    await records.settle(
        [Outcome(failed, failed.status.model_copy(update={"phase": ClaimPhase.FAILED}))]
    )


async def _serve(records: Records, claim: AgentClaim, instance: AgentInstance) -> None:
    """As its name says: bound, ready, or released again."""
    [made] = await _made(records, [claim])
    attempt = Attempt(by=BY, at=await records.now())
    [bind] = await records.bind([Bind(made, instance)], attempt)
    told = {"invite_url": "https://x.test/i", "conversation_id": "c", "phase": ClaimPhase.READY}
    if claim.metadata.name != "bound":
        status = bind.claim.status.model_copy(update=told)
        await records.settle([Outcome(bind.claim, status)])
    if claim.metadata.name == "released":
        await records.delete_claim(await records.claim(key_of(claim)))


async def _made(records: Records, claims: Sequence[AgentClaim]) -> list[AgentClaim]:
    made = await records.create_claims(claims)
    return [claim for claim in made if isinstance(claim, AgentClaim)]


async def exported(records: Records, namespace: str = "default") -> list[Kind]:
    """As `get pools,claims,instances` reads them."""
    every: list[Kind] = [*await records.pools(), *await records.list_claims(namespace)]
    every += await records.instances()
    return [record for record in every if record.metadata.namespace == namespace]


def told(records: Sequence[Kind]) -> list[object]:
    """What a move must keep: all but what is each store's own, claims by name where uids stood."""
    uids = {r.metadata.uid: r.metadata.name for r in records if isinstance(r, AgentClaim)}
    return [_kept(record, uids) for record in records]


def _kept(record: Kind, uids: dict[str, str]) -> object:
    meta, spec = record.metadata, record.spec.wire()
    if isinstance(record, AgentInstance) and record.spec.claim_ref:
        spec["claimRef"]["uid"] = uids.get(record.spec.claim_ref.uid, "of nobody")
    own = ("pool.convos.org/imported-from", "pool.convos.org/created-at")
    notes = {k: v for k, v in meta.annotations.items() if k not in own}
    status = record.status.wire()
    for condition in status["conditions"]:
        condition.pop("observedGeneration")
    if isinstance(record, AgentPool):
        status.pop("observedGeneration")
    return record.kind, meta.name, meta.namespace, meta.labels, notes, spec, status
