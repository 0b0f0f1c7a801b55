"""Systems to test: each with a state folder that the unprivileged Postgres can reach."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.system import System


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # As root Postgres runs as somebody else.
        yield Path(folder) / "state"


@pytest.fixture
async def system(state: Path) -> AsyncIterator[System]:
    async with System(state) as system:
        yield system
