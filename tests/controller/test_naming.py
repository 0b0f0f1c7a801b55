"""Names carry the instance's id, fit into Railway's 32 characters, and stay plain."""

import random
import re

import pytest

from controller.naming import SERVICE_NAME_MAX, claimed_name, new_id, service_name


def test_an_id_is_eight_of_letters_and_digits_and_begins_with_a_letter() -> None:
    rng = random.Random(1)
    ids = {new_id(rng) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[a-z][a-z0-9]{7}", each) for each in ids)


def test_a_service_is_called_by_prefix_and_id() -> None:
    assert service_name("convos-agent-", "abcd1234") == "convos-agent-abcd1234"


@pytest.mark.parametrize(
    ("agent_id", "name"),
    [
        ("tokyo", "agent-tokyo-abcd1234"),
        ("Tokyo Trip", "agent-tokyo-trip-abcd1234"),
        ("tokyo-trip-planner-for-two", "agent-tokyo-trip-planne-abcd1234"),
        ("tokyo-trip-plan-planner", "agent-tokyo-trip-plan-p-abcd1234"),
        ("seventeen-chars---x", "agent-seventeen-chars-x-abcd1234"),
        ("sixteen-letters--x", "agent-sixteen-letters-x-abcd1234"),
        ("--", "agent-abcd1234"),
        ("東京", "agent-abcd1234"),
    ],
)
def test_a_claimed_service_is_called_by_what_it_is_for_and_keeps_its_id(
    agent_id: str, name: str
) -> None:
    assert claimed_name("agent-", agent_id, "abcd1234") == name


def test_no_claimed_name_is_too_long_or_ends_its_slug_in_a_dash() -> None:
    for length in range(1, 40):
        name = claimed_name("a-prefix-of-16-c", "ab-" * length, "abcd1234")
        assert len(name) <= SERVICE_NAME_MAX
        assert "--" not in name
        assert name.endswith("-abcd1234")
