"""One instance: what was seen of it becomes its status, and its status says the next act. Pure.

    seen(instance, sight, probe, now, ...) -> InstanceStatus     what is now known
    next_act(instance, sight, access, ...) -> Act | None         the one thing to do for it on Railway

Progress lives in the record's conditions, so each step can be resumed by anybody from the record and
one look: Created (the service exists), Exposed (it has a domain), Deployed (nothing more that could
deploy will be sent), Ready (its agent said so).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from api.conditions import condition, is_true, with_condition
from api.records import Fate
from api.types import (
    AgentInstance,
    Condition,
    DeploymentRef,
    InstancePhase,
    InstanceStatus,
    ReclaimPolicy,
)
from controller.agents import Status
from controller.course import CREATES, Course, Verb
from controller.railway import Service
from controller.sight import Sight

DEAD = frozenset({"FAILED", "CRASHED"})  # Only these words of Railway's mean it will not come up.
MISSES_BEFORE_UNREADY = 2  # One lost answer takes nobody out of the pool.
DEPLOY_STUCK = timedelta(
    seconds=60
)  # A source without a deployment for this long is started by hand.

FINAL = frozenset({InstancePhase.GONE})
STARTING = InstancePhase.PROVISIONING


@dataclass(frozen=True, slots=True)
class Probe:
    """The newest answer of an agent, and how many before it went unanswered in a row."""

    status: Status
    misses: int = 0


# ---------------------------------------------------------------- what was seen


def seen(
    instance: AgentInstance,
    sight: Sight,
    probe: Probe | None,
    now: datetime,
    course: Course | None,
) -> InstanceStatus:
    """The instance's status after these looks. Equal to the old one when nothing was learnt."""
    status = instance.status
    if status.phase in FINAL:
        return status
    if sight.absent(instance) and (status.service_id or status.phase is InstancePhase.RETIRING):
        return gone(instance, now)
    if (service := sight.service(instance)) is not None:
        url = sight.url(service.domain) if service.domain else None
        status = _with_service(status, service, url, now)
    if course is not None:
        status = _with_course(status, service, course, now)
    if instance.spec.claim_ref is not None or status.phase is InstancePhase.RETIRING:
        return status
    return _judged(status, service, probe, now, course)


def gone(instance: AgentInstance, now: datetime) -> InstanceStatus:
    """Its service does not exist: it leaves the total and frees its room. Final."""
    return _turned(instance.status, InstancePhase.GONE, "Ready", False, "ServiceGone", now)


def retiring(instance: AgentInstance, why: str, now: datetime) -> InstanceStatus:
    """Its service is to be deleted. Final but for Gone; written before Railway is told."""
    return _turned(instance.status, InstancePhase.RETIRING, "Ready", False, why, now)


def failed(status: InstanceStatus, reason: str, now: datetime, message: str = "") -> InstanceStatus:
    """It will not become ready by waiting."""
    return _turned(status, InstancePhase.FAILED, "Ready", False, reason, now, message)


def marked(
    status: InstanceStatus, kind: str, now: datetime, reason: str = "Done"
) -> InstanceStatus:
    """The status with that condition True."""
    return _with(status, kind, True, reason, now)


def _with_service(
    status: InstanceStatus, service: Service, url: str | None, now: datetime
) -> InstanceStatus:
    """Adopt what the look shows: id, domain, newest deployment."""
    status = status.model_copy(update={"service_id": service.id})
    if not is_true(status.conditions, "Created"):
        status = marked(status, "Created", now)
    if url is not None and status.url != url:
        status = marked(status.model_copy(update={"url": url}), "Exposed", now)
    if service.deployment is not None:
        ref = DeploymentRef(id=service.deployment.id, status=service.deployment.status)
        status = status.model_copy(update={"deployment": ref})
    return status


def _with_course(
    status: InstanceStatus, service: Service | None, course: Course, now: datetime
) -> InstanceStatus:
    """What an answer that was lost, or a course without further steps, leaves to be written down."""
    deployed = condition(status.conditions, "Deployed")
    exposed = is_true(status.conditions, "Exposed")
    if deployed is None and exposed and not course.after:
        return marked(status, "Deployed", now, course.create)
    if (
        deployed is None
        and service is not None
        and service.has_source
        and Verb.PATCH in course.after
    ):
        return _stepped(status, Verb.PATCH, course, now)
    return status


def _judged(
    status: InstanceStatus,
    service: Service | None,
    probe: Probe | None,
    now: datetime,
    course: Course | None,
) -> InstanceStatus:
    """Unclaimed: may it be offered? Railway's FAILED and CRASHED weigh more than any probe."""
    deployment = service.deployment if service else None
    if deployment is not None and deployment.status in DEAD:
        return failed(status, f"Deployment{deployment.status.title()}", now)
    if probe is not None and probe.status.reached:
        return _answered(status, probe.status, now, course)
    if status.phase is InstancePhase.IDLE and probe is not None:
        if probe.status.wrong_key:  # Its own word, so no doubt: a claim would only use it up.
            return _turned(status, STARTING, "Ready", False, "WrongKey", now)
        if probe.misses >= MISSES_BEFORE_UNREADY:
            return _turned(status, STARTING, "Ready", False, "NoAnswer", now)
    return _in_time(status, now, course)


def _answered(
    status: InstanceStatus, said: Status, now: datetime, course: Course | None
) -> InstanceStatus:
    if said.provisioned and status.barred is None:
        barred = status.model_copy(update={"barred": "UsedByStranger"})
        return _turned(barred, STARTING, "Ready", False, "UsedByStranger", now)
    if status.barred is not None:
        return status
    if said.ready and is_true(status.conditions, "Deployed"):
        idle = _turned(status, InstancePhase.IDLE, "Ready", True, "AgentReady", now)
        return idle.model_copy(update={"ready_at": status.ready_at or now})
    if status.phase is InstancePhase.IDLE:
        return _turned(status, STARTING, "Ready", False, "NotReady", now)
    return _in_time(status, now, course) if status.ready_at is None else _again(status, now, course)


def _again(status: InstanceStatus, now: datetime, course: Course | None) -> InstanceStatus:
    """Ready once, and for as long as a start may take it says itself that it is not: Failed.

    In its own words only: one that cannot be reached may be fine, and our network not.
    """
    ready = condition(status.conditions, "Ready")
    if course is None or ready is None or status.phase is not STARTING:
        return status
    late = now - ready.last_transition_time > course.provision_timeout
    return failed(status, "NotReadyAgain", now) if late else status


def _in_time(status: InstanceStatus, now: datetime, course: Course | None) -> InstanceStatus:
    """Never ready by the pool's provisionTimeout after its deployment: Failed."""
    deployed = condition(status.conditions, "Deployed")
    waiting = status.phase is STARTING and status.ready_at is None and status.barred is None
    if course is None or deployed is None or not waiting:
        return status
    late = now - deployed.last_transition_time > course.provision_timeout
    return failed(status, "ProvisionTimeout", now) if late else status


# ---------------------------------------------------------------- what to do


def should_retire(
    instance: AgentInstance, fate: Fate | None, pool_policy: ReclaimPolicy | None
) -> str | None:
    """Why a *claimed* service is to be deleted now, the only two reasons there are; else None."""
    ref = instance.spec.claim_ref
    if ref is None or instance.status.phase in (InstancePhase.RETIRING, InstancePhase.GONE):
        return None
    if fate is Fate.RELEASED and ref.reclaim_policy is ReclaimPolicy.DELETE:
        return "Released"
    if fate is Fate.MOVED and pool_policy is ReclaimPolicy.DELETE:
        return "ClaimMovedOn"
    return None


def is_moving(instance: AgentInstance, course: Course | None) -> bool:
    """Whether Railway should be looked at soon for its sake; without a course nothing is being made."""
    starting = instance.status.phase is STARTING and instance.status.ready_at is None
    free = instance.spec.claim_ref is None and instance.status.barred is None
    making = starting and free and course is not None
    return making or instance.status.phase is InstancePhase.RETIRING


def rests(
    instance: AgentInstance, service: Service | None, probe: Probe | None, fate: Fate | None
) -> bool:
    """Whether nothing follows for it from the passing of time alone, now that nothing else is to be done:
    offered and ready, or claimed, kept and named. What is missing, made or deleted goes by the clock."""
    if service is None:
        return False
    if instance.spec.claim_ref is None:
        return (
            instance.status.phase is InstancePhase.IDLE and probe is not None and not probe.misses
        )
    named = service.name != instance.spec.service_name
    return instance.status.phase is InstancePhase.CLAIMED and fate is Fate.KEPT and named


def may_forget(instance: AgentInstance, fate: Fate | None) -> bool:
    """A Gone record goes when no claim names it."""
    return instance.status.phase is InstancePhase.GONE and fate is not Fate.KEPT


def next_act(
    instance: AgentInstance, sight: Sight, course: Course | None, now: datetime
) -> Verb | None:
    """The one thing to do on Railway for this instance now; None: nothing, or only to look again.

    `course` is None where nothing may be created: pool deleted, paused or stalled, token unknown.
    """
    status = instance.status
    if status.phase is InstancePhase.RETIRING:
        return _deletion(instance, sight)
    if course is None or instance.spec.claim_ref is not None or status.phase is not STARTING:
        return None
    if sight.latest is None or sight.doubtful(instance):
        return None
    if status.service_id is None:
        return course.create if sight.service(instance) is None else None
    service = sight.service(instance)
    if sight.missed(instance):
        return None  # It shows late, or was deleted by hand: another try would only hide which.
    if not is_true(status.conditions, "Exposed"):
        return None if service and service.domain else Verb.CREATE_DOMAIN
    verb = _next_after(status, course)
    if verb is Verb.PATCH and service and service.has_source:
        return None  # It has been sent; that goes on record first.
    return verb or _kick(instance, sight, now)


def stepped(
    status: InstanceStatus, verb: Verb, course: Course, now: datetime, **found: str
) -> InstanceStatus:
    """The status once Railway has answered that this was done; `found`: service_id or url."""
    status = status.model_copy(update=found)
    if verb in CREATES:
        return marked(status, "Created", now, verb)
    if verb is Verb.CREATE_DOMAIN:
        return _with_course(marked(status, "Exposed", now, verb), None, course, now)
    return _stepped(status, verb, course, now) if verb in course.after else status


def _deletion(instance: AgentInstance, sight: Sight) -> Verb | None:
    """Once known to exist; again only when a look well after our delete still shows it."""
    if instance.status.service_id is None:
        return None
    if not sight.deleted(instance):
        return Verb.DELETE
    still_there = sight.shows_writes(instance) and sight.service(instance) is not None
    return Verb.DELETE if still_there else None


def _next_after(status: InstanceStatus, course: Course) -> Verb | None:
    deployed = condition(status.conditions, "Deployed")
    if deployed is None:
        return course.after[0] if course.after else None
    if deployed.status == "True" or deployed.reason not in course.after:
        return None
    left = course.after[course.after.index(Verb(deployed.reason)) + 1 :]
    return left[0] if left else None  # None: the template changed halfway; time decides.


def _kick(instance: AgentInstance, sight: Sight, now: datetime) -> Verb | None:
    """A source that stays without any deployment is deployed by hand, until a look shows one."""
    deployed = condition(instance.status.conditions, "Deployed")
    service = sight.service(instance)
    if deployed is None or service is None or not sight.shows_writes(instance):
        return None
    stuck = now - deployed.last_transition_time > DEPLOY_STUCK
    never = service.has_source and service.deployment is None
    return Verb.DEPLOY if stuck and never else None


def _stepped(status: InstanceStatus, verb: Verb, course: Course, now: datetime) -> InstanceStatus:
    last = verb is course.after[-1]
    return _with(status, "Deployed", last, verb, now)


# ---------------------------------------------------------------- small helpers


def _turned(
    status: InstanceStatus,
    phase: InstancePhase,
    kind: str,
    true: bool,
    reason: str,
    now: datetime,
    message: str = "",
) -> InstanceStatus:
    return _with(status.model_copy(update={"phase": phase}), kind, true, reason, now, message)


def _with(
    status: InstanceStatus, kind: str, true: bool, reason: str, now: datetime, message: str = ""
) -> InstanceStatus:
    new = Condition(
        type=kind,
        status="True" if true else "False",
        reason=reason,
        message=message,
        last_transition_time=now,
    )
    return status.model_copy(update={"conditions": with_condition(status.conditions, new)})
