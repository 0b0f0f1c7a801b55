"""Records on Kubernetes where people and other processes act between two requests of one deed."""

import asyncio

from api.kubernetes.config import from_kubeconfig
from api.records import Bind
from api.records.kubernetes import KubernetesRecords
from api.types import AgentClaim, Attempt, InstancePhase
from tests.builders import NOW, a_claim, a_pool, an_instance
from tests.kubernetes.conftest import Place
from tests.records.steps import changed


async def test_a_claim_that_is_released_between_the_two_writes_of_its_bind_is_not_bound(
    place: Place,
) -> None:
    """Else its agent is told what nobody wishes any more."""
    scope = place.namespace
    admin = KubernetesRecords(from_kubeconfig(place.server.kubeconfig), scope=scope, home=scope)
    records = KubernetesRecords(place.cluster, scope=scope, home=scope)
    pool = await admin.create_pool(a_pool(namespace=scope))
    made = await admin.intend(pool, [an_instance(name="a1234567", namespace=scope)], 0)
    [idle] = await admin.write_instances([changed(made[0], phase=InstancePhase.IDLE)])
    [claim] = await admin.create_claims([a_claim(namespace=scope)])
    assert isinstance(claim, AgentClaim)
    assert idle is not None
    place.front.delays = lambda heard: 1.0 if "/agentinstances/" in heard.path else 0.0
    binding = asyncio.create_task(records.bind([Bind(claim, idle)], Attempt(by="me", at=NOW)))
    while not any("/agentinstances/" in heard.path for heard in place.front.asked("PATCH")):
        await asyncio.sleep(0.01)
    await admin.delete_claim(claim)
    assert await binding == []
    await admin.close()
    await records.close()


async def test_who_asks_while_a_list_is_read_shares_the_next_one(place: Place) -> None:
    """Sixty creates at a time, each with a list of its own, took a controller's whole CPU."""
    scope = place.namespace
    records = KubernetesRecords(place.cluster, scope=scope, home=scope)
    asking = an_instance(namespace=scope)
    assert await records.before(asking) == 0
    lists = len(place.front.asked())
    place.front.delays = lambda heard: 0.2
    first = asyncio.create_task(records.before(asking))
    while len(place.front.asked()) == lists:
        await asyncio.sleep(0.01)
    assert await asyncio.gather(first, *(records.before(asking) for _ in range(30))) == [0] * 31
    assert len(place.front.asked()) == lists + 2  # The first had begun before the others asked.
    await records.close()
