"""Places in line before a create: live, and one list for all who ask at the same time."""

import asyncio

from api.records.kubernetes import KubernetesRecords
from tests.builders import an_instance
from tests.kubernetes.conftest import Place


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
