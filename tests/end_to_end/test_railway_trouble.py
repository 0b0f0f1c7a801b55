"""Must show 6, 7 and 8: Railway away, answers lost, services deleted by hand, templates that fail."""

import asyncio
from collections import Counter
from pathlib import Path

from tests.end_to_end.system import System


async def test_claims_go_on_while_railway_answers_503_and_the_pool_refills_after(
    system: System,
) -> None:
    await system.faults({"unavailable": 1.0})
    codes = [(await system.claim(f"agent-{n}"))[0] for n in range(4)]
    assert codes == [200, 200, 200, 503]
    await system.faults()
    await system.until(within_s=60, idle=3, claimed=3)


async def test_a_504_after_each_create_makes_no_service_twice(state: Path) -> None:
    async with System(state) as system:
        await system.simulator(
            "PUT",
            "/_faults",
            {"next": [{"name": "timeoutAfter", "count": 50, "match": "ServiceCreate"}]},
        )
        for n in range(3):
            assert (await system.claim(f"agent-{n}"))[0] == 200
        await system.until(within_s=60, idle=3, claimed=3)
        effects = [x for x in system.lines("journal.jsonl") if x["effect"] == "serviceCreate"]
        assert len(effects) == 6
        assert len(await system.services()) == 6


async def test_a_claimed_service_deleted_by_hand_frees_its_room_and_its_claim_stays(
    state: Path,
) -> None:
    sizes = {"POOL_MIN_IDLE": "1", "POOL_MAX_TOTAL": "2", "TICK_INTERVAL_MS": "3000"}
    async with System(state, **sizes) as system:
        _, answer = await system.claim("gone", Idempotency_Key="gone")
        await system.until(idle=1, claimed=1)
        service = next(
            s for s in await system.services() if s["name"].endswith(answer["instanceId"])
        )
        await asyncio.sleep(1)
        await system.simulator(
            "POST", "/_acts", {"act": "delete-service", "service": service["id"]}
        )
        await system.until(within_s=90, idle=1, claimed=0)
        assert (await system.claim("gone", Idempotency_Key="gone")) == (200, answer)
        assert (await system.claim("next"))[0] == 200
        await system.until(within_s=60, idle=1, claimed=1)


async def test_a_service_with_our_owner_and_no_record_is_counted_and_left_alone(
    state: Path,
) -> None:
    sizes = {"POOL_MIN_IDLE": "2", "POOL_MAX_TOTAL": "3", "TICK_INTERVAL_MS": "2000"}
    async with System(state, **sizes) as system:
        owner = await system.owner()
        for name, mark in (
            ("convos-agent-orphan00", owner),
            ("convos-agent-foreign0", "other/x/y"),
        ):
            act = {"act": "create-service", "name": name, "image": "agent"}
            await system.simulator("POST", "/_acts", {**act, "variables": {"POOL_OWNER": mark}})
        await system.until_pool(lambda status: status["total"] == 3)
        assert (await system.claim("one"))[0] == 200
        await asyncio.sleep(6)  # Three looks: nothing may be made, since the orphan counts.
        assert (await system.until(idle=1, claimed=1))["provisioning"] == 0
        names = Counter(s["name"] for s in await system.services())
        assert names["convos-agent-orphan00"] == names["convos-agent-foreign0"] == 1


async def test_a_broken_template_stops_after_min_idle_failures_and_goes_on_when_mended(
    state: Path,
) -> None:
    async with System(state, TICK_INTERVAL_MS="2000") as system:
        await system.faults({"deployFailed": 1.0})
        for n in range(3):
            assert (await system.claim(f"agent-{n}"))[0] == 200
        status = await system.until_pool(
            lambda status: status["failed"] >= 3 and not status["provisioning"], within_s=60
        )
        assert system.stalled(status) == "TemplateFailing"
        assert status["failed"] <= 5  # Two more were under way when the third failed.
        await asyncio.sleep(5)
        assert len(await system.services()) == 3 + status["failed"]
        await system.faults()
        await system.sql("UPDATE agent_pools SET repo = 'a/mended'")
        await system.until(within_s=60, idle=3, claimed=3)
