"""The pool `default` from the seed's variables: written when they change, not at every start."""

import asyncio
import random
from typing import Any

from api.records.memory import MemoryRecords
from api.records.memory_store import MemoryStore
from api.settings import StoreSettings
from api.types import AgentPool, EnvVar, Key, Source
from controller.declared import declare, declared
from controller.settings import ControllerSettings
from tests.builders import NOW

DEFAULT = Key("default", "default")


def some_settings(**overrides: Any) -> ControllerSettings:
    base: dict[str, Any] = {
        "store": StoreSettings("postgres", "postgresql://test"),
        "railway_token": "token",
        "source_repo": "xmtplabs/agent",
        "min_idle": 2,
        "max_total": 5,
    }
    return ControllerSettings(**(base | overrides))


def some_records() -> MemoryRecords:
    return MemoryRecords(MemoryStore(lambda: NOW, random.Random(1)))


async def changed(records: MemoryRecords, **spec: Any) -> AgentPool:
    """As somebody at psql would."""
    pool = await records.pool(DEFAULT)
    return await records.replace_pool(
        pool.model_copy(update={"spec": pool.spec.model_copy(update=spec)})
    )


async def test_without_a_source_nothing_is_declared() -> None:
    records = some_records()
    await declare(records, some_settings(source_repo=None))
    assert await records.pools() == []


async def test_the_variables_make_the_pool_default() -> None:
    records = some_records()
    await declare(records, some_settings())
    pool = await records.pool(DEFAULT)
    assert (pool.spec.min_idle, pool.spec.max_total) == (2, 5)
    assert pool.spec.template.source.repo is not None
    assert pool.spec.template.source.repo.name == "xmtplabs/agent"


async def test_a_change_made_since_survives_a_restart() -> None:
    records = some_records()
    await declare(records, some_settings())
    await changed(records, min_idle=4)
    await declare(records, some_settings())
    assert (await records.pool(DEFAULT)).spec.min_idle == 4


async def test_a_changed_variable_wins_and_what_no_variable_speaks_of_stays() -> None:
    records = some_records()
    await declare(records, some_settings())
    env = (EnvVar(name="X", value="1"),)
    template = (await records.pool(DEFAULT)).spec.template.model_copy(update={"env": env})
    await changed(records, min_idle=4, paused=True, template=template)
    await declare(records, some_settings(source_repo=None, source_image="agents/convos:2"))
    spec = (await records.pool(DEFAULT)).spec
    assert (spec.min_idle, spec.paused, spec.template.env) == (2, True, env)
    assert spec.template.source == Source(image="agents/convos:2")


async def test_more_idle_than_in_all_is_clamped() -> None:
    pool = declared(some_settings(min_idle=9))
    assert pool is not None
    assert pool.spec.min_idle == 5


async def test_two_processes_that_declare_at_once_agree() -> None:
    store = MemoryStore(lambda: NOW, random.Random(1))
    await asyncio.gather(*(declare(MemoryRecords(store), some_settings()) for _ in range(2)))
    (pool,) = store.tables.pools.values()
    assert pool.spec.min_idle == 2
