"""Each rule of a claim's path breaks on the history that it is there for, and not on its neighbour."""

from collections.abc import Sequence

import pytest

from tests.history.builders import (
    BOUND,
    CONTROLLER,
    READY,
    REF,
    SIDECAR,
    WISH,
    a_bind,
    a_course,
    an_idle,
    answered,
    answers,
    attempt_of,
    claim,
    created,
    deleted,
    happened,
    hears,
    instance,
    pool,
    released,
)
from tests.history.events import Did, Event, Happened, Replied, Requested, Told
from tests.history.test_laws import broken_by, kept_by

TELLS = Told(CONTROLLER, WISH, "https://i1.test", False)
DONE = TELLS._replace(over=True)
SENDS = Requested(CONTROLLER, "patch", "svc-i1", "sent")
LOOKED = Requested(CONTROLLER, "look", "", "done")
OTHER_LEADS: list[Event] = [Happened("controller-b.2", "leads")]
INTENT = instance(phase="Provisioning", service=None, url=None)
BY_HAND = instance(actor="somebody", phase="Provisioning", service=None, url=None)
PUSH = Did("somebody", "push", "svc-i1", "agent-i1")
PATCHED = Did(CONTROLLER, "patch", "svc-i1", "agent-i1")
RENAMED = Did(CONTROLLER, "rename", "svc-i1", "agent-trip-i1")
STRANGE: list[Event] = [
    Did("somebody", "serviceCreate", "s", "s"),
    answers("conv0", wish="a stranger's"),
]
LET_GO = claim(left="ProvisionFailed")
LET_GO_BY_ANOTHER = claim(actor="controller-b.2", left="ProvisionFailed")
LATER = "12:00:40"
ANOTHERS = claim(
    actor="controller-b.2", **(BOUND | {"attempt": attempt_of("controller-b.2", LATER)})
)
NEW_ATTEMPT = claim(**(BOUND | {"attempt": attempt_of(CONTROLLER, LATER)}))
OLD_ATTEMPT = claim(**(BOUND | {"attempt": attempt_of(CONTROLLER, "12:00:20")}))
TIMED_OUT = claim(**(BOUND | {"phase": "Failed", "reason": "TimedOut"}))


def replied(heard: str, actor: str = CONTROLLER) -> Event:
    return Replied(actor, WISH, "https://i1.test", heard)


QUICK = (
    "rule_5_an_open_call_is_waited_for",
    "rule_5_silence_ends_an_attempt",
    "rule_5_a_strangers_conversation_is_not_ours",
)
WRONG: list[tuple[str, Sequence[Event]]] = [
    ("rule_3_only_the_leader_acts", [*OTHER_LEADS, SENDS]),
    ("rule_3_only_the_leader_acts", [*a_bind(), *OTHER_LEADS, TELLS]),
    ("rule_3_paused_makes_nothing", [pool(paused=True), *[happened("-")] * 7, INTENT]),
    ("rule_5_an_open_call_is_waited_for", [*a_bind(), TELLS, TIMED_OUT]),
    ("rule_5_an_open_call_is_waited_for", [*a_bind(), TELLS, claim(left="Silent")]),
    ("rule_5_a_call_begins_with_its_attempt", [*a_bind(), TELLS]),
    ("rule_5_who_holds_the_attempt_decides", [*a_bind(), ANOTHERS]),
    ("rule_5_who_holds_the_attempt_decides", [*a_bind(), LET_GO_BY_ANOTHER]),
    ("rule_5_an_attempt_never_goes_back", [*a_bind(), NEW_ATTEMPT, OLD_ATTEMPT]),
    (
        "rule_5_none_idle_is_no_answer",
        [claim(phase="Failed", reason="NoneIdle"), answered(status=500, instance=None)],
    ),
    ("rule_5_who_is_served_stays", [*a_bind(), hears(), answers(), LET_GO]),
    (
        "rule_5_who_is_served_stays",
        [*a_bind(), hears(), hears(code=202), LET_GO],
    ),
    (
        "rule_5_a_strangers_conversation_is_not_ours",
        [*a_bind(), *STRANGE, replied("already"), claim(**(READY | {"conversation": "conv0"}))],
    ),
    ("rule_5_silence_ends_an_attempt", [*a_bind(), TELLS, DONE, replied("silent"), TELLS]),
    ("rule_5_renamed_once_ready", [*a_bind(), RENAMED]),
    (
        "rule_6_look_before_a_repeat",
        [SENDS, SENDS._replace(outcome="lost"), SENDS],
    ),
    ("rule_6_look_before_a_repeat", [SENDS, SENDS._replace(outcome="done"), SENDS]),
    ("rule_6_no_push_restarts", [pool(), *an_idle(), PUSH]),
    ("rule_6_no_push_restarts", [*a_bind(), PUSH]),
    ("rule_6_no_push_restarts", [Happened(CONTROLLER, "leads"), *a_bind(), PATCHED, PUSH]),
    ("law_4_never_more_than_max_total", [pool(max_total=0), INTENT]),
    (
        "law_5_never_offered_again",
        [claim("c-1", waits=True), released("c-1", actor=SIDECAR)],
    ),
    (
        "law_12_every_pool_is_full",
        [pool(), *an_idle(), deleted(actor="hand"), instance(phase="Gone"), happened("rest")],
    ),
    (
        "law_12_every_pool_is_full",
        [
            *a_bind()[:-1],
            instance(**(REF | {"claim_policy": "Delete"})),
            released(),
            happened("rest"),
        ],
    ),
]


@pytest.mark.parametrize(("rule", "history"), WRONG)
def test_a_rule_is_broken(rule: str, history: Sequence[Event]) -> None:
    assert broken_by(*history, every_s=1.0 if rule in QUICK else 10.0) == rule


RIGHT: list[Sequence[Event]] = [
    [*OTHER_LEADS, SENDS._replace(actor="controller-b.2")],
    [*OTHER_LEADS, SENDS._replace(outcome="lost")],  # In the middle of what it began.
    [pool(paused=True), *[happened("-")] * 7, BY_HAND],
    [*a_bind(), TELLS, DONE, TIMED_OUT],
    [claim(phase="Failed", reason="TimedOut"), answered(status=500, instance=None)],
    [*a_bind(), hears(), answers(), claim(left="Silent")],
    [*a_bind(), *STRANGE, replied("silent"), replied("already"), NEW_ATTEMPT],
    [
        *[*a_bind(), Happened(CONTROLLER, "begins a term"), *STRANGE, replied("already")],
        claim(**(READY | {"conversation": "conv0"})),
    ],
    [*a_bind(), TELLS, DONE, replied("silent"), NEW_ATTEMPT, TELLS],
    [*a_bind(), OLD_ATTEMPT, NEW_ATTEMPT],
    [*a_course(), RENAMED],
    [*a_bind(), *[happened("-")] * 5, ANOTHERS],
    [*a_bind(), *[happened("-")] * 5, LET_GO_BY_ANOTHER],
    [*a_bind(), claim(actor="controller-b.2", left="HalfBind")],
    [*a_bind(), hears(), answers(), claim(actor="controller-b.2", **READY)],
    [SENDS, SENDS._replace(outcome="lost"), LOOKED, SENDS],
    [SENDS, SENDS._replace(outcome="refused"), SENDS],
    [pool(), INTENT, created(), instance(phase="Provisioning"), PUSH],
    [Happened(CONTROLLER, "begins a term"), *OTHER_LEADS, *a_bind(), PATCHED, PUSH],
    [claim("claim-1", waits=True), released("claim-1", actor=SIDECAR)],
]


@pytest.mark.parametrize("history", RIGHT)
def test_its_neighbour_keeps_every_rule(history: Sequence[Event]) -> None:
    assert kept_by(*history, every_s=0.5 if TELLS in history else 10.0) is not None
