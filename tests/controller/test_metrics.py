"""What the controller shows Prometheus: its pools, its orphans, Railway, and whether it leads."""

import asyncio

from prometheus_client import generate_latest

from api.types import AgentClaim
from controller.metrics import registry_of
from controller.railway import Service
from tests.controller.test_term import a_controller, a_world, claim, running
from tests.controller.world import ScriptedAgents, SmallRailway
from tests.virtual_time import in_virtual_time


def with_an_orphan() -> SmallRailway:
    return SmallRailway({"o": Service("o", "convos-agent-o")}, {"o": "us/default/default"})


@in_virtual_time
async def test_an_operator_sees_counts_orphans_and_whether_railway_answers() -> None:
    store, _, _, records = await a_world()
    async with running(store, with_an_orphan(), ScriptedAgents()) as controller:
        await asyncio.sleep(120)
        assert isinstance(await claim(records), AgentClaim)
        await asyncio.sleep(120)
        lines = generate_latest(registry_of(controller)).decode().splitlines()
    pool = 'pool="default/default"'
    for line in (
        "agent_pool_leading 1.0",
        f'agent_pool_instances{{phase="idle",{pool}}} 3.0',
        f'agent_pool_instances{{phase="total",{pool}}} 5.0',
        f"agent_pool_orphans{{{pool}}} 1.0",
        "agent_pool_railway_reachable 1.0",
        'agent_pool_handovers_ended_total{phase="Ready"} 1.0',
    ):
        assert line in lines


@in_virtual_time
async def test_who_does_not_lead_says_so_and_nothing_more() -> None:
    store, railway, agents, _ = await a_world()
    shown = generate_latest(registry_of(a_controller(store, railway, agents))).decode()
    assert "agent_pool_leading 0.0" in shown
    assert "agent_pool_orphans" not in shown
