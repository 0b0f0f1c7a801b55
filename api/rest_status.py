"""The pools as `GET /api/pool/status` shows them: the seed's names, read live from the records."""

from collections import Counter
from datetime import datetime

from api.answers import Counts, InstanceItem, PoolsStatus, invite_of
from api.records import Records
from api.types import AgentClaim, AgentInstance, InstancePhase, Key


async def pool_status(records: Records, namespace: str) -> PoolsStatus:
    """Two reads more than the counts need: the instances' claims, all at once. Raises Unavailable."""
    instances = await _instances(records, namespace)
    refs = [i.spec.claim_ref for i in instances if i.spec.claim_ref]
    claims = await records.claims([Key(namespace, ref.name) for ref in refs]) if refs else []
    by_uid = {claim.metadata.uid: claim for claim in claims}
    items = [_item(instance, by_uid) for instance in instances]
    return PoolsStatus(counts=await _counts(records, namespace, instances), instances=items)


async def pool_counts(records: Records, namespace: str) -> Counts:
    """Raises Unavailable."""
    return await _counts(records, namespace, await _instances(records, namespace))


async def idle_url(records: Records, namespace: str) -> str | None:
    """Where an idle instance lives, the oldest first, as claims go. Raises Unavailable."""
    idle = [i for i in await _instances(records, namespace) if shown_as(i) == "idle"]
    return next((i.status.url for i in reversed(idle) if i.status.url), None)


def shown_as(instance: AgentInstance) -> str:
    """In the seed's words: claimed is what has a claimRef, and what is barred is not idle."""
    phase = instance.status.phase
    if phase is InstancePhase.RETIRING:
        return "retiring"
    if instance.spec.claim_ref is not None:
        return "claimed"
    if instance.status.barred:
        return "failed"
    return phase.value.lower()


async def _instances(records: Records, namespace: str) -> list[AgentInstance]:
    """Of this namespace, newest first, without those whose service is no more."""
    return [
        instance
        for instance in await records.instances()
        if instance.metadata.namespace == namespace
        and instance.status.phase is not InstancePhase.GONE
    ]


async def _counts(records: Records, namespace: str, instances: list[AgentInstance]) -> Counts:
    """Who waits is what the controller last saw; the rest is counted now."""
    pools = [p for p in await records.pools() if p.metadata.namespace == namespace]
    seen = Counter(shown_as(instance) for instance in instances)
    return Counts(
        provisioning=seen["provisioning"],
        idle=seen["idle"],
        claimed=seen["claimed"],
        failed=seen["failed"],
        waiting=sum(pool.status.waiting for pool in pools),
    )


def _item(instance: AgentInstance, claims: dict[str, AgentClaim]) -> InstanceItem:
    ref = instance.spec.claim_ref
    claim = claims.get(ref.uid) if ref else None
    return InstanceItem(
        id=instance.metadata.name,
        railway_service_id=instance.status.service_id,
        railway_url=instance.status.url,
        status=shown_as(instance),
        claimed_by=claim.spec.agent_id if claim else None,
        claimed_at=claim.status.bound_at if claim else None,
        invite_url=invite_of(claim) if claim else None,
        conversation_id=claim.status.conversation_id if claim else None,
        created_at=instance.metadata.creation_timestamp,
        updated_at=_updated_at(instance, claim),
        pool=instance.spec.pool_ref.name,
        service_name=instance.spec.service_name,
        claim=ref.name if ref else None,
        barred=instance.status.barred,
    )


def _updated_at(instance: AgentInstance, claim: AgentClaim | None) -> datetime | None:
    """The newest moment the records know of: nothing else is kept."""
    moments = [instance.metadata.creation_timestamp, instance.status.ready_at]
    moments += [c.last_transition_time for c in instance.status.conditions]
    if claim is not None:
        moments += [claim.status.bound_at, claim.status.ready_at]
    return max((moment for moment in moments if moment), default=None)
