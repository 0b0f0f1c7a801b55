"""A client written for the seed's service: every path, method and body of seed.md and facts/agents.md."""

import asyncio

from api.answers import NO_IDLE
from api.types import InstancePhase
from tests.rest.served import KEY, SEED_BODY, a_sidecar
from tests.rest.test_invite import read_back
from tests.rest.world import World

SEEDS_COLUMNS = {
    "id",
    "railway_service_id",
    "railway_url",
    "status",
    "claimed_by",
    "claimed_at",
    "invite_url",
    "conversation_id",
    "created_at",
    "updated_at",
}


async def test_healthz_needs_no_key() -> None:
    async with a_sidecar() as served:
        answer = await served.ask_without_key("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"ok": True})


async def test_a_claim_has_the_seeds_four_fields_and_a_picture_of_its_invite() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        [instance] = await served.world.idle()
        answer = await served.claim()
    assert answer.status == 200
    assert set(answer.json) == {
        "inviteUrl",
        "qrDataUrl",
        "conversationId",
        "instanceId",
        "claim",
    }
    assert answer.json["instanceId"] == instance.metadata.name
    assert read_back(answer.json["qrDataUrl"])[0] == answer.json["inviteUrl"]


async def test_an_empty_pool_says_so_in_the_seeds_words() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        answer = await served.claim()
    assert (answer.status, answer.json) == (503, {"error": NO_IDLE})
    assert int(answer.headers["Retry-After"]) > 0


async def test_instructions_are_checked_before_the_agent_id_and_empty_is_missing() -> None:
    async with a_sidecar() as served:
        both = await served.claim({"x": 1})
        empty = await served.claim({"agentId": "a", "instructions": ""})
        no_id = await served.claim({"instructions": "i"})
        number = await served.claim({"instructions": "i", "agentId": 7})
        url = await served.claim(SEED_BODY | {"joinUrl": 7})
    missing = (400, {"error": "instructions (string) is required"})
    assert (both.status, both.json) == missing
    assert (empty.status, empty.json) == missing
    assert (no_id.status, no_id.json) == (400, {"error": "agentId (string) is required"})
    assert (number.status, number.json) == (400, {"error": "agentId (string) is required"})
    assert (url.status, url.json) == (400, {"error": "joinUrl must be a string if provided"})


async def test_a_wrong_or_missing_key_is_refused_in_the_seeds_words() -> None:
    async with a_sidecar() as served:
        missing = await served.ask_without_key("GET", "/api/pool/status")
        wrong = await served.ask("GET", "/api/pool/status", headers={"Authorization": "Bearer no"})
        lower = await served.ask_without_key(
            "GET", "/api/pool/status", headers={"Authorization": f"bearer {KEY}"}
        )
    refused = (401, {"error": "Invalid or missing API key"})
    assert (missing.status, missing.json) == refused
    assert (wrong.status, wrong.json) == refused
    assert lower.status == 200


async def test_status_has_counts_and_the_seeds_rows_newest_first() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        made = await served.world.idle(3)
        claim = (await served.claim()).json
        answer = (await served.ask("GET", "/api/pool/status")).json
    assert answer["counts"] == {
        "provisioning": 0,
        "idle": 2,
        "claimed": 1,
        "failed": 0,
        "waiting": 0,
    }
    rows = answer["instances"]
    assert [row["id"] for row in rows] == [i.metadata.name for i in reversed(made)]
    assert all(set(row) >= SEEDS_COLUMNS for row in rows)
    assert [row["status"] for row in rows] == ["idle", "idle", "claimed"]
    taken = rows[2]
    assert taken["claimed_by"] == "tokyo-trip-planner"
    assert taken["invite_url"] == claim["inviteUrl"]
    assert taken["conversation_id"] == claim["conversationId"]
    assert taken["claimed_at"] >= taken["created_at"]
    assert rows[0]["claimed_by"] is None


async def test_an_instance_that_serves_a_stranger_is_shown_as_failed() -> None:
    async with a_sidecar() as served:
        [made] = await served.world.idle(1)
        used = made.status.model_copy(
            update={"barred": "UsedByStranger", "phase": InstancePhase.PROVISIONING}
        )
        await served.world.control.write_instances([made.model_copy(update={"status": used})])
        answer = (await served.ask("GET", "/api/pool/status")).json
    assert (answer["counts"]["failed"], answer["counts"]["provisioning"]) == (1, 0)
    assert [row["status"] for row in answer["instances"]] == ["failed"]


async def test_replenish_answers_with_counts_after_a_look() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle(2)
        answer = await served.ask("POST", "/api/pool/replenish")
    assert answer.status == 200
    assert answer.json["ok"] is True
    assert answer.json["counts"]["idle"] == 2


async def test_setup_leads_to_an_idle_instance() -> None:
    async with a_sidecar() as served:
        none = await served.ask("GET", "/api/pool/setup")
        [instance] = await served.world.idle()
        answer = await served.ask("GET", "/api/pool/setup")
    assert none.status == 503
    assert none.json["error"]
    assert answer.status == 302
    assert answer.headers["Location"] == f"{instance.status.url}/setup"


async def test_fifty_posts_of_one_key_are_one_claim_and_the_same_bytes() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle(3)
        posts = [served.claim(Idempotency_Key="one") for _ in range(50)]
        answers = await asyncio.gather(*posts)
        again = await served.claim(Idempotency_Key="one")
    assert {answer.status for answer in answers} == {200}
    assert {answer.text for answer in answers} == {again.text}
    assert len(served.world.claims) == 1
