"""What two looks and our own writes say of an instance, and when absence may be believed."""

from dataclasses import replace

import pytest

from api.types import AgentInstance, InstancePhase
from controller.sight import Sight
from tests.builders import NOW, an_instance
from tests.controller.parts import a_look, a_made_instance, a_service, a_sight, seconds

MADE = a_made_instance()
NEW = an_instance(name="anew1234", creation_timestamp=NOW)


def test_a_service_is_found_by_its_id_once_known_whatever_it_is_called() -> None:
    renamed = a_service(id="svc-1", name="convos-agent-tokyo-i1")
    assert a_sight(renamed).service(MADE) == renamed
    assert a_sight(a_service(id="svc-2", name=MADE.spec.service_name)).service(MADE) is None


def test_before_that_it_is_found_by_name_in_any_case() -> None:
    upper = a_service(name=NEW.spec.service_name.upper())
    assert a_sight(upper).service(NEW) == upper


def test_an_id_anywhere_in_a_name_is_carried() -> None:
    assert a_look(a_service(name="Convos-X-ANEW1234")).carries("anew1234")
    assert not a_look(a_service(name="convos-x")).carries("anew1234")


def test_nothing_is_absent_before_two_looks() -> None:
    assert not Sight().absent(MADE)
    assert not Sight(latest=a_look()).absent(MADE)
    assert a_sight().absent(MADE)


def test_one_look_that_shows_it_is_enough_to_keep_it() -> None:
    shown = a_look(a_service(MADE), at=NOW - seconds(5))
    assert not replace(a_sight(), before=shown).absent(MADE)


@pytest.mark.parametrize(
    ("instance", "wrote_s_ago", "is_absent"),
    [
        (MADE, None, True),
        (MADE, 34, False),  # The older look began 29 s after it: it may not show it yet.
        (MADE, 36, True),
        (NEW, None, False),  # Written down a moment ago: a create may be on its way.
    ],
)
def test_absence_needs_two_looks_past_the_read_lag_of_our_last_write(
    instance: AgentInstance, wrote_s_ago: float | None, is_absent: bool
) -> None:
    wrote = {} if wrote_s_ago is None else {instance.metadata.name: NOW - seconds(wrote_s_ago)}
    assert a_sight(wrote=wrote).absent(instance) == is_absent


@pytest.mark.parametrize(
    ("service_id", "wrote_s_ago", "is_absent"),
    [
        ("svc-1", 6, True),  # Deleted, and gone from both looks since.
        ("svc-1", 4, False),  # The older look is older than the delete.
        (None, 6, False),  # What we sent last may have been its create.
        (None, 36, True),
    ],
)
def test_a_delete_is_believed_at_once_but_a_create_may_show_late(
    service_id: str | None, wrote_s_ago: float, is_absent: bool
) -> None:
    retiring = a_made_instance(phase=InstancePhase.RETIRING, service_id=service_id)
    wrote = {retiring.metadata.name: NOW - seconds(wrote_s_ago)}
    assert a_sight(wrote=wrote).absent(retiring) == is_absent


@pytest.mark.parametrize(
    ("service_id", "since_s_ago", "is_absent"),
    [
        (None, 34, False),  # Who led before us may have sent its create a moment before that.
        (None, 36, True),
        ("svc-1", 34, True),
    ],
)
def test_what_another_process_sent_before_we_looked_may_show_late(
    service_id: str | None, since_s_ago: float, is_absent: bool
) -> None:
    retiring = a_made_instance(phase=InstancePhase.RETIRING, service_id=service_id)
    assert a_sight(since=NOW - seconds(since_s_ago)).absent(retiring) == is_absent


def test_a_retiring_instance_that_was_just_made_is_not_absent_yet() -> None:
    retiring = a_made_instance(phase=InstancePhase.RETIRING, creation_timestamp=NOW - seconds(20))
    assert not a_sight().absent(retiring)


@pytest.mark.parametrize(("doubt_s_ago", "doubtful"), [(None, False), (9, True), (11, False)])
def test_after_an_unanswered_write_nothing_is_sent_before_a_look_could_show_it(
    doubt_s_ago: float | None, doubtful: bool
) -> None:
    doubts = {} if doubt_s_ago is None else {NEW.metadata.name: NOW - seconds(doubt_s_ago)}
    assert a_sight(doubts=doubts).doubtful(NEW) == doubtful
    assert Sight(doubts=doubts).doubtful(NEW) == (doubt_s_ago is not None)
