"""The storms of real processes come first: they wait for minutes, and last of all they would do so alone."""

import pytest

STORMS = "tests/end_to_end/storm/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rest as it was."""
    items.sort(key=lambda item: not item.nodeid.startswith(STORMS))
