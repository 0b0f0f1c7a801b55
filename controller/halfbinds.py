"""A half bind: the claim names an instance that has not named it back. Never acted on; mended here.

Only stores that write the two sides one after the other know it (a crash or a lost race between them).
"""

from collections.abc import Sequence
from datetime import datetime

from api.records import Bind, Outcome, Records
from api.types import AgentClaim, AgentInstance, InstancePhase
from controller.handover import unbound

NEVER_AGAIN = (InstancePhase.RETIRING, InstancePhase.GONE)


async def mend(
    records: Records, claim: AgentClaim, instance: AgentInstance | None, now: datetime
) -> Sequence[Bind]:
    """Complete it while the instance may be offered; else let the claim go. `instance`: a live read.

    An instance that is only not ready may be Idle again, and somebody else complete the bind behind our
    back: it is barred before its claim is let go. The attempt stays whose it was: the binder may tell.
    """
    attempt = claim.status.attempt
    if instance is not None and attempt is not None and _may_be_offered(instance):
        return await records.bind([Bind(claim, instance)], attempt)
    if instance is None or _is_lost(instance) or await _bar(records, instance):
        await records.settle([Outcome(claim, unbound(claim, "HalfBind", now))])
    return ()


def _may_be_offered(instance: AgentInstance) -> bool:
    free = instance.spec.claim_ref is None and instance.status.barred is None
    return free and instance.status.phase is InstancePhase.IDLE


def _is_lost(instance: AgentInstance) -> bool:
    """Nobody can complete this bind any more."""
    taken = instance.spec.claim_ref is not None or instance.status.barred is not None
    return taken or instance.status.phase in NEVER_AGAIN


async def _bar(records: Records, instance: AgentInstance) -> bool:
    status = instance.status.model_copy(update={"barred": "HalfBind"})
    written = await records.write_instances([instance.model_copy(update={"status": status})])
    return written[0] is not None
