"""The table of bad manifests on rows: refused by our own reader of manifests and by the database."""

import json
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError

from api.manifests import ManifestError, dotted, parse, rule
from api.types import AgentInstance
from tests.bad_manifests import CANARY, Bad, Fine, Json, is_said, manifest, patched, snake
from tests.bad_writes import BAD, FINE

TABLES = {
    "AgentPool": "agent_pools",
    "AgentClaim": "agent_claims",
    "AgentInstance": "agent_instances",
}
# Where a column is not the last name of its field, in snake_case.
COLUMNS = {
    "spec.poolRef.name": "pool",
    "spec.template.source.repo.name": "repo",
    "spec.railway.endpoint": "railway_endpoint",
    "spec.railway.projectId": "railway_project_id",
    "spec.railway.environmentId": "railway_environment_id",
    "spec.railway.tokenFrom": "railway_token_from",
    "spec.claimRef.name": "claim_name",
    "spec.claimRef.uid": "claim_uid",
    "spec.claimRef.reclaimPolicy": "claim_reclaim_policy",
    "status.instance.name": "instance",
    "status.instance.url": "instance_url",
    "status.deployment.id": "deployment_id",
    "status.deployment.status": "deployment_status",
}
AS_JSON = {"spec.template.env", "spec.railway.tokenFrom"}  # Columns that hold what is below.


def row_of(thing: Json, above: str = "") -> dict[str, Any]:
    """The columns of a manifest, whether it is good or not."""
    row: dict[str, Any] = {}
    for name, value in thing.items():
        path = f"{above}.{name}".removeprefix(".")
        if isinstance(value, Mapping) and path not in AS_JSON:
            row |= row_of(dict(value), path)
        else:
            row[COLUMNS.get(path, snake(name))] = value
    return row


async def insert(psql: asyncpg.Connection, table: str, row: Mapping[str, Any]) -> None:
    columns = ", ".join(row)
    await psql.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} "
        f"FROM jsonb_populate_record(NULL::{table}, $1)",
        json.dumps(row),
    )


async def update(
    psql: asyncpg.Connection, table: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Each column that changed; one that went is NULL, or its default where it has one."""
    changed = [c for c in {**old, **new} if old.get(c) != new.get(c)] or ["name"]
    values = ", ".join(f"{c} = {'given.' + c if c in new else 'DEFAULT'}" for c in changed)
    await psql.execute(
        f"UPDATE {table} AS it SET {values} FROM jsonb_populate_record(NULL::{table}, $1) AS given "
        f"WHERE it.name = given.name",
        json.dumps(new),
    )


async def written(psql: asyncpg.Connection, case: Bad | Fine) -> None:
    """Creates the case's manifest and does all its writes."""
    table = TABLES[case.kind]
    thing = {k: v for k, v in manifest(case, "it").items() if k not in ("apiVersion", "kind")}
    await insert(psql, table, row_of(thing))
    for write in case.writes:
        before, thing = thing, patched(thing, write)
        await update(psql, table, row_of(before), row_of(thing))


def refusal_of_manifest(case: Bad) -> str:
    """What our own reader says; the controller writes instances, so their model is asked."""
    text = json.dumps(manifest(case, "it"))
    if case.kind != "AgentInstance":
        with pytest.raises(ManifestError) as refused:
            parse(text, "it.yaml")
        return str(refused.value)
    with pytest.raises(ValidationError) as invalid:
        AgentInstance.model_validate_json(text)
    first = invalid.value.errors()[0]
    return f"{dotted(tuple(first['loc']))}: {rule(first, AgentInstance)}"


async def refusal_of_row(psql: asyncpg.Connection, case: Bad | Fine) -> str:
    """What the database says; empty where it took everything. Nothing stays."""
    transaction = psql.transaction()
    await transaction.start()
    try:
        await written(psql, case)
    except asyncpg.PostgresError as refused:
        return str(refused.message)
    finally:
        await transaction.rollback()
    return ""


def is_as_said(case: Bad, said: str) -> bool:
    if CANARY in said:
        return False
    if case.row is not None:
        return said.startswith(case.row) or case.row in said
    return is_said(case.names, said) and is_said(case.says, said)


@pytest.mark.parametrize(
    "case",
    [case for case in BAD if not case.writes],
    ids=lambda case: f"{case.kind}: {case.name}",
)
def test_a_bad_manifest_is_refused_by_field_and_mend(case: Bad) -> None:
    said = refusal_of_manifest(case)
    assert case.names in said
    assert case.says in said
    assert CANARY not in said


async def test_bad_rows_and_writes_are_refused_by_column_and_mend(
    psql: asyncpg.Connection,
) -> None:
    said = [(case, await refusal_of_row(psql, case)) for case in BAD if case.row != ""]
    assert [(case.name, text) for case, text in said if not (text and is_as_said(case, text))] == []


async def test_of_the_writes_of_a_case_only_the_last_is_bad(psql: asyncpg.Connection) -> None:
    good = [Fine(c.name, c.kind, c.change, c.writes[:-1]) for c in BAD if c.writes]
    assert [(case.name, await refusal_of_row(psql, case)) for case in good] == [
        (case.name, "") for case in good
    ]


async def test_what_only_looks_bad_is_taken(psql: asyncpg.Connection) -> None:
    assert [await refusal_of_row(psql, case) for case in FINE] == [""] * len(FINE)
    for case in (case for case in FINE if case.kind != "AgentInstance"):
        assert parse(json.dumps(manifest(case, "it")), "it.yaml")
