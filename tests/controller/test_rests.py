"""Who rests: nothing follows for it from the passing of time, so a pass need not look at it again."""

import pytest

from api.records import Fate
from api.types import AgentInstance, ClaimRef, InstancePhase, ReclaimPolicy
from controller.agents import Status
from controller.lifecycle import Probe, rests
from controller.railway import Service
from tests.controller.parts import a_made_instance, a_service, an_answer

REF = ClaimRef(name="c", uid="u", reclaim_policy=ReclaimPolicy.DELETE)
UNHEARD = Probe(Status(reached=False), misses=2)


def idle() -> AgentInstance:
    return a_made_instance(phase=InstancePhase.IDLE)


def test_offered_and_ready_rests() -> None:
    assert rests(idle(), a_service(idle()), an_answer(), None)


def test_claimed_kept_and_named_rests() -> None:
    held = a_made_instance(phase=InstancePhase.CLAIMED, claim_ref=REF)
    assert rests(held, a_service(held, name="convos-agent-trip-one"), None, Fate.KEPT)


@pytest.mark.parametrize(
    ("instance", "service", "probe", "fate"),
    [
        (idle(), None, an_answer(), None),
        (idle(), a_service(idle()), None, None),
        (idle(), a_service(idle()), UNHEARD, None),
        (a_made_instance(), a_service(), an_answer(), None),
        (a_made_instance(phase=InstancePhase.RETIRING), a_service(), None, None),
    ],
    ids=["not seen", "not heard", "missed", "starting", "retiring"],
)
def test_what_goes_by_the_clock_does_not_rest(
    instance: AgentInstance, service: Service | None, probe: Probe | None, fate: Fate | None
) -> None:
    assert not rests(instance, service, probe, fate)


@pytest.mark.parametrize(
    ("named", "fate"), [("another", Fate.RELEASED), ("another", Fate.MOVED), (None, Fate.KEPT)]
)
def test_a_claimed_one_rests_only_when_it_is_kept_and_named(named: str | None, fate: Fate) -> None:
    held = a_made_instance(phase=InstancePhase.CLAIMED, claim_ref=REF)
    shown = a_service(held, **({"name": named} if named else {}))
    assert not rests(held, shown, None, fate)
