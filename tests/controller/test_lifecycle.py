"""One instance: what was seen becomes its status, and its status says the next act."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from api.records import Fate
from api.types import (
    AgentInstance,
    ClaimRef,
    Condition,
    InstancePhase,
    InstanceStatus,
    ReclaimPolicy,
)
from controller.agents import Status
from controller.course import Course, Verb, own_course
from controller.lifecycle import (
    Probe,
    is_moving,
    may_forget,
    next_act,
    seen,
    should_retire,
    stepped,
)
from controller.railway import Deployment
from controller.sight import Sight
from tests.builders import NOW, an_instance
from tests.controller.parts import (
    a_condition,
    a_made_instance,
    a_service,
    a_sight,
    an_answer,
    reasons,
    seconds,
)

BY_PATCH = Course(Verb.CREATE_EMPTY, (Verb.PATCH,), timedelta(minutes=15))
REPO = Course(Verb.CREATE_EMPTY, (Verb.PATCH, Verb.AUTO_DEPLOY_OFF), timedelta(minutes=15))
REF = ClaimRef(name="c", uid="u", reclaim_policy=ReclaimPolicy.DELETE)
UNHEARD = Probe(Status(reached=False), misses=2)
NEW = an_instance(name="anew1234", creation_timestamp=NOW)


def look_at(
    instance: AgentInstance,
    probe: Probe | None = None,
    sight: Sight | None = None,
    course: Course | None = BY_PATCH,
    **service: Any,
) -> InstanceStatus:
    shown = a_service(instance, **({"domain": "one.test", "has_source": True} | service))
    return seen(instance, sight or a_sight(shown), probe, NOW, course)


def deployed(status: str) -> dict[str, Any]:
    return {"deployment": Deployment("d1", status)}


def idle(**overrides: Any) -> AgentInstance:
    """As `seen` itself leaves it, so that a second look may be asked to change nothing."""
    made = a_made_instance(**overrides)
    return made.model_copy(update={"status": look_at(made, an_answer(), **deployed("SUCCESS"))})


# ---------------------------------------------------------------- what was seen


def test_an_agent_that_says_ready_is_idle() -> None:
    status = look_at(a_made_instance(), an_answer())
    assert (status.phase, status.ready_at) == (InstancePhase.IDLE, NOW)
    assert reasons(status.conditions)["Ready"] == "AgentReady"


def test_before_auto_deploy_is_off_not_even_a_ready_agent_is_idle() -> None:
    patched = a_condition("Deployed", true=False, reason=Verb.PATCH)
    instance = a_made_instance(conditions=(a_condition("Exposed"), patched))
    assert look_at(instance, an_answer(), course=REPO).phase is InstancePhase.PROVISIONING


def test_the_same_look_twice_changes_nothing() -> None:
    instance = idle()
    again = seen(
        instance,
        a_sight(a_service(instance, domain="one.test", has_source=True, **deployed("SUCCESS"))),
        an_answer(),
        NOW + timedelta(hours=1),
        BY_PATCH,
    )
    assert again == instance.status


@pytest.mark.parametrize("word", ["FAILED", "CRASHED"])
def test_railways_bad_word_weighs_more_than_a_ready_agent(word: str) -> None:
    assert look_at(idle(), an_answer(), **deployed(word)).phase is InstancePhase.FAILED


@pytest.mark.parametrize("word", ["SLEEPING", "REMOVED", "SUCCESS", "NEEDS_APPROVAL"])
def test_no_other_word_takes_an_idle_instance_away(word: str) -> None:
    assert look_at(idle(), an_answer(), **deployed(word)).phase is InstancePhase.IDLE


@pytest.mark.parametrize(
    ("misses", "phase"), [(1, InstancePhase.IDLE), (2, InstancePhase.PROVISIONING)]
)
def test_one_lost_answer_takes_nobody_out_of_the_pool(misses: int, phase: InstancePhase) -> None:
    unheard = Probe(Status(reached=False), misses=misses)
    assert look_at(idle(), unheard).phase is phase


def test_an_agent_that_knows_none_of_our_keys_is_not_offered_after_its_first_word() -> None:
    refused = look_at(idle(), Probe(Status(reached=False, wrong_key=True), misses=1))
    assert refused.phase is InstancePhase.PROVISIONING
    assert reasons(refused.conditions)["Ready"] == "WrongKey"


def test_one_that_was_ready_is_never_failed_by_probes_however_long_it_is_silent() -> None:
    instance = idle()
    silent = instance.model_copy(update={"status": look_at(instance, UNHEARD)})
    later = seen(silent, Sight(), UNHEARD, NOW + timedelta(days=1), BY_PATCH)
    assert later.phase is InstancePhase.PROVISIONING


@pytest.mark.parametrize(
    ("minutes", "phase"), [(15, InstancePhase.PROVISIONING), (16, InstancePhase.FAILED)]
)
def test_one_that_was_ready_fails_when_it_says_for_so_long_that_it_is_not(
    minutes: int, phase: InstancePhase
) -> None:
    instance, unready = idle(), an_answer(ready=False)
    fallen = instance.model_copy(update={"status": look_at(instance, unready)})
    later = seen(fallen, Sight(), unready, NOW + timedelta(minutes=minutes), BY_PATCH)
    assert later.phase is phase


@pytest.mark.parametrize(
    ("minutes", "phase"), [(15, InstancePhase.PROVISIONING), (16, InstancePhase.FAILED)]
)
def test_one_that_never_was_ready_fails_at_the_pools_timeout(
    minutes: int, phase: InstancePhase
) -> None:
    began = NOW - timedelta(minutes=minutes)
    conditions = (a_condition("Exposed"), a_condition("Deployed", last_transition_time=began))
    assert look_at(a_made_instance(conditions=conditions), UNHEARD).phase is phase


def test_failed_and_later_ready_is_idle_again() -> None:
    late = a_made_instance(phase=InstancePhase.FAILED)
    assert look_at(late, an_answer()).phase is InstancePhase.IDLE


def test_an_unclaimed_agent_that_serves_somebody_is_barred_for_ever() -> None:
    used = idle().model_copy(update={"status": look_at(idle(), an_answer(provisioned=True))})
    assert used.status.barred == "UsedByStranger"
    forgot = look_at(used, an_answer())
    assert (forgot.barred, forgot.phase) == ("UsedByStranger", InstancePhase.PROVISIONING)


def test_an_agents_word_changes_nothing_of_a_claimed_instance() -> None:
    claimed = idle(claim_ref=REF, phase=InstancePhase.IDLE)
    for probe in (an_answer(), an_answer(provisioned=True), UNHEARD):
        assert look_at(claimed, probe, **deployed("SUCCESS")) == claimed.status


@pytest.mark.parametrize("ref", [None, REF])
def test_a_service_that_is_gone_frees_its_room_also_when_claimed(ref: ClaimRef | None) -> None:
    assert look_at(a_made_instance(claim_ref=ref), sight=a_sight()).phase is InstancePhase.GONE


def test_an_intent_that_was_never_made_is_not_gone() -> None:
    never = a_made_instance(service_id=None, url=None, conditions=())
    assert look_at(never, sight=a_sight()).phase is InstancePhase.PROVISIONING


@pytest.mark.parametrize("phase", [InstancePhase.RETIRING, InstancePhase.GONE])
def test_what_is_final_stays_whatever_the_agent_says(phase: InstancePhase) -> None:
    assert look_at(a_made_instance(phase=phase), an_answer()).phase is phase


def test_what_an_unanswered_create_made_is_adopted_by_its_name() -> None:
    status = look_at(NEW, has_source=False, domain=None)
    assert status.service_id == "svc-convos-agent-anew1234"
    assert reasons(status.conditions) == {"Created": "Done"}


def test_what_an_unanswered_patch_did_goes_on_record() -> None:
    status = look_at(a_made_instance("Deployed"), has_source=True)
    assert reasons(status.conditions)["Deployed"] == "Patched"


# ---------------------------------------------------------------- what to do


def condition_of(verb: Verb, *, true: bool) -> tuple[Condition, ...]:
    return (
        a_condition("Created"),
        a_condition("Exposed"),
        a_condition("Deployed", true=true, reason=verb),
    )


@pytest.mark.parametrize(
    ("instance", "service", "act"),
    [
        (NEW, None, Verb.CREATE_EMPTY),
        (NEW, {}, None),  # There already: adopted first.
        (a_made_instance("Exposed", "Deployed", url=None), {}, Verb.CREATE_DOMAIN),
        (a_made_instance("Exposed", "Deployed", url=None), {"domain": "one.test"}, None),
        (a_made_instance("Deployed"), {"domain": "one.test"}, Verb.PATCH),
        (a_made_instance("Deployed"), {"domain": "one.test", "has_source": True}, None),
        (a_made_instance(), {"has_source": True, **deployed("BUILDING")}, None),
        (a_made_instance(), {"has_source": True}, Verb.DEPLOY),  # A minute without a deployment.
    ],
)
def test_each_step_of_an_image_can_be_resumed_from_record_and_look(
    instance: AgentInstance, service: dict[str, Any] | None, act: Verb | None
) -> None:
    shown = () if service is None else (a_service(instance, **service),)
    assert next_act(instance, a_sight(*shown), BY_PATCH, NOW) == act


@pytest.mark.parametrize(
    "after",
    [
        (Verb.PATCH, Verb.AUTO_DEPLOY_OFF),
        (Verb.AUTO_DEPLOY_OFF, Verb.UPDATE_SETTINGS, Verb.DEPLOY),
    ],
)
def test_every_course_goes_through_its_steps_in_order_and_ends(after: tuple[Verb, ...]) -> None:
    course, instance = Course(Verb.CREATE_WHOLE, after, timedelta(minutes=15)), NEW
    sight, sent = Sight(latest=a_sight().latest), []
    while (verb := next_act(instance, sight, course, NOW)) is not None:
        sent.append(verb)
        found = {"service_id": "svc-1"} if verb is Verb.CREATE_WHOLE else {}
        status = stepped(instance.status, verb, course, NOW, **found)
        instance = instance.model_copy(update={"status": status})
    assert sent == [Verb.CREATE_WHOLE, Verb.CREATE_DOMAIN, *after]
    assert next(c for c in instance.status.conditions if c.type == "Deployed").status == "True"


def test_a_course_without_further_steps_is_deployed_once_it_has_a_domain() -> None:
    course = Course(Verb.CREATE_WHOLE, (), timedelta(minutes=15))
    status = stepped(NEW.status, Verb.CREATE_WHOLE, course, NOW, service_id="svc-1")
    status = stepped(status, Verb.CREATE_DOMAIN, course, NOW, url="https://one.test")
    assert reasons(status.conditions)["Deployed"] == Verb.CREATE_WHOLE


def test_a_template_that_changes_its_course_halfway_breaks_nothing() -> None:
    patched = a_made_instance(conditions=condition_of(Verb.PATCH, true=False))
    hushed = a_made_instance(conditions=condition_of(Verb.AUTO_DEPLOY_OFF, true=False))
    for instance in (patched, hushed):
        sight = a_sight(a_service(instance, has_source=True, **deployed("SUCCESS")))
        assert next_act(instance, sight, BY_PATCH, NOW) is None


@pytest.mark.parametrize(
    ("instance", "sight", "course"),
    [
        (NEW, Sight(), BY_PATCH),
        (NEW, a_sight(), None),
        (NEW, a_sight(doubts={"anew1234": NOW}), BY_PATCH),
        (a_made_instance("Deployed", claim_ref=REF), a_sight(), BY_PATCH),
        (a_made_instance("Deployed", phase=InstancePhase.FAILED), a_sight(), BY_PATCH),
    ],
    ids=["before a look", "nothing may be made", "in doubt", "claimed", "failed"],
)
def test_nothing_is_sent(instance: AgentInstance, sight: Sight, course: Course | None) -> None:
    assert next_act(instance, sight, course, NOW) is None


def test_a_retiring_service_is_deleted_once_and_again_only_when_it_stays_for_long() -> None:
    retiring = a_made_instance(phase=InstancePhase.RETIRING)
    shown = a_sight(a_service(retiring))
    assert next_act(retiring, shown, None, NOW) is Verb.DELETE
    for s_ago, act in ((5, None), (31, Verb.DELETE)):
        sent = {retiring.metadata.name: NOW - seconds(s_ago)}
        asked = replace(shown, wrote=sent, deletes=sent)
        assert next_act(retiring, asked, None, NOW) is act


def test_what_was_written_to_a_service_before_does_not_put_off_its_deletion() -> None:
    retiring = a_made_instance(phase=InstancePhase.RETIRING)
    renamed = a_sight(a_service(retiring), wrote={retiring.metadata.name: NOW - seconds(1)})
    assert next_act(retiring, renamed, None, NOW) is Verb.DELETE


def test_a_kick_is_not_repeated_before_a_look_could_show_its_deployment() -> None:
    made = a_made_instance()
    wrote = {made.metadata.name: NOW - seconds(29)}
    assert (
        next_act(made, a_sight(a_service(made, has_source=True), wrote=wrote), BY_PATCH, NOW)
        is None
    )


@pytest.mark.parametrize(
    ("ref", "fate", "pool", "why"),
    [
        (REF, Fate.RELEASED, ReclaimPolicy.RETAIN, "Released"),
        (REF, Fate.RELEASED, None, "Released"),
        (REF, Fate.KEPT, ReclaimPolicy.DELETE, None),
        (REF, Fate.MOVED, ReclaimPolicy.DELETE, "ClaimMovedOn"),
        (REF, Fate.MOVED, ReclaimPolicy.RETAIN, None),
        (REF, Fate.MOVED, None, None),
        (ClaimRef(name="c", uid="u"), Fate.RELEASED, ReclaimPolicy.DELETE, None),
        (None, None, ReclaimPolicy.DELETE, None),
    ],
)
def test_a_claimed_service_is_deleted_for_two_reasons_only(
    ref: ClaimRef | None, fate: Fate | None, pool: ReclaimPolicy | None, why: str | None
) -> None:
    assert should_retire(a_made_instance(claim_ref=ref), fate, pool) == why


def test_a_gone_record_stays_while_a_claim_names_it() -> None:
    gone = a_made_instance(phase=InstancePhase.GONE, claim_ref=REF)
    fates = (None, Fate.KEPT, Fate.MOVED, Fate.RELEASED)
    assert [may_forget(gone, fate) for fate in fates] == [True, False, True, True]
    assert not may_forget(a_made_instance(), None)


def test_only_what_is_being_made_or_deleted_makes_looks_come_often() -> None:
    assert is_moving(NEW, BY_PATCH)
    assert not is_moving(NEW, None)
    assert is_moving(a_made_instance(phase=InstancePhase.RETIRING), None)
    assert not is_moving(idle(), BY_PATCH)
    assert not is_moving(a_made_instance(claim_ref=REF), BY_PATCH)


# ---------------------------------------------------------------- of an earlier template

IMAGE_NOW = replace(BY_PATCH, template_hash="new")


def test_a_repository_of_an_earlier_template_is_not_deployed_before_its_auto_deploy_is_off() -> (
    None
):
    """Its patch's answer was lost, and the template is an image by now."""
    instance = a_made_instance("Deployed")
    shown = a_service(instance, domain="one.test", has_source=True, from_repo=True)
    own = own_course(IMAGE_NOW, instance, shown)
    assert own is not None
    assert own.after == (Verb.PATCH, Verb.AUTO_DEPLOY_OFF)
    status = seen(instance, a_sight(shown), an_answer(), NOW, own)
    assert status.phase is InstancePhase.PROVISIONING
    patched = instance.model_copy(update={"status": status})
    assert next_act(patched, a_sight(shown), own, NOW) is Verb.AUTO_DEPLOY_OFF


def test_an_image_of_an_earlier_template_keeps_its_course() -> None:
    instance = a_made_instance("Deployed")
    assert own_course(IMAGE_NOW, instance, a_service(instance, has_source=True)) is IMAGE_NOW


def test_of_an_earlier_template_nothing_is_said_before_a_look_shows_it() -> None:
    assert own_course(IMAGE_NOW, a_made_instance("Deployed"), None) is None
    assert own_course(IMAGE_NOW, NEW, None) is IMAGE_NOW


def test_of_the_template_of_now_the_course_stands() -> None:
    course = replace(BY_PATCH, template_hash="hash")
    made = stepped(NEW.status, Verb.CREATE_EMPTY, course, NOW, service_id="svc-1")
    assert own_course(course, NEW.model_copy(update={"status": made}), None) is course


def test_what_was_adopted_is_what_a_look_shows_and_not_what_was_to_be_made() -> None:
    """A service of a repository whose create was lost, adopted when the template had become an image."""
    image_now = replace(IMAGE_NOW, template_hash="hash")
    adopted = a_made_instance("Deployed")
    assert own_course(image_now, adopted, None) is None
    shown = a_service(adopted, has_source=True, from_repo=True)
    own = own_course(image_now, adopted, shown)
    assert own is not None
    assert Verb.AUTO_DEPLOY_OFF in own.after
