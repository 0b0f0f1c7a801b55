"""Rows and kinds are the same thing, and each look finds its rows by the index that is made for it."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import BaseModel

from api.records import Bind, Outcome
from api.records.columns import instance_columns
from api.records.connection import PLANS
from api.records.postgres import PostgresRecords
from api.records.sql import SQL, queries
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    BoundInstance,
    ClaimPhase,
    Condition,
    DeploymentRef,
    InstancePhase,
    Key,
    OnEmpty,
    ReclaimPolicy,
    key_of,
)
from tests.builders import a_claim, a_pool, an_instance

AT = datetime(2026, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
POOL = Key("default", "default")
CONDITION = Condition(
    type="Ready", status="False", reason="Why", message="m", last_transition_time=AT
)
POOL_SPEC = {
    "minIdle": 1,
    "maxTotal": 2,
    "template": {
        "source": {"repo": {"name": "acme/agent", "branch": "dev", "rootDirectory": "a/b"}},
        "env": [
            {"name": "A", "value": "é\n"},
            {"name": "B", "valueFrom": {"env": "INSTANCE_B"}},
        ],
        "port": 9000,
        "healthcheckPath": "/healthz",
    },
    "namePrefix": "my-",
    "provisionTimeout": "1h30m",
    "claimTimeout": "8760h",
    "reclaimPolicy": "Delete",
    "paused": True,
    "railway": {"projectId": "p", "environmentId": "e"},
}


def whole(model: BaseModel) -> BaseModel:
    """The model, in which no field is missing, however deep."""
    assert set(model.__dict__) == set(type(model).model_fields)
    for value in model.__dict__.values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, BaseModel):
                whole(part)
    return model


async def test_every_field_of_a_pool_comes_back_as_it_went(records: PostgresRecords) -> None:
    named = {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    pool = AgentPool.model_validate_json(json.dumps({"metadata": named, "spec": POOL_SPEC}))
    made = await records.create_pool(pool)
    assert made.spec == pool.spec
    assert made.metadata.labels == pool.metadata.labels
    assert whole(made) == await records.pool(key_of(pool))
    seen = {"observed_generation": 1, "idle": 2, "waiting": 3, "selector": "s"}
    status = made.status.model_copy(update=seen | {"conditions": (CONDITION,)})
    written = await records.write_pool_status(made.model_copy(update={"status": status}))
    assert written.status == status
    assert whole(written) == await records.pool(key_of(pool))


async def test_every_field_of_a_claim_comes_back_as_it_went(records: PostgresRecords) -> None:
    claim = a_claim(
        join_url="https://convos.org/join",
        timeout=timedelta(minutes=5),
        on_empty=OnEmpty.FAIL,
        reclaim_policy=ReclaimPolicy.DELETE,
        instructions='"quoted" \\ \u2028 \U0001f600\n\t',
        labels={"a": "b"},
    )
    [made] = await records.create_claims([claim])
    assert isinstance(made, AgentClaim)
    assert whole(made) == await records.claim(key_of(claim))
    status = made.status.model_copy(
        update={
            "phase": ClaimPhase.READY,
            "instance": BoundInstance(name="i1", url="https://i1"),
            "attempt": Attempt(by="p1", at=AT),
            "invite_url": "https://invite",
            "conversation_id": "c",
            "joined": False,
            "bound_at": AT,
            "ready_at": AT,
            "conditions": (CONDITION,),
        }
    )
    [settled] = await records.settle([Outcome(made, status)])
    assert settled is not None
    assert settled.status == status
    assert whole(settled) == whole(await records.claim(key_of(claim)))


async def test_every_field_of_an_instance_comes_back_as_it_went(records: PostgresRecords) -> None:
    pool = await records.create_pool(a_pool())
    intent = an_instance(labels={"a": "b"})
    [made] = await records.intend(pool, [intent], 0)
    assert (made.spec, made.metadata.labels) == (intent.spec, intent.metadata.labels)
    status = made.status.model_copy(
        update={
            "phase": InstancePhase.FAILED,
            "service_id": "s",
            "url": "https://i",
            "deployment": DeploymentRef(id="d", status="CRASHED"),
            "ready_at": AT,
            "barred": "Stranger",
            "conditions": (CONDITION,),
        }
    )
    [written] = await records.write_instances([made.model_copy(update={"status": status})])
    assert written is not None
    assert written.status == status
    assert whole(written) == whole(await records.instance(key_of(made)))


async def idle(records: PostgresRecords, count: int) -> list[AgentInstance]:
    pool = await records.create_pool(a_pool())
    made = await records.intend(pool, [an_instance() for _ in range(count)], 0)
    ready = {"phase": InstancePhase.IDLE, "url": "https://i"}
    written = await records.write_instances(
        [i.model_copy(update={"status": i.status.model_copy(update=ready)}) for i in made]
    )
    return [i for i in written if i is not None]


@pytest.mark.parametrize("pairs", [[(0, 0), (0, 1)], [(0, 0), (1, 0)], [(0, 0), (0, 0)]])
async def test_who_comes_twice_in_one_batch_is_bound_once(
    records: PostgresRecords, pairs: list[tuple[int, int]]
) -> None:
    instances = await idle(records, 2)
    claims = await records.create_claims([a_claim(), a_claim()])
    binds = [Bind(claims[c], instances[i]) for c, i in pairs]  # type: ignore[arg-type]
    assert len(await records.bind(binds, Attempt(by="p", at=AT))) == 1
    view = await records.view(POOL)
    assert len(view.fates) == 1
    assert [c.status.phase for c in view.claims].count(ClaimPhase.BOUND) == 1


async def test_of_two_outcomes_of_one_claim_in_one_batch_the_first_is_written(
    records: PostgresRecords,
) -> None:
    [claim] = await records.create_claims([a_claim()])
    assert isinstance(claim, AgentClaim)
    ends = [
        claim.status.model_copy(update={"phase": ClaimPhase.FAILED, "conversation_id": one})
        for one in ("first", "second")
    ]
    settled = await records.settle([Outcome(claim, end) for end in ends])
    assert [one and one.status.conversation_id for one in settled] == ["first", None]


CROWD = """
INSERT INTO agent_claims (uid, name, agent_id, instructions, phase, instance, created_at)
SELECT n, 'c' || n, 'a', 'x', 'Ready', 'i' || n, now() - n * interval '1 s'
FROM generate_series(1, 10000) AS n;
INSERT INTO agent_instances (uid, name, pool, service_name, template_hash, key_id, railway_endpoint,
    railway_project_id, railway_environment_id, phase, claim_name, claim_uid, claim_reclaim_policy)
SELECT n, 'i' || n, 'default', 's', 't', 'k', 'e', 'p', 'e', 'Claimed', 'c' || n, n, 'Retain'
FROM generate_series(1, 10000) AS n;
ANALYZE agent_claims, agent_instances;"""


@pytest.mark.parametrize(
    ("query", "args", "index"),
    [
        ("bindable", ("default", "default", 20), "agent_claims_pending"),
        ("bindable", ("default", "default", 20), "agent_instances_free"),
        ("open_claims", ("default", "default"), "agent_claims_open"),
        ("list_claims", ("default", 20), "agent_claims_created"),
        ("fate", ("default", "c1", "1", "i1"), "agent_claims_pkey"),
    ],
)
async def test_a_look_does_not_read_the_claims_that_ended(
    psql: asyncpg.Connection,
    records: PostgresRecords,
    query: str,
    args: tuple[object, ...],
    index: str,
) -> None:
    await psql.execute(f"SET session_replication_role = replica; {CROWD}")
    await records.create_claims([a_claim() for _ in range(20)])
    for name, value in PLANS.items():
        await psql.execute(f"SET {name} = {value}")
    await psql.execute(f"PREPARE hot AS {SQL[query]}")
    given = ", ".join(f"'{arg}'" for arg in args)
    plan = "\n".join(row[0] for row in await psql.fetch(f"EXPLAIN EXECUTE hot({given})"))
    assert index in plan
    assert "Seq Scan" not in plan


def test_the_columns_of_an_intent_hold_no_claim() -> None:
    assert not [name for name in instance_columns(an_instance()) if name.startswith("claim")]


def test_queries_are_read_by_name_without_their_comments() -> None:
    found = queries("-- head\n-- name: a\n-- why\nSELECT 1;\n\n-- name: b\nSELECT 2;\n")
    assert dict(found) == {"a": "SELECT 1;", "b": "SELECT 2;"}
    with pytest.raises(ValueError, match="used twice"):
        queries("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;")
    assert "bind" in SQL
