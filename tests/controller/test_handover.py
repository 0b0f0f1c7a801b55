"""One claim and its agent: every row of the design's table, the attempt, and the deadline."""

from datetime import datetime

import pytest

from api.records import Mark
from api.types import Attempt, ClaimPhase
from controller.agents import Heard, Reply, Status
from controller.handover import Ask, Rules, Step, Talk, Tell, Wait, Write, agree, decide, unbound
from tests.builders import NOW, a_claim_ref, an_instance
from tests.controller.parts import a_bound_pair, reasons, seconds

RULES = Rules(me="me", handover_timeout_s=60.0)
LATER = NOW + seconds(600)
CLAIM, INSTANCE = a_bound_pair()
MINE = Talk(by="me", since=0.0, bound_here=True)
THEIRS = Talk(by="another", since=0.0, silent=True)
REACHED = Status(reached=True, ready=True)
SERVES = Status(reached=True, ready=True, provisioned=True, conversation_id="c", invite_url="i")
INVITE = "https://convos.test/i"


def step(talk: Talk, mono: float = 1.0, deadline: datetime = LATER, **overrides: object) -> Step:
    claim, _ = a_bound_pair(**overrides)
    return decide(claim, talk, deadline, NOW, mono, RULES)


def after(reply: Reply, talk: Talk = MINE, mono: float = 1.0) -> Step:
    """What follows at once from this answer to a POST."""
    return step(talk.heard(reply, mono), mono)


def written(found: Step) -> Write:
    assert isinstance(found, Write)
    return found


# ---------------------------------------------------------------- the table of answers


def test_200_makes_it_ready_with_the_conversation_it_named() -> None:
    status = written(after(Reply(Heard.DONE, "conv", INVITE))).status
    assert (status.phase, status.conversation_id, status.invite_url) == ("Ready", "conv", INVITE)
    assert status.joined is False


def test_409_to_the_first_post_of_the_binder_is_somebody_elses_conversation() -> None:
    found = written(after(Reply(Heard.ALREADY, "theirs", INVITE)))
    assert found.status.phase is ClaimPhase.PENDING
    assert found.mark == Mark("UsedByStranger")


def test_who_renews_an_attempt_before_the_first_post_is_the_binder_still() -> None:
    """Stopped between bind and telling: nobody else can have told meanwhile."""
    found = written(after(Reply(Heard.ALREADY, "theirs", INVITE), MINE.taken("me", 0.0)))
    assert found.mark == Mark("UsedByStranger")


@pytest.mark.parametrize(
    "talk",
    [
        MINE.heard(Reply(Heard.FAILED), 0.0),
        THEIRS.taken("me", 0.0),
        MINE.heard(Reply(Heard.NOT_READY), 0.0).taken("me", 0.0),
        Talk(by="me", since=0.0),
    ],
    ids=["second POST", "attempt taken over", "attempt renewed after a POST", "bound by another"],
)
def test_409_later_is_ours(talk: Talk) -> None:
    assert written(after(Reply(Heard.ALREADY, "ours", INVITE), talk)).status.phase == "Ready"


@pytest.mark.parametrize("talk", [MINE, THEIRS], ids=["mine", "another's"])
def test_an_agent_that_says_provisioned_serves_this_claim(talk: Talk) -> None:
    status = written(step(talk.asked(SERVES, 1.0))).status
    assert (status.phase, status.conversation_id) == ("Ready", "c")


def test_joined_is_true_exactly_when_the_claim_has_a_join_url() -> None:
    told = MINE.heard(Reply(Heard.DONE, "conv", None), 1.0)
    status = written(step(told, join_url="https://join.test")).status
    assert (status.joined, status.invite_url) == (True, "https://join.test")


def test_202_is_asked_again_of_the_same_agent_and_never_of_another() -> None:
    waits = MINE.heard(Reply(Heard.WAITING), 1.0)
    assert step(waits, 1.0) == Wait(10.0)
    assert isinstance(step(waits.taken("me", 11.0), 11.0), Tell)


def test_three_times_500_bars_the_agent_and_looks_for_another() -> None:
    talk = MINE
    for n in (1, 2):
        talk = talk.heard(Reply(Heard.FAILED), 0.0)
        assert isinstance(step(talk, 3.0), Tell), n
    found = written(after(Reply(Heard.FAILED), talk))
    assert found.mark == Mark("ProvisionFailed")


def test_503_is_tried_for_a_minute_and_then_another_instance() -> None:
    talk = MINE.heard(Reply(Heard.NOT_READY), 0.0)
    assert isinstance(step(talk, 3.0), Tell)
    talk = talk.taken("me", 58.0).heard(Reply(Heard.NOT_READY), 58.0)
    assert written(step(talk, 60.5)).status.phase is ClaimPhase.PENDING


def test_the_minute_of_a_503_begins_anew_after_any_other_answer() -> None:
    talk = MINE.heard(Reply(Heard.NOT_READY), 0.0).heard(Reply(Heard.FAILED), 30.0)
    talk = talk.heard(Reply(Heard.NOT_READY), 59.0).taken("me", 61.0)
    assert isinstance(step(talk, 62.0), Tell)


@pytest.mark.parametrize(
    ("heard", "reason"), [(Heard.WRONG_KEY, "WrongKey"), (Heard.UNREACHED, "Unreached")]
)
def test_an_agent_that_surely_has_not_heard_fails_and_another_is_found(
    heard: Heard, reason: str
) -> None:
    found = written(after(Reply(heard)))
    assert found.status.phase is ClaimPhase.PENDING
    assert found.mark == Mark(reason, failed=True)


def test_400_fails_the_claim_and_not_the_agent() -> None:
    found = written(after(Reply(Heard.BAD_REQUEST)))
    assert (found.status.phase, found.mark) == (ClaimPhase.FAILED, None)


def test_silence_is_only_asked_about_until_the_attempt_is_over() -> None:
    talk = MINE.heard(Reply(Heard.SILENT), 1.0)
    assert [type(step(talk, mono)) for mono in (2.0, 4.0, 59.0)] == [Wait, Ask, Ask]


def test_silent_to_the_end_of_the_attempt_is_barred_for_ever() -> None:
    talk = MINE.heard(Reply(Heard.SILENT), 1.0).asked(Status(reached=False), 57.0)
    found = written(step(talk, 60.0))
    assert found.mark == Mark("Silent")
    assert (found.status.phase, found.status.instance) == (ClaimPhase.PENDING, None)


@pytest.mark.parametrize("heard", [Heard.WRONG_KEY, Heard.UNREACHED])
def test_after_silence_not_even_a_refusal_says_that_it_has_not_heard(heard: Heard) -> None:
    talk = MINE.heard(Reply(Heard.SILENT), 1.0).heard(Reply(heard), 4.0)
    assert not isinstance(step(talk, 4.0), Write)


# ---------------------------------------------------------------- the attempt


def test_whoever_is_not_in_the_attempt_asks_and_never_tells() -> None:
    assert [type(step(THEIRS, mono)) for mono in (0.0, 30.0, 59.9)] == [Ask, Ask, Ask]


def test_an_attempt_is_taken_over_only_after_its_time_and_an_answer() -> None:
    asked = THEIRS.asked(REACHED, 57.0)
    assert isinstance(step(asked, 59.9), Ask)
    old = Attempt(by="another", at=NOW - seconds(60))
    found = written(step(asked, 60.0, attempt=old))
    assert found.status.phase is ClaimPhase.BOUND
    assert found.status.attempt == Attempt(by="me", at=NOW)


def test_without_an_answer_on_hand_it_asks_before_it_gives_up() -> None:
    assert isinstance(step(THEIRS, 61.0), Ask)


def test_a_call_begins_only_while_its_attempt_is_fresh_else_it_is_renewed_first() -> None:
    """Or an agent at work for 40 s could be told again by another after 31."""
    assert isinstance(step(MINE, 5.0), Tell)
    found = written(step(MINE, 5.1))
    assert (found.status.phase, found.mark) == (ClaimPhase.BOUND, None)


@pytest.mark.parametrize("clock_s", [0, -3], ids=["in the same second", "after it was set back"])
def test_a_renewed_attempt_is_a_later_one_whatever_the_clock_says(clock_s: float) -> None:
    """Or nothing would be written, and others respect it no longer than the old one."""
    old = Attempt(by="me", at=NOW)
    claim, _ = a_bound_pair(attempt=old)
    found = written(decide(claim, MINE, LATER, NOW + seconds(clock_s), 6.0, RULES))
    assert found.status.attempt is not None
    assert (found.status.attempt.by, found.status.attempt.at > old.at) == ("me", True)


def test_a_short_time_to_hand_over_still_leaves_time_to_tell() -> None:
    rules = Rules(me="me", handover_timeout_s=2.0)
    assert isinstance(decide(CLAIM, MINE, LATER, NOW, 1.0, rules), Tell)


# ---------------------------------------------------------------- the deadline


def test_past_the_deadline_the_claim_fails_and_its_agent_is_barred() -> None:
    found = written(step(MINE, deadline=NOW))
    assert (found.status.phase, found.mark) == (ClaimPhase.FAILED, Mark("ClaimTimedOut"))
    assert reasons(found.status.conditions) == {"Ready": "TimedOut", "Stalled": "TimedOut"}


def test_an_answer_wins_over_the_deadline() -> None:
    talk = MINE.heard(Reply(Heard.DONE, "conv", INVITE), 1.0)
    assert written(step(talk, deadline=NOW)).status.phase is ClaimPhase.READY


@pytest.mark.parametrize("talk", [THEIRS, MINE.heard(Reply(Heard.SILENT), 0.0)])
def test_the_deadline_is_not_looked_at_while_a_call_may_be_open(talk: Talk) -> None:
    assert isinstance(step(talk, 30.0, deadline=NOW), Ask)


# ---------------------------------------------------------------- both sides


def test_a_bind_holds_only_when_both_sides_name_each_other() -> None:
    other, _ = a_bound_pair()
    other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"uid": "x"})})
    assert agree(CLAIM, INSTANCE)
    assert not agree(CLAIM, None)
    assert not agree(CLAIM, an_instance(name="i1"))
    assert not agree(CLAIM, an_instance(name="i1", claim_ref=a_claim_ref(other)))
    assert not agree(CLAIM, an_instance(name="i2", claim_ref=a_claim_ref(CLAIM)))


def test_a_claim_that_is_let_go_keeps_its_place_and_nothing_of_the_agent() -> None:
    status = unbound(CLAIM, "Silent", NOW)
    assert (status.phase, status.instance, status.attempt) == (ClaimPhase.PENDING, None, None)
    assert reasons(status.conditions) == {"Bound": "Silent"}
