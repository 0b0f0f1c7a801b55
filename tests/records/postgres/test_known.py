"""Instances that were read once: the same object while nobody wrote them, and anew once somebody did."""

import asyncpg
import pytest

from api.records.postgres import PostgresRecords
from api.types import AgentInstance, InstancePhase, key_of
from tests.builders import a_claim, a_pool, an_instance
from tests.records.steps import POOL, changed, one, promise


async def two_instances(records: PostgresRecords) -> list[AgentInstance]:
    pool = await records.create_pool(a_pool())
    return await records.intend(pool, [an_instance(), an_instance()], orphans=0)


async def test_what_has_not_changed_is_the_same_object(records: PostgresRecords) -> None:
    await two_instances(records)
    first, again = (await records.view(POOL)).instances, (await records.view(POOL)).instances
    assert len(first) == 2
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert {id(i) for i in await records.instances()} == {id(i) for i in first}


async def test_what_was_written_by_whomever_is_read_anew(
    records: PostgresRecords, psql: asyncpg.Connection
) -> None:
    ours, theirs = await two_instances(records)
    await records.view(POOL)
    await records.write_instances([changed(ours, barred="Us")])
    await psql.execute(
        "UPDATE agent_instances SET barred = 'Them' WHERE name = $1", theirs.metadata.name
    )
    now = {key_of(i): i for i in (await records.view(POOL)).instances}
    assert now[key_of(ours)].status.barred == "Us"
    assert now[key_of(theirs)].status.barred == "Them"
    assert now[key_of(ours)] == await records.instance(key_of(ours))


async def test_what_is_gone_is_not_shown(
    records: PostgresRecords, psql: asyncpg.Connection
) -> None:
    await two_instances(records)
    await records.view(POOL)
    await psql.execute("SET session_replication_role = replica; DELETE FROM agent_instances")
    assert (await records.view(POOL)).instances == ()


@pytest.mark.parametrize("meddled", [False, True])
async def test_a_bind_is_known_as_it_stands_on_record(
    records: PostgresRecords, meddled: bool
) -> None:
    """Also where somebody wrote the instance between the look and the bind."""
    [intent, _] = await two_instances(records)
    [instance] = await records.write_instances(
        [changed(intent, phase=InstancePhase.IDLE, url="https://one.test")]
    )
    assert instance is not None
    if meddled:
        assert await records.write_instances([changed(instance, url="https://moved.test")])
    bind = await promise(records, await one(records, a_claim()), instance)
    assert bind.instance == await records.instance(key_of(instance))
    assert bind.claim == await records.claim(key_of(bind.claim))
    [shown] = [i for i in (await records.view(POOL)).instances if i.spec.claim_ref]
    assert shown is bind.instance
