"""A person at psql: what four columns make, what may be changed, and what rings."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from api.records import Bell, Bind, Fate, Outcome
from api.records.connection import CHANNEL
from api.records.postgres import PostgresRecords
from api.types import (
    MANAGED_BY,
    AgentClaim,
    AgentInstance,
    Attempt,
    ClaimPhase,
    InstancePhase,
    Key,
    OnEmpty,
    key_of,
)
from tests.builders import a_claim, a_pool, an_instance

POOL = Key("default", "default")
LAST = Bell("look", name="last")


async def make_pool(psql: asyncpg.Connection) -> None:
    await psql.execute("INSERT INTO agent_pools (name, repo) VALUES ('default', 'acme/agent')")


async def make_claim(psql: asyncpg.Connection) -> None:
    await psql.execute(
        "INSERT INTO agent_claims (name, pool, agent_id, instructions) "
        "VALUES ('mine', 'default', 'planner', 'Plan a trip.')"
    )


async def make_bound(psql: asyncpg.Connection, records: PostgresRecords) -> Bind:
    """The claim `mine`, bound to the instance `i1`."""
    await make_pool(psql)
    await make_claim(psql)
    [intent] = await records.intend(await records.pool(POOL), [an_instance(name="i1")], 0)
    status = intent.status.model_copy(update={"phase": InstancePhase.IDLE, "url": "https://i1"})
    await records.write_instances([intent.model_copy(update={"status": status})])
    seen = await records.bindable(POOL, 10)
    [bind] = await records.bind([Bind(seen.claims[0], seen.idle[0])], Attempt(by="p", at=seen.now))
    return bind


async def settled(records: PostgresRecords, claim: AgentClaim, phase: ClaimPhase) -> AgentClaim:
    status = claim.status.model_copy(update={"phase": phase})
    [done] = await records.settle([Outcome(claim, status)])
    assert done is not None
    return done


async def refusal(psql: asyncpg.Connection, sql: str) -> str:
    """The message of the rule that refuses this."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await psql.execute(sql)
    assert caught.value.sqlstate == "AP422"
    assert caught.value.detail is None
    return str(caught.value.message)


async def refused(psql: asyncpg.Connection, table: str, change: str) -> str:
    """The message of the rule that refuses this change of every row."""
    return await refusal(psql, f"UPDATE {table} SET {change}")


async def test_a_claim_of_four_columns_waits_in_its_pool_with_the_kinds_defaults(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_pool(psql)
    await make_claim(psql)
    [claim] = (await records.view(POOL)).claims
    assert claim.status.phase is ClaimPhase.PENDING
    assert claim.spec.instructions == "Plan a trip."
    assert claim.spec.on_empty is OnEmpty.WAIT
    assert claim == AgentClaim.model_validate_json(claim.model_dump_json(by_alias=True)).model_copy(
        update={"metadata": claim.metadata}
    )


async def test_a_pool_of_two_columns_has_the_kinds_defaults(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await psql.execute(
        "INSERT INTO agent_pools (name, image) VALUES ('default', 'agents/convos:1')"
    )
    assert (await records.pool(POOL)).spec == a_pool().spec


async def test_a_changed_min_idle_moves_generation_and_version(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_pool(psql)
    assert await psql.execute("UPDATE agent_pools SET min_idle = 5") == "UPDATE 1"
    pool = await records.pool(POOL)
    assert pool.spec.min_idle == 5
    assert (pool.metadata.generation, pool.metadata.resource_version) == (2, "2")


async def test_an_annotation_moves_the_version_but_not_the_generation(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_pool(psql)
    await psql.execute("""UPDATE agent_pools SET annotations = '{"note": "x"}'""")
    pool = await records.pool(POOL)
    assert pool.metadata.annotations == {"note": "x"}
    assert (pool.metadata.generation, pool.metadata.resource_version) == (1, "2")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE agent_pools SET min_idle = 3, claim_timeout = '600s', env = '[ ]'",
        "UPDATE agent_pools SET version = 9, generation = 9",
        "UPDATE agent_claims SET phase = 'Bound', instance = 'i1', instructions = 'Plan a trip.'",
        "UPDATE agent_instances SET phase = 'Claimed', version = 9",
    ],
)
async def test_a_write_that_repeats_what_is_there_changes_nothing_and_rings_nothing(
    psql: asyncpg.Connection, records: PostgresRecords, sql: str
) -> None:
    await make_bound(psql, records)
    before = await records.view(POOL)
    rung = await listening(psql)
    assert await psql.execute(sql) == "UPDATE 1"
    after = await records.view(POOL)
    assert (after.pool, after.claims, after.instances) == (
        before.pool,
        before.claims,
        before.instances,
    )
    await records.ring(LAST)
    assert [bell["name"] for bell in await heard(rung, 1)] == ["last"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("instructions", "'other'"),
        ("pool", "'other'"),
        ("agent_id", "'other'"),
        ("join_url", "'https://convos.org/x'"),
        ("timeout", "'1 minute'"),
        ("on_empty", "'Fail'"),
        ("reclaim_policy", "'Delete'"),
        ("name", "'other'"),
        ("uid", "'other'"),
        ("created_at", "'2000-01-01'"),
    ],
)
async def test_what_a_claim_asks_for_does_not_change(
    psql: asyncpg.Connection, column: str, value: str
) -> None:
    await make_claim(psql)
    said = await refused(psql, "agent_claims", f"{column} = {value}")
    assert said == f"{column}: is immutable; delete the claim and make another"


async def test_a_claim_that_ended_does_not_change_but_can_be_labelled_and_released(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    bind = await make_bound(psql, records)
    await settled(records, bind.claim, ClaimPhase.READY)
    for sql in ("phase = 'Pending', instance = NULL", "invite_url = 'https://x'", "joined = true"):
        assert (await refused(psql, "agent_claims", sql)).startswith("phase: ")
    assert await psql.execute("""UPDATE agent_claims SET labels = '{"a": "b"}'""") == "UPDATE 1"
    assert await psql.execute("DELETE FROM agent_claims") == "DELETE 1"
    assert await records.fate(bind.instance) is Fate.RELEASED


async def test_a_claimed_instance_keeps_its_claim_for_ever(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_bound(psql, records)
    for sql in (
        "claim_name = NULL, claim_uid = NULL, claim_reclaim_policy = NULL",
        "claim_uid = 'another'",
        "claim_reclaim_policy = 'Delete'",
    ):
        said = await refused(psql, "agent_instances", sql)
        assert said.startswith("claim_uid: is set once, never cleared or changed")


async def test_only_an_idle_unbarred_instance_can_be_claimed(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_pool(psql)
    await records.intend(await records.pool(POOL), [an_instance()], 0)
    claim = "claim_name = 'mine', claim_uid = 'u', claim_reclaim_policy = 'Retain'"
    for state in ("phase = 'Provisioning'", "phase = 'Idle', barred = 'Stranger'"):
        await psql.execute(f"UPDATE agent_instances SET {state}")
        said = await refused(psql, "agent_instances", claim)
        assert said.startswith("claim_uid: only an Idle instance")


async def test_two_claims_never_name_the_same_instance(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_bound(psql, records)
    [other] = await records.create_claims([a_claim(name="other")])
    assert isinstance(other, AgentClaim)
    with pytest.raises(asyncpg.UniqueViolationError):
        await psql.execute(
            "UPDATE agent_claims SET phase = 'Bound', instance = 'i1' WHERE name = 'other'"
        )


async def test_retiring_only_ends_gone_and_only_a_gone_one_is_deleted(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    await make_bound(psql, records)
    change = "UPDATE agent_instances SET phase = '{}'"
    assert (await refusal(psql, "DELETE FROM agent_instances")).startswith("phase: only a Gone")
    await psql.execute(change.format("Retiring"))
    assert (await refusal(psql, change.format("Idle"))).startswith("phase: Retiring is final")
    await psql.execute(change.format("Gone"))
    assert (await refusal(psql, change.format("Retiring"))).startswith("phase: Gone is final")
    assert await psql.execute("DELETE FROM agent_instances") == "DELETE 1"


async def test_the_railway_of_a_pool_does_not_change(psql: asyncpg.Connection) -> None:
    await make_pool(psql)
    said = await refusal(psql, "UPDATE agent_pools SET railway_project_id = 'p2'")
    assert said.startswith("railway_project_id: the pool's railway is immutable")


async def test_managed_by_is_the_label_of_that_name(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    pool = await records.create_pool(a_pool(labels={MANAGED_BY: "helm", "team": "a"}))
    row = await psql.fetchrow("SELECT managed_by, labels FROM agent_pools")
    assert row is not None
    assert (row["managed_by"], json.loads(row["labels"])) == ("helm", {"team": "a"})
    await psql.execute("UPDATE agent_pools SET managed_by = 'me'")
    labels = (await records.pool(key_of(pool))).metadata.labels
    assert labels == {MANAGED_BY: "me", "team": "a"}


# ---------------------------------------------------------------- what rings


async def listening(psql: asyncpg.Connection) -> "asyncio.Queue[dict[str, Any]]":
    rung: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def hear(connection: Any, pid: int, channel: str, payload: Any) -> None:
        rung.put_nowait(json.loads(payload))

    await psql.add_listener(CHANNEL, hear)
    return rung


async def heard(rung: "asyncio.Queue[dict[str, Any]]", count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        return [await rung.get() for _ in range(count)]


async def test_what_a_person_writes_rings_with_kind_name_pool_and_phase(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    rung = await listening(psql)
    await make_pool(psql)
    await make_claim(psql)
    await psql.execute("UPDATE agent_pools SET paused = true")
    await psql.execute("DELETE FROM agent_claims")
    await psql.execute("DELETE FROM agent_pools")
    assert [tuple(bell.values()) for bell in await heard(rung, 5)] == [
        ("pool", "default", "default", "", ""),
        ("claim", "default", "mine", "default", "Pending"),
        ("pool", "default", "default", "", ""),
        ("claim", "default", "mine", "default", "Deleted"),
        ("pool", "default", "default", "", "Deleted"),
    ]


async def test_what_we_write_ourselves_of_pools_leases_and_events_rings_nothing(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    pool = await records.create_pool(a_pool())
    rung = await listening(psql)
    status = pool.status.model_copy(update={"idle": 3})
    await records.write_pool_status(pool.model_copy(update={"status": status}))
    await records.write_lease(await records.lease("railway"), "me")
    await records.ring(LAST)
    assert [bell["name"] for bell in await heard(rung, 1)] == ["last"]


async def test_making_and_settling_ring_claim_and_instance_with_their_phases(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    """A promise rings nobody: who makes it knows, and each bell wakes every listener."""
    rung = await listening(psql)
    bind = await make_bound(psql, records)
    assert isinstance(bind.instance, AgentInstance)
    await settled(records, bind.claim, ClaimPhase.READY)
    bells = [(bell["kind"], bell["name"], bell["phase"]) for bell in await heard(rung, 5)]
    assert set(bells[2:]) == {
        ("instance", "i1", "Provisioning"),
        ("instance", "i1", "Idle"),
        ("claim", "mine", "Ready"),
    }
