"""Each broken store fails the suite: a suite that nothing can fail would prove nothing."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType

import pytest

from api.records import RecordsError
from tests.records import (
    test_bells,
    test_bind,
    test_instances,
    test_leases,
    test_looks,
    test_settle,
    test_users,
)
from tests.records.broken import BROKEN
from tests.records.broken_in_two import IN_TWO
from tests.records.harness import MemoryHarness

Test = Callable[[MemoryHarness], Awaitable[None]]
SUITE = (test_users, test_looks, test_settle, test_instances, test_leases, test_bells, test_bind)
EVERY = BROKEN | IN_TWO
HANGS_S = 2.0  # A test of the suite takes milliseconds in memory.
FAILED = (
    AssertionError,
    RecordsError,
    LookupError,
    ValueError,
    TimeoutError,
    pytest.fail.Exception,
)


def collected(module: ModuleType) -> Iterator[Test]:
    """The tests of a module, as pytest would collect them."""
    for name, test in vars(module).items():
        if name.startswith("test_") and inspect.iscoroutinefunction(test):
            assert list(inspect.signature(test).parameters) == ["store"], name
            yield test


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
async def test_the_suite_notices(make: Callable[[], MemoryHarness]) -> None:
    for module in SUITE:
        for test in collected(module):
            try:
                async with asyncio.timeout(HANGS_S):
                    await test(make())
            except FAILED:
                return
    pytest.fail("every test of the suite passed")
