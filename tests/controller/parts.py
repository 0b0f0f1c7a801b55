"""Small parts that the controller's tests are put together from: conditions, looks, looks' pairs, answers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from api.types import AgentClaim, AgentInstance, Attempt, BoundInstance, ClaimPhase, Condition
from controller.agents import Status
from controller.lifecycle import Probe
from controller.railway import Service
from controller.sight import Look, Sight
from tests.builders import NOW, a_claim, a_claim_ref, an_instance


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


def a_condition(kind: str, *, true: bool = True, **overrides: Any) -> Condition:
    base: dict[str, Any] = {"reason": "Done", "last_transition_time": NOW}
    return Condition(type=kind, status="True" if true else "False", **(base | overrides))


def a_service(instance: AgentInstance | None = None, **overrides: Any) -> Service:
    """Made from nothing yet; of that instance, or of nobody."""
    name = instance.spec.service_name if instance else "postgres"
    known = instance.status.service_id if instance else None
    return Service(**({"id": known or f"svc-{name}", "name": name} | overrides))


def a_look(*services: Service, at: datetime = NOW) -> Look:
    return Look(at, tuple(services))


def a_sight(*services: Service, at: datetime = NOW, **overrides: Any) -> Sight:
    """Two looks, 5 s apart, that showed the same; `at` is when the newer one began."""
    looks = {"latest": a_look(*services, at=at), "before": a_look(*services, at=at - seconds(5))}
    return Sight(**(looks | overrides))


def an_answer(*, ready: bool = True, provisioned: bool = False) -> Probe:
    return Probe(Status(reached=True, ready=ready, provisioned=provisioned))


def a_made_instance(*without: str, **overrides: Any) -> AgentInstance:
    """An hour old, with service, domain and deployment on record, but for the conditions in `without`."""
    long_ago = NOW - timedelta(hours=1)
    kinds = [k for k in ("Created", "Exposed", "Deployed") if k not in without]
    base: dict[str, Any] = {
        "creation_timestamp": long_ago,
        "uid": "uid-of-instance",
        "service_id": "svc-1",
        "url": "https://one.test",
        "conditions": tuple(a_condition(k, last_transition_time=long_ago) for k in kinds),
    }
    return an_instance(**(base | overrides))


def a_bound_pair(**overrides: Any) -> tuple[AgentClaim, AgentInstance]:
    """A claim and its instance, both sides agreeing; the attempt is `me`'s unless given."""
    claim = a_claim(
        uid="uid-of-claim",
        creation_timestamp=NOW,
        phase=ClaimPhase.BOUND,
        instance=BoundInstance(name="i1", url="https://one.test"),
        **({"attempt": Attempt(by="me", at=NOW)} | overrides),
    )
    return claim, a_made_instance(name="i1", claim_ref=a_claim_ref(claim))


def reasons(conditions: Sequence[Condition]) -> dict[str, str]:
    return {c.type: c.reason for c in conditions}
