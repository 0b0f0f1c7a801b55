"""One pool: who gets whom, what is made, what is let go, and what its status says."""

from datetime import timedelta
from typing import Any

import pytest

from api.records import Bindable
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    ClaimRef,
    InstancePhase,
    OnEmpty,
    ReclaimPolicy,
)
from controller.sizing import (
    FAILED_LINGERS,
    Stall,
    Weather,
    deadline,
    failing,
    match,
    plan,
    pool_status,
    timed_out,
)
from tests.builders import NOW, a_claim, a_pool, an_instance
from tests.controller.parts import a_condition, reasons, seconds

REF = ClaimRef(name="c", uid="u")
STALL = Stall("TemplateFailing", "mend it")
IDLE, STARTING = InstancePhase.IDLE, InstancePhase.PROVISIONING
FAILED, GONE, RETIRING = InstancePhase.FAILED, InstancePhase.GONE, InstancePhase.RETIRING


def some(n: int, phase: InstancePhase, **overrides: Any) -> list[AgentInstance]:
    made: dict[str, Any] = {"creation_timestamp": NOW, "phase": phase} | overrides
    return [an_instance(**({"seq": seq} | made)) for seq in range(1, n + 1)]


def a_waiting(name: str, seq: int, **overrides: Any) -> AgentClaim:
    return a_claim(name=name, seq=seq, creation_timestamp=NOW, **overrides)


def there(claims: list[AgentClaim], idle: list[AgentInstance]) -> Bindable:
    return Bindable(now=NOW, claims=tuple(claims), idle=tuple(idle), pool=None)


# ---------------------------------------------------------------- who gets whom


def test_the_oldest_claim_gets_the_oldest_instance() -> None:
    claims = [a_waiting("b", 2), a_waiting("c", 3), a_waiting("a", 1)]
    found = match(there(claims, list(reversed(some(2, IDLE)))), a_pool(), 200)
    assert [(b.claim.metadata.name, b.instance.metadata.seq) for b in found.binds] == [
        ("a", 1),
        ("b", 2),
    ]


def test_without_an_order_of_rows_creation_time_then_name_decide() -> None:
    late = a_claim(name="a", creation_timestamp=NOW + seconds(1))
    claims = [late, *(a_claim(name=name, creation_timestamp=NOW) for name in ("c", "b"))]
    bindable = there(claims, some(3, IDLE))
    names = [b.claim.metadata.name for b in match(bindable, a_pool(), 200).binds]
    assert names == ["b", "c", "a"]


def test_who_would_not_wait_is_refused_in_the_same_pass() -> None:
    claims = [a_waiting("a", 1), a_waiting("b", 2, on_empty=OnEmpty.FAIL), a_waiting("c", 3)]
    found = match(there(claims, some(1, IDLE)), a_pool(), 200)
    assert [c.metadata.name for c in found.refused] == ["b"]


def test_nobody_is_refused_unless_every_idle_one_was_seen() -> None:
    claims = [a_waiting(str(n), n, on_empty=OnEmpty.FAIL) for n in (1, 2)]
    assert match(there(claims, some(1, IDLE)), a_pool(), limit=1).refused == ()


def test_a_claim_whose_time_is_over_uses_up_no_agent() -> None:
    late = a_claim(name="late", creation_timestamp=NOW - timedelta(minutes=10))
    in_time = a_waiting("in-time", 2)
    found = match(there([late, in_time], some(1, IDLE)), a_pool(), 200)
    assert [b.claim.metadata.name for b in found.binds] == ["in-time"]


# ---------------------------------------------------------------- until when


@pytest.mark.parametrize(
    ("own", "pool", "minutes"),
    [
        (timedelta(minutes=1), a_pool(), 1),
        (None, a_pool(claim_timeout=timedelta(minutes=3)), 3),
        (None, None, 10),
    ],
)
def test_a_claims_own_timeout_comes_before_its_pools(
    own: timedelta | None, pool: AgentPool | None, minutes: int
) -> None:
    claim = a_claim(timeout=own, creation_timestamp=NOW)
    assert deadline(claim, pool) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(("pool", "reason"), [(a_pool(), "TimedOut"), (None, "PoolNotFound")])
def test_a_pending_claim_fails_at_its_deadline(pool: AgentPool | None, reason: str) -> None:
    claim, end = a_waiting("a", 1), NOW + timedelta(minutes=10)
    assert timed_out(claim, pool, end - seconds(1)) is None
    ended = timed_out(claim, pool, end)
    assert ended is not None
    assert (ended.phase, reasons(ended.conditions)["Stalled"]) == (ClaimPhase.FAILED, reason)


def test_a_bound_claim_is_left_to_its_hand_over() -> None:
    bound = a_waiting("a", 1, phase=ClaimPhase.BOUND)
    assert timed_out(bound, a_pool(), NOW + timedelta(days=1)) is None


# ---------------------------------------------------------------- what is made


@pytest.mark.parametrize(
    ("instances", "waiting", "orphans", "make"),
    [
        ([], 0, 0, 3),
        (some(2, IDLE), 0, 0, 1),
        (some(1, IDLE) + some(2, STARTING), 0, 0, 0),
        (some(3, IDLE), 2, 0, 2),
        (some(3, IDLE, claim_ref=REF), 0, 0, 3),
        (some(3, IDLE, barred="UsedByStranger"), 0, 0, 3),
        (some(3, FAILED), 0, 0, 3),
        (some(9, IDLE, claim_ref=REF), 0, 0, 1),
        (some(12, IDLE, claim_ref=REF), 0, 0, 0),
        (some(10, RETIRING), 0, 0, 0),
        (some(20, GONE), 0, 0, 3),
        ([], 20, 0, 10),
        ([], 0, 8, 2),
        ([], 0, 11, 0),
    ],
)
def test_a_pool_is_filled_up_to_its_wishes_and_never_over_its_most(
    instances: list[AgentInstance], waiting: int, orphans: int, make: int
) -> None:
    assert plan(a_pool(), instances, waiting, orphans, None, "hash", NOW).make == make


@pytest.mark.parametrize(
    ("pool", "stall"), [(a_pool(paused=True), None), (a_pool(), STALL)], ids=["paused", "stalled"]
)
def test_nothing_is_made(pool: AgentPool, stall: Stall | None) -> None:
    assert plan(pool, [], 5, 0, stall, "hash", NOW).make == 0


def test_as_many_failures_of_one_template_as_should_be_idle_stop_creation() -> None:
    pool, failed = a_pool(min_idle=2), some(2, FAILED)
    assert failing(pool, failed[:1], "hash") is None
    stall = failing(pool, failed, "hash")
    assert stall is not None
    assert stall.reason == "TemplateFailing"
    assert failing(pool, failed, "mended") is None


def test_claimed_and_barred_failures_say_nothing_of_the_template() -> None:
    others = some(2, FAILED, claim_ref=REF) + some(2, FAILED, barred="UsedByStranger")
    assert failing(a_pool(min_idle=2), others, "hash") is None


def test_one_failure_is_enough_where_nobody_should_be_idle() -> None:
    assert failing(a_pool(min_idle=0), [], "hash") is None
    assert failing(a_pool(min_idle=0), some(1, FAILED), "hash") is not None


# ---------------------------------------------------------------- what is let go


def let_go(instances: list[AgentInstance], **pool: Any) -> list[tuple[int, str]]:
    made = a_pool(**({"min_idle": 1, "reclaim_policy": ReclaimPolicy.DELETE} | pool))
    retire = plan(made, instances, 0, 0, None, "hash", NOW).retire
    return [(i.metadata.seq, why) for i, why in retire]


def test_surplus_goes_the_unready_first_then_the_newest() -> None:
    starting = some(1, STARTING, seq=9)
    assert let_go(some(3, IDLE) + starting) == [(9, "Surplus"), (3, "Surplus"), (2, "Surplus")]


def test_one_that_railway_refused_to_create_goes_once_its_template_has_changed() -> None:
    refused, other = some(1, FAILED, seq=1), some(1, FAILED, seq=2, service_id="s2")
    retained = a_pool(reclaim_policy=ReclaimPolicy.RETAIN)
    assert plan(retained, refused + other, 0, 0, None, "hash", NOW).retire == ()
    assert plan(retained, refused + other, 0, 0, None, "mended", NOW).retire == (
        (refused[0], "Stillborn"),
    )


def test_a_failed_instance_is_kept_for_a_while_to_be_looked_at() -> None:
    since = NOW - FAILED_LINGERS
    old = a_condition("Ready", true=False, last_transition_time=since)
    young = a_condition("Ready", true=False, last_transition_time=since + seconds(1))
    failed = some(1, FAILED, seq=1, conditions=(old,)) + some(1, FAILED, seq=2, conditions=(young,))
    assert let_go(failed) == [(1, "Failed")]


@pytest.mark.parametrize(
    "pool", [{"reclaim_policy": ReclaimPolicy.RETAIN}, {"paused": True}], ids=["Retain", "paused"]
)
def test_nothing_is_let_go(pool: dict[str, Any]) -> None:
    assert let_go(some(5, IDLE), **pool) == []


def test_nothing_claimed_is_ever_surplus_or_failed() -> None:
    old = a_condition("Ready", true=False, last_transition_time=NOW - timedelta(days=1))
    claimed = some(5, IDLE, claim_ref=REF) + some(5, FAILED, claim_ref=REF, conditions=(old,))
    assert let_go(claimed) == []


# ---------------------------------------------------------------- what it says


def status_of(
    pool: AgentPool,
    instances: list[AgentInstance],
    stall: Stall | None = None,
    orphans: int = 0,
) -> AgentPool:
    status = pool_status(pool, instances, 1, orphans, "hash", stall, Weather(True), NOW)
    return pool.model_copy(update={"status": status})


def test_a_status_counts_each_instance_once_and_the_gone_ones_nowhere() -> None:
    free = some(3, IDLE) + some(2, STARTING) + some(1, FAILED) + some(4, GONE)
    claimed = some(1, IDLE, claim_ref=REF) + some(1, GONE, claim_ref=REF)
    outdated = some(1, IDLE, template_hash="old")
    status = status_of(a_pool(max_total=20), free + claimed + outdated, orphans=2).status
    assert (status.idle, status.provisioning, status.failed, status.claimed) == (4, 2, 1, 1)
    assert (status.total, status.waiting, status.outdated) == (10, 1, 1)


def test_an_unclaimed_instance_that_serves_a_stranger_counts_as_failed() -> None:
    used = some(1, STARTING, barred="UsedByStranger") + some(1, GONE, barred="UsedByStranger")
    given_up = some(1, IDLE, claim_ref=REF, barred="Silent")
    status = status_of(a_pool(), used + given_up).status
    assert (status.failed, status.claimed, status.provisioning, status.total) == (1, 1, 0, 2)


@pytest.mark.parametrize(
    ("pool", "instances", "stall", "truths"),
    [
        (a_pool(), some(3, IDLE), None, {"Ready"}),
        (a_pool(), some(2, IDLE), None, {"Reconciling"}),
        (a_pool(), [], STALL, {"Stalled"}),
        (a_pool(paused=True), [], None, set()),
        (a_pool(max_total=3), some(3, IDLE, claim_ref=REF), None, {"AtCapacity"}),
    ],
)
def test_conditions_are_as_kstatus_means_them(
    pool: AgentPool, instances: list[AgentInstance], stall: Stall | None, truths: set[str]
) -> None:
    conditions = status_of(pool, instances, stall).status.conditions
    assert {c.type for c in conditions if c.status == "True"} == truths | {"ProviderReachable"}


def test_the_same_look_twice_leaves_the_status_as_it_is() -> None:
    pool = status_of(a_pool(), some(3, IDLE))
    later = NOW + timedelta(hours=1)
    again = pool_status(pool, some(3, IDLE), 1, 0, "hash", None, Weather(True), later)
    assert again == pool.status
