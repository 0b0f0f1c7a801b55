"""After the storm: faults stop, and within a bounded time everything must come to rest, and stay so."""

import asyncio

from api.conditions import is_true
from api.types import AgentInstance, AgentPool, InstancePhase, Key, key_of, pool_key
from tests.storm.facts import Facts
from tests.storm.laws import Broken

Customers = list[asyncio.Task[None]]

CALM_S = 900.0  # The longest claim waits 10 minutes: one whose pool is gone.
LOOK_EVERY_S = 5.0
QUIET_S = 50.0  # Without a write: three ticks, and a question to each idle agent.


async def comes_to_rest(facts: Facts, customers: Customers) -> None:
    """Laws 12 and 13. Raises Broken."""
    deadline, writes, since = facts.now() + CALM_S, facts.writes, facts.now()
    while True:
        unrest = _unrest(facts, customers)
        if facts.writes > writes or unrest is not None:
            writes, since = facts.writes, facts.now()
        if facts.now() - since >= QUIET_S:
            break
        if facts.now() > deadline:
            raise unrest or Broken("law_12_rests_without_writes", "writes do not cease")
        await asyncio.sleep(LOOK_EVERY_S)
    for customer in customers:
        customer.result()


def _unrest(facts: Facts, customers: Customers) -> Broken | None:
    """Which law is not fulfilled yet, and by whom."""
    for claim in facts.claims.values():
        if not claim.ended:
            name = claim.metadata.name
            return Broken("law_13_every_claim_ends", f"{name} is {claim.status.phase}", [name])
    waiting = sum(not customer.done() for customer in customers)
    if waiting:
        return Broken("law_13_every_claim_ends", f"{waiting} customers were never answered")
    for instance in facts.instances.values():
        if (why := _odd(facts, instance)) is not None:
            name = instance.metadata.name
            return Broken("law_12_every_pool_is_full", f"{name} {why}", [name])
    for pool in facts.pools.values():
        if (lack := _lack(facts, pool)) is not None:
            return Broken("law_12_every_pool_is_full", f"{pool.metadata.name}: {lack}")
    return None


def _odd(facts: Facts, instance: AgentInstance) -> str | None:
    """What no instance may stay at."""
    status = instance.status
    if status.phase is InstancePhase.RETIRING:
        return "is still retiring"
    gone = status.service_id is not None and not facts.alive(status.service_id)
    if gone and status.phase is not InstancePhase.GONE:
        return f"is {status.phase}, and its service does not exist"
    return None


def _lack(facts: Facts, pool: AgentPool) -> str | None:
    """Why the pool may not rest like this: too few idle without a stated reason, or failed ones to go."""
    said = pool.status.conditions
    reason = pool.spec.paused or is_true(said, "Stalled") or is_true(said, "AtCapacity")
    idle = _idle(facts, key_of(pool))
    if idle < pool.spec.min_idle and not reason:
        return f"{idle} of {pool.spec.min_idle} idle, and no reason stated"
    if pool.status.observed_generation != pool.metadata.generation:
        return "its status is of an older generation"
    return None


def _idle(facts: Facts, pool: Key) -> int:
    """Agents that could be had: offered on record, and nobody has provisioned them."""
    offered = [
        i
        for i in facts.instances.values()
        if pool_key(i) == pool
        and i.status.phase is InstancePhase.IDLE
        and i.spec.claim_ref is None
        and i.status.barred is None
    ]
    runs = [facts.run_of(i.status.service_id or "") for i in offered]
    return sum(run is not None and not run.provisioned for run in runs)
