"""Bad rows, and what the person who wrote one is told: a column, a mend, and never a value."""

import json

import asyncpg
import pytest

from api.records import Invalid, Outcome
from api.records.columns import outcome_columns
from api.records.postgres import PostgresRecords
from api.types import AgentClaim, ClaimPhase
from tests.builders import a_claim, a_pool

CANARY = "canary-7f3a"
Row = dict[str, object]


def env(*variables: object) -> list[object]:
    return list(variables)


BAD_POOLS: list[tuple[Row, str]] = [
    ({"name": "Upper"}, "name: must be lower-case"),
    ({"name": "-a"}, "name: must be lower-case"),
    ({"name": "a" * 254}, "name: must be lower-case"),
    ({"name": None}, "name: must be lower-case"),
    ({"namespace": ""}, "namespace: must be lower-case"),
    ({"labels": []}, "labels: must be an object"),
    ({"labels": {"a": 1}}, "labels: must be an object"),
    ({"labels": {str(n): "" for n in range(65)}}, "labels: must be an object"),
    ({"annotations": "a"}, "annotations: must be an object"),
    ({"annotations": None}, "annotations: must be an object"),
    ({"min_idle": -1}, "min_idle: must be between 0 and 10000"),
    ({"min_idle": None}, "min_idle: must be between 0 and 10000"),
    ({"max_total": 10001}, "max_total: must be between 0 and 10000"),
    ({"min_idle": 11}, "min_idle: must not exceed max_total"),
    ({"repo": "acme/agent"}, "repo: give exactly one of repo and image"),
    ({"image": None}, "repo: give exactly one of repo and image"),
    ({"image": ""}, "image: must be 1 to 512"),
    ({"image": "a" * 513}, "image: must be 1 to 512"),
    ({"image": None, "repo": "acme"}, "repo: must be owner/name"),
    ({"image": None, "repo": "a/" + "b" * 200}, "repo: must be owner/name"),
    ({"branch": "dev"}, "branch: goes only with repo"),
    ({"image": None, "repo": "a/b", "branch": ""}, "branch: must be 1 to 255"),
    ({"root_directory": "a"}, "root_directory: goes only with repo"),
    ({"image": None, "repo": "a/b", "root_directory": ""}, "root_directory: must be 1 to 255"),
    ({"port": 0}, "port: must be between 1 and 65535"),
    ({"healthcheck_path": "healthz"}, "healthcheck_path: must begin with /"),
    ({"healthcheck_path": "/a b"}, "healthcheck_path: must begin with /"),
    ({"name_prefix": "9-"}, "name_prefix: must be"),
    ({"name_prefix": "a" * 17}, "name_prefix: must be"),
    ({"provision_timeout": "0s"}, "provision_timeout: must be between 1 second and 365 days"),
    ({"claim_timeout": "366 days"}, "claim_timeout: must be between 1 second and 365 days"),
    ({"failed_claim_ttl": "1h"}, "failed_claim_ttl: not yet"),
    ({"max_unavailable": 2}, "max_unavailable: not yet"),
    ({"railway_token_from": {"env": "INSTANCE_T"}}, "railway_token_from: not yet"),
    ({"reclaim_policy": "Recycle"}, "reclaim_policy: must be Retain or Delete"),
    ({"paused": None}, "paused: must be true or false"),
    ({"railway_project_id": ""}, "railway_project_id: must be 1 to 64"),
    ({"railway_environment_id": "a" * 65}, "railway_environment_id: must be 1 to 64"),
    ({"env": {}}, "env: must be a list"),
    ({"env": None}, "env: must be a list"),
    ({"env": env(*[{"name": f"A{n}", "value": ""} for n in range(101)])}, "env: must be a list"),
    ({"env": env({"name": "A", "value": "1"}, "B")}, "env[1]: must be an object"),
    ({"env": env({"name": "A", "value": "1", "v": 1})}, "env[0]: knows only name, value"),
    ({"env": env({"value": "1"})}, "env[0].name: must be letters"),
    ({"env": env({"name": "1A", "value": "1"})}, "env[0].name: must be letters"),
    ({"env": env({"name": "A" * 129, "value": "1"})}, "env[0].name: must be letters"),
    ({"env": env({"name": "POOL_X", "value": "1"})}, "env[0].name: is reserved"),
    ({"env": env({"name": "RAILWAY_X", "value": "1"})}, "env[0].name: is reserved"),
    ({"env": env({"name": "PORT", "value": "1"})}, "env[0].name: is reserved"),
    ({"env": env({"name": "SETUP_PASSWORD", "value": "1"})}, "env[0].name: is reserved"),
    ({"env": env({"name": "A"})}, "env[0]: must have exactly one of value and valueFrom"),
    ({"env": env({"name": "A", "value": 1})}, "env[0].value: must be a string"),
    ({"env": env({"name": "A", "value": "a" * 32769})}, "env[0].value: must be at most 32768"),
    ({"env": env({"name": "A", "valueFrom": "B"})}, "env[0].valueFrom: must be an object"),
    ({"env": env({"name": "A", "valueFrom": {}})}, "env[0].valueFrom.env: must name"),
    ({"env": env({"name": "A", "valueFrom": {"env": "HOME"}})}, "env[0].valueFrom.env: must name"),
    (
        {"env": env({"name": "A", "valueFrom": {"env": "INSTANCE_A", "b": 1}})},
        "env[0].valueFrom: knows only env",
    ),
    (
        {"env": env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})},
        "env[0].valueFrom.secretKeyRef: Kubernetes only",
    ),
    (
        {"env": env({"name": "A", "value": "1"}, {"name": "A", "value": "2"})},
        "env: names a variable more than once",
    ),
    (
        {"env": env({"name": "A", "value": "1", "valueFrom": {"env": "INSTANCE_A"}})},
        "env[0]: must have exactly one of value and valueFrom",
    ),
]

BAD_CLAIMS: list[tuple[Row, str]] = [
    ({"name": "My Claim"}, "name: must be lower-case"),
    ({"name": None}, "name: must be lower-case"),
    ({"namespace": "A"}, "namespace: must be lower-case"),
    ({"pool": ""}, "pool: must be the name of a pool"),
    ({"pool": None}, "pool: must be the name of a pool"),
    ({"labels": []}, "labels: must be an object"),
    ({"annotations": {"a": None}}, "annotations: must be an object"),
    ({"agent_id": None}, "agent_id: must be 1 to 128"),
    ({"agent_id": ""}, "agent_id: must be 1 to 128"),
    ({"agent_id": "a" * 129}, "agent_id: must be 1 to 128"),
    ({"agent_id": "a\nb"}, "agent_id: must be one line"),
    ({"agent_id": "a\x7f"}, "agent_id: must be one line"),
    ({"instructions": None}, "instructions: must be 1 to 102400 bytes"),
    ({"instructions": ""}, "instructions: must be 1 to 102400 bytes"),
    ({"instructions": "é" * 51201}, "instructions: must be 1 to 102400 bytes"),
    ({"instructions": "a\x01"}, "instructions: must hold no control characters"),
    ({"instructions": "a\x1b[0m"}, "instructions: must hold no control characters"),
    ({"join_url": "http://convos.org"}, "join_url: must be an https:// URL"),
    ({"join_url": "https://a b"}, "join_url: must be an https:// URL"),
    ({"join_url": "https://" + "a" * 2048}, "join_url: must be an https:// URL"),
    ({"timeout": "0.5 s"}, "timeout: must be between 1 second and 365 days"),
    ({"on_empty": "Sulk"}, "on_empty: must be Wait or Fail"),
    ({"reclaim_policy": "delete"}, "reclaim_policy: must be Retain or Delete"),
    ({"phase": "Ready"}, "phase: a status is the controller's"),
    ({"instance": "i1"}, "phase: a status is the controller's"),
    ({"invite_url": "https://a"}, "phase: a status is the controller's"),
]


async def insert(psql: asyncpg.Connection, table: str, row: Row) -> None:
    columns = ", ".join(row)
    await psql.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} "
        f"FROM jsonb_populate_record(NULL::{table}, $1)",
        json.dumps(row),
    )


async def refusal(psql: asyncpg.Connection, table: str, row: Row) -> str:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await insert(psql, table, row)
    assert caught.value.sqlstate == "AP422"
    assert CANARY not in str(caught.value)
    return str(caught.value.message)


def a_pool_row(bad: Row) -> Row:
    return {"name": "p", "image": CANARY} | bad


def a_claim_row(bad: Row) -> Row:
    return {"name": "c", "pool": "default", "agent_id": "a", "instructions": CANARY} | bad


async def test_a_bad_pool_is_refused_by_column_and_mend(psql: asyncpg.Connection) -> None:
    for bad, said in BAD_POOLS:
        assert (await refusal(psql, "agent_pools", a_pool_row(bad))).startswith(said), bad
    assert await psql.fetchval("SELECT count(*) FROM agent_pools") == 0
    await insert(psql, "agent_pools", a_pool_row({}))  # So the rest of each row was good.


async def test_a_bad_claim_is_refused_by_column_and_mend(psql: asyncpg.Connection) -> None:
    for bad, said in BAD_CLAIMS:
        assert (await refusal(psql, "agent_claims", a_claim_row(bad))).startswith(said), bad
    assert await psql.fetchval("SELECT count(*) FROM agent_claims") == 0
    await insert(psql, "agent_claims", a_claim_row({}))


@pytest.mark.parametrize(
    "row",
    [
        {"instructions": "é" * 51200, "agent_id": "é" * 128, "name": "a" * 253},
        {"instructions": "a\tb\r\nc", "join_url": "https://" + "a" * 2040, "timeout": "365 days"},
        {"instructions": "\u2028 \U0001f600", "on_empty": "Fail", "reclaim_policy": "Delete"},
    ],
)
async def test_a_claim_at_the_edge_of_every_rule_is_taken(
    psql: asyncpg.Connection, row: Row
) -> None:
    await insert(psql, "agent_claims", a_claim_row(row))


async def test_a_pool_that_was_good_cannot_be_made_bad(psql: asyncpg.Connection) -> None:
    await insert(psql, "agent_pools", a_pool_row({}))
    for change, said in [
        ("min_idle = 11", "min_idle: must not exceed max_total"),
        ("max_total = 2", "min_idle: must not exceed max_total"),
        ("image = NULL", "repo: give exactly one"),
        ("namespace = 'other'", "name: is immutable"),
        ("uid = 'other'", "uid: uid and created_at"),
    ]:
        with pytest.raises(asyncpg.PostgresError, match=said):
            await psql.execute(f"UPDATE agent_pools SET {change}")


async def test_a_status_that_no_claim_has_is_refused(psql: asyncpg.Connection) -> None:
    await insert(psql, "agent_claims", a_claim_row({}))
    for change, said in [
        ("phase = 'Done'", "phase: must be Pending"),
        ("phase = NULL", "phase: must be Pending"),
        ("phase = 'Bound'", "instance: must be named"),
        ("labels = '[]'", "labels: must be"),
    ]:
        with pytest.raises(asyncpg.PostgresError, match=said) as caught:
            await psql.execute(f"UPDATE agent_claims SET {change}")
        assert CANARY not in str(caught.value)


async def test_what_a_check_or_a_key_refuses_reaches_us_without_the_row(
    psql: asyncpg.Connection, records: PostgresRecords
) -> None:
    first, second, third = await records.create_claims(
        [a_claim(name=name, instructions=CANARY) for name in ("a", "b", "c")]
    )
    assert isinstance(first, AgentClaim)
    await psql.execute(
        "ALTER TABLE agent_claims ADD CONSTRAINT no_b CHECK (name <> 'b' OR joined IS NULL)"
    )
    with pytest.raises(asyncpg.CheckViolationError) as leak:
        await psql.execute("UPDATE agent_claims SET joined = true WHERE name = 'b'")
    assert CANARY in str(leak.value)  # So there is something that could leak.
    with pytest.raises(Invalid) as caught:
        await records._rows(  # The raw way, to hold its one place of errors to it.
            "settle", [outcome_of(claim) for claim in (first, second, third)]
        )
    assert str(caught.value) == "agent_claims: refused by no_b"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def outcome_of(claim: object) -> Row:
    assert isinstance(claim, AgentClaim)
    status = claim.status.model_copy(update={"phase": ClaimPhase.FAILED, "joined": True})
    return outcome_columns(Outcome(claim, status))


async def test_one_bad_row_costs_nobody_else(
    psql: asyncpg.Connection, records: PostgresRecords, caplog: pytest.LogCaptureFixture
) -> None:
    bad = a_claim(name="bad", instructions=CANARY)
    bad = bad.model_copy(update={"spec": bad.spec.model_copy(update={"agent_id": "a\x00b"})})
    made = await records.create_claims([a_claim(name="a"), bad, a_claim(name="b")])
    assert [type(one) for one in made] == [AgentClaim, Invalid, AgentClaim]
    assert CANARY not in repr(made)
    assert CANARY not in caplog.text


async def test_a_half_surrogate_is_refused_and_not_repeated(records: PostgresRecords) -> None:
    bad = a_claim()
    text = f"{CANARY}\ud800"
    bad = bad.model_copy(update={"spec": bad.spec.model_copy(update={"instructions": text})})
    [refused] = await records.create_claims([bad])
    assert isinstance(refused, Invalid)
    assert CANARY not in str(refused)


async def test_a_rule_that_refuses_us_names_column_and_mend(records: PostgresRecords) -> None:
    pool = a_pool()
    spec = pool.spec.model_copy(update={"min_idle": 11})
    with pytest.raises(Invalid, match=r"^min_idle: must not exceed max_total; raise max_total"):
        await records.create_pool(pool.model_copy(update={"spec": spec}))
