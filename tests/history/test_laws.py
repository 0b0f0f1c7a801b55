"""Each law breaks on the history that it is there for, and on none where all is well."""

from collections.abc import Sequence

import pytest

from tests.history.builders import (
    BOUND,
    CONTROLLER,
    OTHER,
    READY,
    REF,
    SIDECAR,
    WISH,
    a_bind,
    a_course,
    an_idle,
    answered,
    answers,
    at_rest,
    attempt_of,
    claim,
    created,
    deleted,
    happened,
    hears,
    instance,
    lines,
    pool,
    released,
    serves,
)
from tests.history.checker import LAWS, judge
from tests.history.events import Asked, Did, Event, Happened, Requested, Said, Told, Wrote
from tests.history.laws import Broken

HANDOVER_S = 60.0
SENDS = Requested(CONTROLLER, "create", "agent-i1", "sent")
MEANT = [
    instance(phase="Provisioning", service=None, url=None),
    SENDS,
    SENDS._replace(outcome="lost"),
]
SECOND = {"uid": "u2", "wish": OTHER}
SECOND_REF = {"claim": "c2", "claim_uid": "u2", "claim_policy": "Retain"}


def broken_by(*events: Event, every_s: float = 10.0) -> str:
    """The law that this history breaks."""
    with pytest.raises(Broken) as broken:
        judge(lines(*events, every_s=every_s), HANDOVER_S)
    return broken.value.law


def kept_by(*events: Event, every_s: float = 10.0) -> dict[str, int]:
    """How often each law was put to the test by a history that keeps them all."""
    return dict(judge(lines(*events, every_s=every_s), HANDOVER_S).met)


def test_the_whole_way_of_a_claim_keeps_every_law() -> None:
    met = kept_by(*at_rest())
    assert met["law_1_one_claim_for_life"] == 2
    assert met["law_9_one_answer_for_a_key"] == met["law_12_every_pool_is_full"] == 1


WRONG: list[tuple[str, Sequence[Event]]] = [
    (
        "law_1_one_claim_for_life",
        [
            *a_bind(),
            hears(),
            claim("c2", **SECOND),
            claim("c2", **SECOND, **BOUND),
            instance(**SECOND_REF),
        ],
    ),
    ("law_1_one_claim_for_life", [*a_bind(), instance()]),
    (
        "law_1_one_claim_for_life",
        [*a_bind(), claim("c2", **SECOND), hears(), hears(wish=OTHER)],
    ),
    ("law_2_bound_before_heard", [pool(), *an_idle(), claim(), hears()]),
    ("law_2_bound_before_heard", [pool(), *an_idle(), claim(), claim(**BOUND), hears()]),
    ("law_3_nothing_claimed_is_deleted", [pool(), *an_idle(), deleted()]),
    ("law_3_nothing_claimed_is_deleted", [pool(), *an_idle(), instance(phase="Retiring")]),
    ("law_3_nothing_claimed_is_deleted", [*a_course(), instance(**REF, phase="Retiring")]),
    (
        "law_3_nothing_claimed_is_deleted",
        [*a_course(), released(), instance(**REF, phase="Retiring")],
    ),
    (
        "law_4_never_more_than_max_total",
        [pool(max_total=1), *an_idle("i1"), *an_idle("i2")],
    ),
    (
        "law_5_never_offered_again",
        [pool(), *an_idle(), Told(CONTROLLER, OTHER, "https://i1.test", False), *a_bind()[-3:]],
    ),
    (
        "law_5_never_offered_again",
        [pool(), *an_idle(), instance(barred="X"), claim(**BOUND), instance(**REF, barred="X")],
    ),
    ("law_5_never_offered_again", [*a_bind(), released(actor=SIDECAR)]),
    ("law_6_record_before_service", [pool(), created()]),
    ("law_6_record_before_service", [pool(), SENDS]),
    (
        "law_6_record_before_service",
        [pool(), *MEANT, Wrote(CONTROLLER, "instance", "i1", None), SENDS],
    ),
    ("law_6_record_before_service", [*an_idle(), instance(service="another")]),
    ("law_6_record_before_service", [*an_idle(), instance(service=None)]),
    (
        "law_6_record_before_service",
        [
            instance(service=None, phase="Provisioning"),
            Did("somebody", "serviceCreate", "svc-i1", "agent-i1"),
            instance(),
        ],
    ),
    ("law_7_absence_is_not_guessed", [*an_idle(), instance(phase="Gone")]),
    ("law_8_ended_stays_ended", [*a_course(), claim(**(READY | {"conversation": "conv2"}))]),
    ("law_8_ended_stays_ended", [claim(phase="Failed"), claim()]),
    (
        "law_8_ended_stays_ended",
        [pool(policy="Delete"), *an_idle(), instance(phase="Retiring"), instance()],
    ),
    ("law_9_one_answer_for_a_key", [*a_course(), answered(instance="i2")]),
    ("law_9_one_answer_for_a_key", [*a_course(), answered(wish=OTHER)]),
    ("law_10_no_secret_is_told", [Said(CONTROLLER, "told: Serve wish 7.")]),
    ("law_11_one_call_open", [*a_bind(), hears(), hears()]),
    ("law_11_one_call_open", [*a_bind(), hears(), claim(**READY)]),
    (
        "law_11_one_call_open",
        [*a_bind(), hears(), answers(), claim(**(READY | {"conversation": "conv0"}))],
    ),
    ("law_11_one_call_open", [*a_course(), answers("conv2")]),
    ("law_11_ready_claims_are_served", [*a_course(), serves(conversation="c"), happened("rest")]),
    (
        "law_12_every_pool_is_full",
        [pool(min_idle=1), *a_course()[1:], serves(), happened("rest")],
    ),
    ("law_12_every_pool_is_full", [pool(observed=0), happened("rest")]),
    ("law_12_every_pool_is_full", [*an_idle(), deleted(actor="hand"), happened("rest")]),
    ("law_13_every_claim_ends", [pool(), claim(), happened("rest")]),
    ("law_13_every_claim_ends", [Asked("customer", "k1", OTHER), happened("rest")]),
]


@pytest.mark.parametrize(("law", "history"), WRONG)
def test_a_law_is_broken(law: str, history: Sequence[Event]) -> None:
    assert broken_by(*history) == law


def test_whoever_waits_for_a_minute_is_not_passed_over() -> None:
    old = {"name": "c0", "uid": "u0", "wish": OTHER}
    waits = [
        pool(),
        claim(**old),
        happened("-"),
        *[happened("-")] * 7,
        *a_bind()[1:],
        *an_idle("i2"),
    ]
    bound = {"phase": "Bound", "instance": "i2"}
    its = instance("i2", phase="Claimed", claim="c0", claim_uid="u0", claim_policy="Retain")
    late = claim(**old, **bound, attempt=attempt_of("controller-a", "12:01:00"))
    assert broken_by(*waits, late, its) == "law_13_oldest_first"
    assert kept_by(*waits, claim(**old, **bound, attempt=BOUND["attempt"]), its)
    out = claim(**old, phase="Failed", reason="TimedOut")
    assert broken_by(*waits, out) == "law_13_oldest_first"


def test_one_whose_time_is_over_may_be_passed_over() -> None:
    late = claim("c0", uid="u0", wish=OTHER, timeout_s=30.0)
    assert kept_by(pool(), late, *[happened("-")] * 8, *a_bind()[1:])


def test_a_create_that_was_meant_may_come_when_its_record_has_gone() -> None:
    gone = [instance(phase="Gone", service=None), Wrote(CONTROLLER, "instance", "i1", None)]
    assert kept_by(pool(), *MEANT, *gone, created())
    assert broken_by(*MEANT, *gone, created(), pool(), happened("rest")) == (
        "law_14_orphans_are_counted"
    )


def test_a_create_long_after_max_total_sank_breaks_a_law() -> None:
    two = [pool(), *an_idle("i2"), instance(phase="Provisioning", service=None, url=None)]
    sank = [pool(max_total=1), *[happened("-")] * 7]
    late = broken_by(*two, *sank, SENDS, created(), every_s=1.0)
    assert late == "law_4_never_more_than_max_total"
    assert kept_by(*two, SENDS, *sank, created(), every_s=1.0)
    assert kept_by(*two, *sank[:3], SENDS, created(), every_s=1.0)
    lost = Requested(CONTROLLER, "create", "agent-i1", "lost")  # Its sender gave up; it arrives.
    assert kept_by(*two, SENDS, *sank, lost, created(), every_s=1.0)


def test_an_orphan_that_is_not_counted_breaks_a_law() -> None:
    there = [pool(total=1), *an_idle(), *an_idle("i2")]
    lost = [*there, instance("i2", phase="Gone")]  # Its record says so; nobody deleted it.
    gone = [e for e in lost if e is not lost[-1]]
    orphan = Did("somebody", "serviceCreate", "svc-copy", "copy", "p")
    assert broken_by(*gone, orphan, happened("rest")) == "law_14_orphans_are_counted"
    assert kept_by(pool(total=3), *gone[1:], orphan, happened("rest"))


def test_a_service_is_deleted_for_the_two_reasons_there_are() -> None:
    delete = REF | {"claim_policy": "Delete"}
    bound = [*a_bind()[:-1], instance(**delete)]
    released_one = [*bound, released(), instance(**delete, phase="Retiring"), deleted()]
    moved_on = [
        pool(policy="Delete"),
        *a_bind()[1:],
        claim(),
        instance(**REF, phase="Retiring"),
        deleted(),
    ]
    assert kept_by(*released_one)["law_3_nothing_claimed_is_deleted"] == 2
    assert kept_by(*moved_on)["law_3_nothing_claimed_is_deleted"] == 2


def test_a_call_that_outlived_its_attempt_is_the_known_limit() -> None:
    assert kept_by(*a_bind(), hears(), hears(), answers(), answers("conv2"), every_s=HANDOVER_S)


def test_an_agent_that_restarted_may_say_something_else() -> None:
    restarted = Did("world", "restart", "svc-i1", "agent-i1")
    assert kept_by(*a_course(), restarted, serves(conversation=None), happened("rest"))


def test_a_released_key_may_be_asked_anew() -> None:
    first = [pool(), *an_idle(), *an_idle("i2"), claim(), claim(**BOUND), instance(**REF)]
    first += [hears(), answers(), claim(**READY), answered(), released()]
    again = {"uid": "u2", "instance": "i2", "attempt": attempt_of(CONTROLLER)}
    second = [claim(uid="u2"), claim(**(BOUND | again)), instance("i2", claim="c1", claim_uid="u2")]
    second += [hears("i2"), answers("conv2", "i2")]
    second += [claim(**(READY | again | {"conversation": "conv2"}))]
    last = answered(instance="i2", conversation="conv2", since=100.0)
    assert kept_by(*first, *second, last)["law_9_one_answer_for_a_key"] == 2


def test_what_a_backup_forgot_is_not_held_against_who_went_on() -> None:
    back = [instance(actor="backup"), claim(actor="backup")]
    other = [claim("c2", **SECOND), claim("c2", **SECOND, **BOUND), instance(**SECOND_REF)]
    assert kept_by(*a_course(), *back, *other)


def test_a_call_that_a_backup_forgot_is_nobodys() -> None:
    told = [*a_bind(), *an_idle("i2"), Told(CONTROLLER, WISH, "https://i1.test", False), hears()]
    back = [instance(actor="backup"), claim(actor="backup")]
    anew = [claim(**(BOUND | {"instance": "i2"})), instance("i2", **REF), hears("i2")]
    assert kept_by(*told, *back, *anew, every_s=0.5)
    left = broken_by(*told, claim(left="Silent"), *anew, every_s=0.5)
    assert left == "rule_5_an_open_call_is_waited_for"
    lets_go = claim(left="UsedByStranger")
    assert kept_by(*told, *back, *anew[:2], lets_go, every_s=0.5)


def test_a_call_that_waits_at_the_edge_until_its_attempt_is_over_is_the_known_limit() -> None:
    again = [*an_idle("i2"), claim(left="Silent"), claim(**(BOUND | {"instance": "i2"}))]
    served = [instance("i2", **REF), hears("i2"), answers("conv2", "i2")]
    served.append(claim(**(READY | {"instance": "i2", "conversation": "conv2"})))

    def late(since: float | None) -> list[Event]:
        return [*a_bind(), *again, *served, hears(since=since), answers()]

    assert kept_by(*late(0.0))
    assert broken_by(*late(None)) == "law_11_one_call_open"


def test_what_had_moved_on_when_a_backup_was_taken_has_moved_on_when_it_is_back() -> None:
    moved = [pool(policy="Delete"), *a_bind()[1:], claim(left="UsedByStranger"), instance(**REF)]
    since = [instance(**REF, phase="Retiring"), happened("-")]
    back = [claim("c2", **SECOND, actor="backup"), instance(actor="backup", **REF)]
    retires = instance(**REF, phase="Retiring")
    assert kept_by(*moved, happened("backup taken"), *since, *back, retires)
    stays = [happened("backup taken"), claim(left="UsedByStranger"), *since]
    law = "law_3_nothing_claimed_is_deleted"
    kept = [claim(**BOUND, actor="backup"), *back]
    assert broken_by(pool(policy="Delete"), *a_bind()[1:], *stays, *kept, retires) == law


def test_who_gives_up_need_not_be_answered() -> None:
    gone = Happened("customer", "gives up", ("k1",))
    assert kept_by(pool(), Asked("customer", "k1", OTHER), gone, happened("rest"))


def test_every_law_says_what_it_is() -> None:
    assert all((law.__doc__ or "").strip() for law in LAWS)
