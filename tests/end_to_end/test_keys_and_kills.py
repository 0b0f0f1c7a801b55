"""Must show 4 and 5: one key, one agent, one answer; a burst while processes die: none double, none lost."""

import asyncio
from pathlib import Path

from tests.end_to_end.doubles import doubles
from tests.end_to_end.system import System


async def test_one_key_asked_50_times_and_again_after_kills_is_one_agent(state: Path) -> None:
    async with System(state, HANDOVER_TIMEOUT="2s") as system:
        asks = [asyncio.create_task(system.claim_until_answered("one", "key-1")) for _ in range(50)]
        await asyncio.sleep(0.05)
        await system.kill_child("controller")
        await system.kill_child("api")
        answers = await asyncio.gather(*asks)
        answers.append(await system.claim_until_answered("one", "key-1"))
        assert all(answer == answers[0] for answer in answers)
        told = {line["instanceId"] for line in system.lines("heard.jsonl") if line["name"] == "one"}
        assert answers[0]["instanceId"] in told
        claimed = await system.until(idle=3)
        assert claimed["claimed"] == len(told)
        assert doubles(system.lines("heard.jsonl"), {"one": answers[0]}) == []


async def test_300_claims_at_once_while_processes_are_killed(state: Path) -> None:
    sizes = {"POOL_MIN_IDLE": "300", "POOL_MAX_TOTAL": "700", "HANDOVER_TIMEOUT": "3s"}
    async with System(state, **sizes, CREATE_CONCURRENCY="50") as system:
        await system.until(within_s=150, idle=300)
        names = [f"burst-{n}" for n in range(300)]
        asks = [asyncio.create_task(system.claim_until_answered(n, f"key-{n}")) for n in names]
        for part in ("controller", "controller", "simulator", "controller"):
            await asyncio.sleep(0.3)
            await system.kill_child(part)
            await asyncio.sleep(1.5)
        answers = dict(zip(names, await asyncio.gather(*asks), strict=True))
        assert len(answers) == 300
        assert doubles(system.lines("heard.jsonl"), answers) == []
