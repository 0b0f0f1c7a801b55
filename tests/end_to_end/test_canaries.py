"""Must show 9: secrets and instructions are found nowhere; the same search finds them where they leak."""

import hashlib
import secrets
import shutil
from pathlib import Path

import aiohttp
import asyncpg
import psutil
import pytest

from tests.end_to_end.system import System

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = "canary-instructions-" + secrets.token_hex(8)


def planted() -> dict[str, str]:
    """A canary in every variable that is a secret."""
    names = (
        "POOL_API_KEY",
        "INSTANCE_ANTHROPIC_API_KEY",
        "POOL_INSTANCE_SECRET",
        "INSTANCE_SETUP_PASSWORD",
    )
    return {name: f"canary-{name.lower()}-{secrets.token_hex(16)}" for name in names}


async def live_through_much(system: System) -> list[str]:
    """Claims that end well and badly, bad requests, bad rows: every answer and error as text."""
    said: list[str] = []
    body = {"agentId": "canary", "instructions": INSTRUCTIONS}
    said.append(str(await system.call("POST", "/api/pool/claim", body, Idempotency_Key="k")))
    said.append(str(await system.call("POST", "/api/pool/claim", {**body, "joinUrl": "x"})))
    said.append(str(await system.call("POST", "/api/pool/claim", {**body, INSTRUCTIONS[:7]: 1})))
    other = {**body, "agentId": "other"}
    said.append(str(await system.call("POST", "/api/pool/claim", other, Idempotency_Key="k")))
    await system.faults({"agent500": 1.0, "deployFailed": 0.5, "unavailable": 0.3})
    said.append(str(await system.call("POST", "/api/pool/claim", other, Prefer="wait=5")))
    await system.faults()
    for statement in (
        f"INSERT INTO agent_claims (name, instructions) VALUES ('x', '{INSTRUCTIONS}')",
        f"INSERT INTO agent_claims (name, agent_id, instructions, pool)"
        f" VALUES ('X!', 'a', '{INSTRUCTIONS}', 'default')",
        f"UPDATE agent_claims SET instructions = '{INSTRUCTIONS} changed'",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await system.sql(statement)
        said.append(str(refused.value))
    return said


async def seen(system: System) -> dict[str, str]:
    """All that anybody may see of the system, by where."""
    run = system.run
    shown = {str(p.name): p.read_text(errors="replace") for p in (system.state / "logs").iterdir()}
    shown["processes"] = "\n".join(
        " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])
    )
    for name in ("/api/pool/status", "/api/pool/claims", "/openapi.json"):
        shown[name] = str(await system.call("GET", name))
    async with aiohttp.ClientSession() as http:
        for url in (run["api"] + "/", *(f"{ops}/metrics" for ops in run["ops"].values())):
            async with http.get(url) as response:
                shown[url] = await response.text()
    for table in ("agent_events", "agent_pools"):
        shown[table] = "\n".join(map(str, await system.sql(f"SELECT * FROM {table}")))
    shown["instances"] = "\n".join(map(str, await system.sql("SELECT * FROM agent_instances")))
    return shown


def leaks(shown: dict[str, str], canaries: dict[str, str]) -> list[str]:
    return [
        f"{name} in {where}"
        for where, text in shown.items()
        for name, c in canaries.items()
        if c in text
    ]


async def test_no_secret_and_no_instructions_are_found_anywhere(state: Path) -> None:
    variables = planted()
    async with System(state, **variables) as system:
        said = await live_through_much(system)
        canaries = {
            **variables,
            "instructions": INSTRUCTIONS,
            "database": system.run["databaseUrl"],
        }
        shown = await seen(system) | {f"answer {n}": text for n, text in enumerate(said)}
        assert leaks(shown, canaries) == []
        assert INSTRUCTIONS.encode() not in system.output


async def test_no_agent_holds_the_manager_s_key_or_another_agent_s(state: Path) -> None:
    variables = planted()
    async with System(state, **variables) as system:
        services = await system.services()
        own = [s["variables"]["POOL_API_KEY"] for s in services]
        hashes = {
            hashlib.sha256(variables[k].encode()).hexdigest()
            for k in ("POOL_API_KEY", "POOL_INSTANCE_SECRET")
        }
        assert len(set(own)) == len(services) == 3
        for service in services:
            others = set(own) - {service["variables"]["POOL_API_KEY"]}
            assert not (set(service["variables"].values()) & (hashes | others))


async def test_the_same_search_finds_them_in_a_build_that_leaks(state: Path) -> None:
    for package in ("api", "controller"):
        shutil.copytree(ROOT / package, state.parent / package)
    leaky = state.parent / "controller" / "delivery.py"
    text = leaky.read_text()
    spot = "        letter = Letter(spec.agent_id, spec.instructions, spec.join_url)\n"
    assert spot in text
    leaky.write_text(
        text.replace(spot, spot + '        log.info("telling %s", spec.instructions)\n')
    )
    async with System(state, **planted()) as system:
        await live_through_much(system)
        found = leaks(await seen(system), {"instructions": INSTRUCTIONS})
        assert found == ["instructions in controller.log"]
