"""The ops port, and a sidecar that cannot start."""

import asyncio
from datetime import datetime

import pytest

from api.records import Unavailable
from api.records.memory import MemoryRecords
from api.settings import ApiSettings, SettingError, StoreSettings
from api.sidecar import Sidecar, serve
from tests.rest.served import a_sidecar, said
from tests.rest.world import World, a_world
from tests.sockets import a_closed_port


async def test_ready_follows_the_records() -> None:
    async with a_sidecar() as served:
        await asyncio.sleep(0)
        up = await said(served.stranger, "GET", served.ops_url + "/readyz")
        version = await said(served.stranger, "GET", served.ops_url + "/version")
    assert (up.status, up.json) == (200, {"ok": True})
    assert version.json == {"version": "0.0.1"}


class Unreachable(MemoryRecords):
    """Records that are not there."""

    async def now(self) -> datetime:
        raise Unavailable("no answer")


async def test_not_ready_says_why() -> None:
    async with a_sidecar(records=Unreachable) as served:
        answer = await said(served.stranger, "GET", served.ops_url + "/readyz")
    assert (answer.status, answer.json["error"]) == (503, "the records cannot be reached")


async def test_claims_are_counted_by_answer_and_time() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle()
        await served.claim()
        await served.claim()
        metrics = await said(served.stranger, "GET", served.ops_url + "/metrics")
    assert 'agent_pool_claim_answers_total{code="200"} 1.0' in metrics.text
    assert 'agent_pool_claim_answers_total{code="503"} 1.0' in metrics.text
    assert 'agent_pool_claim_seconds_bucket{le="0.005"}' in metrics.text
    assert "agent_pool_claim_seconds_count 2.0" in metrics.text
    assert "agent_pool_waits 0.0" in metrics.text


@pytest.mark.parametrize("variable", ["PORT", "API_OPS_PORT"])
async def test_a_taken_port_is_one_line_that_names_its_variable(variable: str) -> None:
    async with a_sidecar() as served, a_world() as world:
        taken = served.sidecar.ports[0]
        second = Sidecar(world.records, api_key="k", namespace="default", version="0")
        ports = (taken, 0) if variable == "PORT" else (0, taken)
        with pytest.raises(SettingError, match=f"^{variable}: .*{taken}.*$"):
            await second.start("127.0.0.1", *ports)
        await second.stop()


async def test_a_database_that_is_not_there_names_its_variable_and_no_password() -> None:
    url = f"postgresql://user:secret-password@127.0.0.1:{a_closed_port()}/db"
    with pytest.raises(SettingError, match=r"^DATABASE_URL: ") as refused:
        await serve(ApiSettings(api_key="k", store=StoreSettings("postgres", url)))
    assert "secret-password" not in str(refused.value)
