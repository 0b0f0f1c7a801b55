"""One pool: who gets whom, how many to make, which to retire, and what to say of it. Pure.

match(bindable) -> Match                   claims to their instances, oldest first
plan(pool, instances, ...) -> Plan         what to create and to delete, counted by law 4
pool_status(pool, ...) -> PoolStatus       what was seen, with kstatus' conditions
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.conditions import condition, with_condition
from api.records import Bind, Bindable
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    ClaimStatus,
    Condition,
    InstancePhase,
    OnEmpty,
    PoolSpec,
    PoolStatus,
    ReclaimPolicy,
    oldest_first,
)

# Under `Delete`, a failed instance is kept this long: it shows what went wrong, and a template that
# always fails buys `minIdle` services in this time, not one a second.
FAILED_LINGERS = timedelta(minutes=10)
DEFAULT_CLAIM_TIMEOUT = timedelta(minutes=10)  # Where the pool is not there to say.
# What may be offered or become so, and the status's word for it.
_WARM = {InstancePhase.IDLE: "idle", InstancePhase.PROVISIONING: "provisioning"}


# ---------------------------------------------------------------- claims


@dataclass(frozen=True, slots=True)
class Match:
    binds: tuple[Bind, ...]
    refused: tuple[AgentClaim, ...]  # `onEmpty: Fail`, and nobody is idle.


def match(there: Bindable, pool: AgentPool, limit: int) -> Match:
    """Oldest claim to oldest idle instance. Nobody is refused unless every idle one was seen.

    A claim whose time is over gets nobody: it would use up an agent and be told nothing.
    """
    in_time = (c for c in there.claims if there.now < deadline(c, pool))
    claims = sorted(in_time, key=oldest_first)
    idle = sorted(there.idle, key=oldest_first)
    binds = tuple(Bind(c, i) for c, i in zip(claims, idle, strict=False))
    saw_all = len(idle) < limit
    left = claims[len(idle) :] if saw_all else []
    return Match(binds, tuple(c for c in left if c.spec.on_empty is OnEmpty.FAIL))


def deadline(claim: AgentClaim, pool: AgentPool | None) -> datetime:
    """Creation plus the claim's own timeout, else its pool's."""
    created = claim.metadata.creation_timestamp
    assert created is not None, "a claim on record has a creation time"  # noqa: S101
    own = claim.spec.timeout or (pool.spec.claim_timeout if pool else DEFAULT_CLAIM_TIMEOUT)
    return created + own


def failed_claim(claim: AgentClaim, reason: str, message: str, now: datetime) -> ClaimStatus:
    """Failed for this reason: Ready is False, and Stalled tells tools that wait to give up."""
    conditions = claim.status.conditions
    for kind, status in (("Ready", "False"), ("Stalled", "True")):
        new = Condition(
            type=kind,
            status="True" if status == "True" else "False",
            reason=reason,
            message=message,
            last_transition_time=now,
            observed_generation=claim.metadata.generation,
        )
        conditions = with_condition(conditions, new)
    return claim.status.model_copy(update={"phase": ClaimPhase.FAILED, "conditions": conditions})


def timed_out(claim: AgentClaim, pool: AgentPool | None, now: datetime) -> ClaimStatus | None:
    """A Pending claim past its deadline is Failed; None while it may wait."""
    if claim.status.phase is not ClaimPhase.PENDING or now < deadline(claim, pool):
        return None
    if pool is None:
        name = claim.spec.pool_ref.name
        return failed_claim(claim, "PoolNotFound", f"there is no pool named {name}", now)
    return failed_claim(claim, "TimedOut", "no agent became ready in time", now)


# ---------------------------------------------------------------- instances


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass does about the size of a pool."""

    make: int = 0
    retire: tuple[tuple[AgentInstance, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stall:
    """Why nothing more is created: a reason for programs, a sentence that says the mend."""

    reason: str
    message: str


def plan(
    pool: AgentPool,
    instances: Sequence[AgentInstance],
    waiting: int,
    orphans: int,
    stall: Stall | None,
    template_hash: str,
    now: datetime,
) -> Plan:
    """Creates fill up to `minIdle` and one more for each claim that waits, within `maxTotal`."""
    spec = pool.spec
    if spec.paused:
        return Plan()
    warm = [i for i in instances if is_warm(i)]
    wanted = spec.min_idle + waiting
    room = spec.max_total - total(instances) - orphans
    make = 0 if stall else max(0, min(wanted - len(warm), room))
    stillborn = [(i, "Stillborn") for i in instances if _is_stillborn(i, template_hash)]
    return Plan(make, (*stillborn, *_unneeded(spec, instances, warm, len(warm) - wanted, now)))


def is_free(i: AgentInstance) -> bool:
    """No claim ever got it, and it is not known to serve a stranger."""
    return i.spec.claim_ref is None and i.status.barred is None


def is_warm(i: AgentInstance) -> bool:
    """Idle, or may still become so: what counts towards `minIdle`."""
    return i.status.phase in _WARM and is_free(i)


def total(instances: Sequence[AgentInstance]) -> int:
    """Services in existence or intended; only Gone ones free their room."""
    return sum(i.status.phase is not InstancePhase.GONE for i in instances)


def failures(instances: Sequence[AgentInstance], template_hash: str) -> int:
    """How many free instances of this very template have failed."""
    failed = (i for i in instances if i.status.phase is InstancePhase.FAILED and is_free(i))
    return sum(i.spec.template_hash == template_hash for i in failed)


def failing(
    pool: AgentPool, instances: Sequence[AgentInstance], template_hash: str
) -> Stall | None:
    """`minIdle` failures of one template stop creation until template, policy or records change."""
    count = failures(instances, template_hash)
    if count < max(pool.spec.min_idle, 1):
        return None
    return Stall(
        "TemplateFailing",
        f"{count} instances of this template failed; mend the template, or delete the failed services",
    )


def _unneeded(
    spec: PoolSpec,
    instances: Sequence[AgentInstance],
    warm: Sequence[AgentInstance],
    surplus: int,
    now: datetime,
) -> list[tuple[AgentInstance, str]]:
    """What reclaimPolicy Delete lets go: failed ones after a while, and surplus, newest first."""
    if spec.reclaim_policy is not ReclaimPolicy.DELETE:
        return []
    failed = [(i, "Failed") for i in instances if is_free(i) and _has_lingered(i, now)]
    spare = sorted(warm, key=lambda i: (i.status.phase is InstancePhase.IDLE, *_newest_first(i)))
    return failed + [(i, "Surplus") for i in spare[: max(surplus, 0)]]


def _is_stillborn(i: AgentInstance, template_hash: str) -> bool:
    """Railway refused to create it, and its template has changed since: there is nothing to keep."""
    never_was = i.status.phase is InstancePhase.FAILED and i.status.service_id is None
    return never_was and is_free(i) and i.spec.template_hash != template_hash


def _newest_first(i: AgentInstance) -> tuple[int, float]:
    created = i.metadata.creation_timestamp
    return -i.metadata.seq, -created.timestamp() if created else 0.0


def _has_lingered(i: AgentInstance, now: datetime) -> bool:
    ready = condition(i.status.conditions, "Ready")
    if i.status.phase is not InstancePhase.FAILED or ready is None:
        return False
    return now - ready.last_transition_time >= FAILED_LINGERS


# ---------------------------------------------------------------- the pool's status


@dataclass(frozen=True, slots=True)
class Weather:
    """How Railway is to talk to: what the pool's ProviderReachable condition says."""

    reachable: bool | None  # None: not looked yet.
    reason: str = "Observed"
    message: str = ""


def pool_status(
    pool: AgentPool,
    instances: Sequence[AgentInstance],
    waiting: int,
    orphans: int,
    template_hash: str,
    stall: Stall | None,
    weather: Weather,
    now: datetime,
) -> PoolStatus:
    """What was seen in this pass. Equal to the old one when nothing changed, so that it is not written."""
    tally = _tally(instances, template_hash)
    in_all = tally["total"] + orphans
    status = pool.status.model_copy(
        update={
            **tally,
            "observed_generation": pool.metadata.generation,
            "total": in_all,
            "waiting": waiting,
            "selector": f"pool.convos.org/pool={pool.metadata.name}",
        }
    )
    facts = _facts(pool, tally["idle"], in_all, orphans, stall, weather)
    return status.model_copy(update={"conditions": _conditions(pool, facts, now)})


Facts = dict[str, tuple[bool | None, str, str]]  # By condition: verdict, reason, sentence.


def _conditions(pool: AgentPool, facts: Facts, now: datetime) -> tuple[Condition, ...]:
    conditions = pool.status.conditions
    for kind, (verdict, reason, message) in facts.items():
        new = Condition(
            type=kind,
            status="Unknown" if verdict is None else "True" if verdict else "False",
            reason=reason,
            message=message,
            last_transition_time=now,
            observed_generation=pool.metadata.generation,
        )
        conditions = with_condition(conditions, new)
    return conditions


def _tally(instances: Sequence[AgentInstance], template_hash: str) -> dict[str, int]:
    """The status's counts, in one walk: `failed` are those that nobody claimed and that are of no use to
    anybody, since they failed or serve a stranger; `outdated` are warm ones of an earlier template."""
    count = dict.fromkeys(("provisioning", "idle", "claimed", "failed", "total", "outdated"), 0)
    for i in instances:
        phase = i.status.phase
        if phase is InstancePhase.GONE:
            continue
        count["total"] += 1
        if i.spec.claim_ref is not None:
            count["claimed"] += 1
        elif phase is InstancePhase.FAILED or i.status.barred is not None:
            count["failed"] += phase is not InstancePhase.RETIRING
        elif (kind := _WARM.get(phase)) is not None:
            count[kind] += 1
            count["outdated"] += i.spec.template_hash != template_hash
    return count


def _facts(
    pool: AgentPool, idle: int, in_all: int, orphans: int, stall: Stall | None, weather: Weather
) -> Facts:
    spec = pool.spec
    enough, full = idle >= spec.min_idle, in_all >= spec.max_total
    at_rest = enough or stall is not None or spec.paused or full
    have = f"{idle} of {spec.min_idle} idle"
    found = f", {orphans} of them without a record" if orphans else ""
    return {
        "Ready": (enough, "EnoughIdle" if enough else "TooFewIdle", have),
        "Reconciling": (not at_rest, "AtRest" if at_rest else "FillingUp", ""),
        "Stalled": (
            stall is not None,
            stall.reason if stall else "NotStalled",
            stall.message if stall else "",
        ),
        "ProviderReachable": (weather.reachable, weather.reason, weather.message),
        "AtCapacity": (
            full,
            "Full" if full else "Room",
            f"{in_all} of {spec.max_total} services{found}",
        ),
    }
