"""The fixture `store`: each test of the suite runs on every store."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from tests.records.harness import STORES, Store

Opener = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=STORES)
def backing(request: pytest.FixtureRequest) -> Opener:
    """Not a coroutine, so that what a store needs may come from fixtures that are."""
    chosen = STORES[request.param]
    return partial(chosen.open, *(request.getfixturevalue(name) for name in chosen.fixtures))


@pytest.fixture
async def store(backing: Opener) -> AsyncIterator[Store]:
    """An empty store of each kind in turn."""
    async with backing() as store:
        yield store
