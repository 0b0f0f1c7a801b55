"""After the storm: faults stop, and within a bounded time everything must come to rest, and stay so."""

import asyncio

from tests.history.facts import Facts
from tests.history.laws import Broken
from tests.history.rest import unrest

Customers = list[asyncio.Task[None]]

CALM_S = 900.0  # The longest claim waits 10 minutes: one whose pool is gone.
LOOK_EVERY_S = 5.0
QUIET_S = 35.0  # Without a write: two ticks, and a question to each idle agent.


async def comes_to_rest(facts: Facts, customers: Customers) -> None:
    """Until nothing moves. Raises Broken where that takes too long."""
    loop = asyncio.get_running_loop()
    deadline, since = loop.time() + CALM_S, loop.time()
    while True:
        found = unrest(facts)
        if found is not None or not all(customer.done() for customer in customers):
            since = loop.time()
        if loop.time() - max(since, facts.last_write) >= QUIET_S:
            break
        if loop.time() > deadline:
            raise found or Broken("law_12_every_pool_is_full", "writes do not cease")
        await asyncio.sleep(LOOK_EVERY_S)
    for customer in customers:
        customer.result()
