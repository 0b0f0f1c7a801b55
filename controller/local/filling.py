"""The pool filling, as a person sees it after a start."""

import asyncio
import time

from api.conditions import condition
from api.records import NotFound, Records
from api.records.opening import open_records
from api.settings import StoreSettings
from api.types import DEFAULT_POOL, AgentPool, Condition, Key
from controller.local.plan import Plan
from controller.local.progress import Progress

PATIENCE_SIMULATED_S = 60.0
PATIENCE_REAL_S = 10.0  # A real Railway takes minutes; nobody needs to wait for it here.
_LOOK_AGAIN_S = 0.2
_BELIEVED_AFTER_S = 5.0  # What stalled it may stand in the status from before this start.
_BAR = 20


async def watch_it_fill(plan: Plan, store: StoreSettings, progress: Progress) -> None:
    """Returns when the pool `default` is warm, cannot fill, or patience is over."""
    records = await open_records(store, scope=plan.api.namespace)
    try:
        patience_s = PATIENCE_SIMULATED_S if plan.simulated else PATIENCE_REAL_S
        key = Key(plan.api.namespace, DEFAULT_POOL)
        await _watch(records, key, progress, patience_s)
    finally:
        await records.close()


async def _watch(records: Records, key: Key, progress: Progress, patience_s: float) -> None:
    began = time.monotonic()
    while True:
        try:
            pool = await records.pool(key)
        except NotFound:
            progress.say("  – no pool yet: agent-pool apply -f deploy/examples/pool.yaml makes one")
            return
        line = describe(pool)
        if pool.status.idle >= pool.spec.min_idle and pool.status.observed_generation:
            progress.say(f"  ✓ {line}")
            return
        waited_s = time.monotonic() - began
        if stalled(pool) and waited_s >= min(_BELIEVED_AFTER_S, patience_s):
            progress.say(f"  ! {line}")
            return
        if waited_s >= patience_s:
            progress.say(f"  … {line}, and goes on filling: `agent-pool status` says how far it is")
            return
        progress.live(f"  … {line}")
        await asyncio.sleep(_LOOK_AGAIN_S)


def stalled(pool: AgentPool) -> Condition | None:
    """Why it will not fill, as of its spec now; None while it may."""
    found = condition(pool.status.conditions, "Stalled")
    current = pool.status.observed_generation == pool.metadata.generation
    return found if found and found.status == "True" and current else None


def describe(pool: AgentPool) -> str:
    """`pool default: ████████······ 2 of 3 idle, 1 starting, 4 claimed`"""
    idle, wanted = pool.status.idle, pool.spec.min_idle
    full = min(_BAR, _BAR * idle // wanted) if wanted else _BAR
    counts = [f"{idle} of {wanted} idle"]
    for count, word in (
        (pool.status.provisioning, "starting"),
        (pool.status.claimed, "claimed"),
        (pool.status.failed, "failed"),
    ):
        counts += [f"{count} {word}"] if count else []
    stall = stalled(pool)
    trouble = f" ({stall.reason}: {stall.message})" if stall else ""
    bar = "█" * full + "·" * (_BAR - full)
    return f"pool {pool.metadata.name}: {bar} {', '.join(counts)}{trouble}"
