"""The laws of rest: once faults have stopped, everything comes true within a bounded time, and stays so.

`unrest(facts)` says what is not fulfilled yet; the laws hold it against the line "rest" of a history.
"""

from tests.history.events import Happened, InstanceSeen, PoolSeen
from tests.history.facts import Facts
from tests.history.known import Known
from tests.history.laws import Broken, Law, Verdict, hold, serves

QUIET_S = 5.0  # Nothing was written for so long before somebody said that all is at rest.


def _at_rest(event: Known) -> bool:
    return isinstance(event, Happened) and event.what == "rest"


def law_11_ready_claims_are_served(facts: Facts, event: Known) -> Verdict:
    """At rest each Ready claim names the conversation that its agent says it serves."""
    if not _at_rest(event):
        return None
    law, met = law_11_ready_claims_are_served, 0
    for name, claim in facts.claims.items():
        instance = facts.instances.get(claim.instance or "")
        service = (instance.service if instance else None) or ""
        asked = facts.census.get(service)
        if claim.phase != "Ready" or asked is None or not asked.provisioned:
            continue
        if serves(facts, service, claim.conversation, name):
            what = f"{name} names {claim.conversation}, its agent says {asked.conversation}"
            met += hold(law, asked.conversation == claim.conversation, what, name)
    return met


def law_12_every_pool_is_full(facts: Facts, event: Known) -> Verdict:
    """Once faults stop, every pool gets to minIdle idle (or to maxTotal), and stays there without further
    writes."""
    if not _at_rest(event):
        return None
    law = law_12_every_pool_is_full
    for name, instance in facts.instances.items():
        why = odd(facts, name, instance)
        hold(law, why is None, f"{name} {why}", name)
    for name, pool in facts.pools.items():
        why = lack(facts, name, pool)
        hold(law, why is None, f"{name}: {why}", name)
    quiet = facts.now - facts.last_write >= QUIET_S
    hold(law, quiet, "writes do not cease")
    return len(facts.pools)


def law_13_every_claim_ends(facts: Facts, event: Known) -> Verdict:
    """Once faults stop, every claim ends Ready or Failed, and whoever goes on asking is answered."""
    if not _at_rest(event):
        return None
    law = law_13_every_claim_ends
    for name, claim in facts.claims.items():
        hold(law, claim.phase in ("Ready", "Failed"), f"{name} is {claim.phase}", name)
    waiting = sorted(facts.unanswered)
    hold(law, not waiting, f"{len(waiting)} keys were never answered: {waiting[:3]}")
    return len(facts.claims)


def law_14_orphans_are_counted(facts: Facts, event: Known) -> Verdict:
    """A service that carries our owner and has no record is reported and counted, never offered, never
    deleted."""
    if not _at_rest(event):
        return None
    met = 0
    for name, pool in facts.pools.items():
        there = [i for i, s in facts.services.items() if s.alive and s.pool == name]
        orphans = sum(i in facts.orphans for i in there)
        if orphans:
            what = f"{name} counts {pool.total}; there are {len(there)}, {orphans} without a record"
            hold(law_14_orphans_are_counted, pool.total >= len(there), what, name)
            met += orphans
    return met


# ---------------------------------------------------------------- what is not at rest


def unrest(facts: Facts) -> Broken | None:
    """Which law is not fulfilled yet, and by whom."""
    for name, claim in facts.claims.items():
        if claim.phase not in ("Ready", "Failed"):
            return Broken("law_13_every_claim_ends", f"{name} is {claim.phase}", [name])
    if facts.unanswered:
        waiting = len(facts.unanswered)
        return Broken("law_13_every_claim_ends", f"{waiting} keys were never answered")
    for name, instance in facts.instances.items():
        if (why := odd(facts, name, instance)) is not None:
            return Broken("law_12_every_pool_is_full", f"{name} {why}", [name])
    for name, pool in facts.pools.items():
        if (why := lack(facts, name, pool)) is not None:
            return Broken("law_12_every_pool_is_full", f"{name}: {why}", [name])
    return None


def odd(facts: Facts, name: str, instance: InstanceSeen) -> str | None:
    """What no instance may stay at."""
    if instance.phase == "Retiring":
        return "is still retiring"
    claim = facts.claims.get(instance.claim or "")
    released = claim is None or claim.uid != instance.claim_uid
    kept = not released and claim is not None and claim.instance == name
    if instance.phase == "Gone" and not kept:
        return "is Gone, and no claim names it"
    if instance.claim_policy == "Delete" and released and instance.phase != "Gone":
        return "was released under Delete, and is still there"
    gone = instance.service is not None and not facts.alive(instance.service)
    if gone and instance.phase != "Gone":
        return f"is {instance.phase}, and its service does not exist"
    return None


def lack(facts: Facts, name: str, pool: PoolSeen) -> str | None:
    """Why the pool may not rest like this: too few idle without a stated reason, or an old status."""
    reason = pool.paused or pool.stalled or pool.full
    idle = _idle(facts, name)
    if idle < pool.min_idle and not reason:
        return f"{idle} of {pool.min_idle} idle, and no reason stated"
    if pool.observed != pool.generation:
        return "its status is of an older generation"
    return None


def _idle(facts: Facts, pool: str) -> int:
    """Agents that could be had: offered on record and, once they were asked, ready and nobody's."""
    count = 0
    for instance in facts.instances.values():
        offered = instance.phase == "Idle" and not instance.claim and not instance.barred
        if instance.pool == pool and offered:
            asked = facts.census.get(instance.service or "")
            count += asked is None or (asked.ready and not asked.provisioned)
    return count


REST: tuple[Law, ...] = (
    law_11_ready_claims_are_served,
    law_12_every_pool_is_full,
    law_13_every_claim_ends,
    law_14_orphans_are_counted,
)
