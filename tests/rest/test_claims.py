"""Claims by REST after the POST: read, waited for, released; and what becomes of clients that go."""

import asyncio

import aiohttp
import pytest

from api.door import Patience
from tests.rest.served import KEY, SEED_BODY, Served, a_sidecar, said
from tests.rest.world import World


async def on_record(served: Served, count: int = 1) -> None:
    """Until so many claims are there, by what is written and not by the clock."""
    async with asyncio.timeout(5):
        async for _ in served.world.control.bells():
            if len(served.world.claims) == count:
                return


async def gone(served: Served) -> None:
    async with asyncio.timeout(5):
        async for _ in served.world.control.bells():
            if not served.world.claims:
                return


async def test_a_202_leads_to_the_claim_and_its_answer() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        queued = await served.claim(Prefer="respond-async")
        second = await served.claim(Prefer="wait=0")
        path = queued.headers["Location"]
        reading = asyncio.create_task(served.ask("GET", path + "?wait=30"))
        await served.world.idle()
        await served.world.decide()
        answer = await reading
    assert (queued.status, queued.json["position"], second.json["position"]) == (202, 1, 2)
    assert path == f"/api/pool/claims/{queued.json['claim']}"
    assert queued.headers["Preference-Applied"] == "respond-async"
    assert answer.status == 200
    assert answer.json["phase"] == "Ready"
    assert {"inviteUrl", "qrDataUrl", "conversationId", "instanceId"} <= set(answer.json)


async def test_a_claim_is_shown_without_its_instructions_everywhere() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle()
        made = await served.claim()
        one = await served.ask("GET", f"/api/pool/claims/{made.json['claim']}?qr=none")
        every = await served.ask("GET", "/api/pool/claims")
        status = await served.ask("GET", "/api/pool/status")
        metrics = await said(served.stranger, "GET", served.ops_url + "/metrics")
    assert one.json == every.json["claims"][0] | {}
    assert one.json["agentId"] == SEED_BODY["agentId"]
    for answer in (made, one, every, status, metrics):
        assert SEED_BODY["instructions"] not in answer.text


async def test_the_picture_is_left_out_on_request() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle()
        answer = await served.ask("POST", "/api/pool/claim?qr=none", json=SEED_BODY)
    assert answer.status == 200
    assert "qrDataUrl" not in answer.json


async def test_a_released_claim_is_gone_and_its_key_is_free() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle(2)
        first = await served.claim(Idempotency_Key="k")
        path = f"/api/pool/claims/{first.json['claim']}"
        released = await served.ask("DELETE", path)
        again = await served.ask("DELETE", path)
        read = await served.ask("GET", path)
        second = await served.claim(SEED_BODY | {"agentId": "other"}, Idempotency_Key="k")
    assert (released.status, released.text) == (204, "")
    assert (again.status, read.status) == (404, 404)
    assert list(read.json) == ["error"]
    assert second.status == 200
    assert second.json["instanceId"] != first.json["instanceId"]


async def test_reading_a_pending_claim_with_wait_comes_back_when_the_time_is_over() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        queued = await served.claim(Prefer="respond-async")
        answer = await served.ask("GET", queued.headers["Location"] + "?wait=1")
    assert (answer.status, answer.json["phase"], answer.json["position"]) == (200, "Pending", 1)


async def test_a_failed_claim_says_why() -> None:
    async with a_sidecar() as served:
        queued = await served.claim(Prefer="respond-async")
        [claim] = served.world.claims
        await served.world.fail(claim, "TimedOut", "nobody took it in 10m")
        answer = await served.ask("GET", queued.headers["Location"])
    assert answer.json["phase"] == "Failed"
    assert (answer.json["reason"], answer.json["message"]) == ("TimedOut", "nobody took it in 10m")


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_hang_up_withdraws_a_claim_that_no_key_can_ask_for_again(key: str | None) -> None:
    async with a_sidecar(patience=Patience()) as served:
        headers = {"Idempotency-Key": key} if key else {}
        async with aiohttp.ClientSession(
            headers=headers | {"Authorization": f"Bearer {KEY}"}
        ) as client:
            asking = asyncio.create_task(
                said(client, "POST", served.url + "/api/pool/claim", json=SEED_BODY)
            )
            await on_record(served)
            asking.cancel()
        if key is None:
            await gone(served)
        else:
            again = asyncio.create_task(served.claim(Idempotency_Key=key))
            await served.world.idle()
            await served.world.decide()
            assert (await again).status == 200
            assert len(served.world.claims) == 1


async def test_at_a_stop_who_waits_is_told_where_its_claim_is() -> None:
    async with a_sidecar(patience=Patience()) as served:
        asking = asyncio.create_task(served.claim(Idempotency_Key="k"))
        await on_record(served)
        await served.sidecar.stop()
        answer = await asking
        with pytest.raises(aiohttp.ClientConnectorError):
            await served.claim()
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Location"].endswith(served.world.claims[0].metadata.name)


async def test_without_a_controller_a_claim_is_withdrawn_and_refused() -> None:
    async with a_sidecar() as served:
        await served.world.idle()
        answer = await served.claim()
    assert answer.status == 503
    assert "Location" not in answer.headers
    assert served.world.claims == []
