"""Who may send, who waits, and how often to look, over the hour of each of Railway's plans."""

from dataclasses import dataclass, field
from math import inf

import pytest

from controller.railway import Allowance
from controller.railway.budget import Budget, Lane

PLANS = [("Free", 100), ("Hobby", 1_000), ("Pro", 10_000)]
HOUR_S = 3600.0
LIFECYCLE = 6  # Requests of one instance's life: create 3, rename, delete, one spare.


def a_budget(limit: int = 1000, left: int | None = None, reset_in_s: float = HOUR_S) -> Budget:
    """At second 0, after one answer."""
    budget = Budget()
    budget.told(Allowance(limit, limit if left is None else left, reset_in_s), 0.0)
    return budget


def who_may(budget: Budget, now: float = 0.0) -> list[Lane]:
    return [lane for lane in Lane if budget.wait_s(lane, now) == 0]


# ---------------------------------------------------------------- lanes


def test_nothing_is_short_before_a_limit_was_seen() -> None:
    budget = Budget()
    assert who_may(budget) == list(Lane)
    assert budget.says(0.0) is None
    assert budget.look_every_s(True, 1, 30.0, 0.0) == 5.0
    assert budget.look_every_s(False, 1, 30.0, 0.0) == 30.0


@pytest.mark.parametrize(
    ("left", "lanes"),
    [
        (1000, list(Lane)),
        (401, list(Lane)),
        (400, [Lane.LOOK, Lane.URGENT, Lane.CREATE, Lane.RENAME]),
        (300, [Lane.LOOK, Lane.URGENT, Lane.CREATE]),
        (200, [Lane.LOOK, Lane.URGENT]),
        (101, [Lane.LOOK, Lane.URGENT]),
        (100, [Lane.LOOK]),
        (1, [Lane.LOOK]),
        (0, []),
    ],
)
def test_each_lane_leaves_a_tenth_for_every_lane_above_it(left: int, lanes: list[Lane]) -> None:
    assert who_may(a_budget(left=left)) == lanes


def test_who_must_wait_waits_for_the_reset_and_then_has_a_whole_hour() -> None:
    budget = a_budget(left=0, reset_in_s=840.0)
    assert budget.wait_s(Lane.CREATE, 0.0) == 840.0
    assert budget.wait_s(Lane.CREATE, 800.0) == 40.0
    assert who_may(budget, 840.0) == list(Lane)


def test_what_is_being_sent_counts_before_the_answer_comes() -> None:
    budget = a_budget(left=202)
    assert budget.wait_s(Lane.CREATE, 0.0) == 0
    budget.spent(2, 0.0)
    assert budget.wait_s(Lane.CREATE, 0.0) == HOUR_S


def test_an_answer_that_says_nothing_changes_nothing() -> None:
    budget = a_budget(left=0, reset_in_s=840.0)
    budget.told(Allowance(), 10.0)
    budget.told(Allowance(limit=1000, reset_in_s=1.0), 10.0)
    assert budget.wait_s(Lane.LOOK, 10.0) == 830.0


def test_without_a_reset_an_hour_begins_with_the_first_answer() -> None:
    budget = Budget()
    budget.told(Allowance(limit=100, remaining=1), 50.0)
    budget.told(Allowance(limit=100, remaining=0), 60.0)
    assert budget.wait_s(Lane.LOOK, 60.0) == HOUR_S - 10.0


def test_a_limit_without_what_remains_leaves_everything_open() -> None:
    budget = Budget()
    budget.told(Allowance(limit=1000), 0.0)
    assert who_may(budget) == list(Lane)
    assert budget.look_every_s(True, 1, 30.0, 0.0) == 5.0


# ---------------------------------------------------------------- refusals and the second


def test_a_refusal_closes_every_lane_until_then() -> None:
    budget = a_budget()
    budget.closed_until(42.0)
    budget.closed_until(7.0)  # An answer that was under way: the later moment stays.
    assert [budget.wait_s(lane, 2.0) for lane in Lane] == [40.0] * len(Lane)
    assert who_may(budget, 42.0) == list(Lane)


@pytest.mark.parametrize(("limit", "at_most", "every_s"), [(None, 10, 1 / 8), (10_000, 50, 1 / 40)])
def test_no_second_sees_more_requests_than_the_plan_allows(
    limit: int | None, at_most: int, every_s: float
) -> None:
    budget, now = Budget() if limit is None else a_budget(limit), 100.0
    sent: list[float] = []
    while len(sent) < 100:
        if (wait_s := budget.wait_s(Lane.URGENT, now)) > 0:
            now += wait_s + 1e-9
            continue
        budget.spent(1, now)
        sent.append(now)
    assert max(sum(start <= at < start + 1 for at in sent) for start in sent) <= at_most
    assert sent[-1] - sent[0] == pytest.approx(98 * every_s, rel=0.01)


# ---------------------------------------------------------------- looking


@pytest.mark.parametrize(
    ("limit", "requests", "moving_s", "resting_s"),
    [
        (100, 1, 65.5, 65.5),  # 5 s would be 720 of the 100.
        (1_000, 1, 6.5, 30.0),
        (1_000, 2, 13.1, 30.0),  # Between 500 and 1,000 instances.
        (1_000, 4, 26.2, 30.0),
        (10_000, 1, 5.0, 30.0),
        (10_000, 4, 5.0, 30.0),
    ],
)
def test_a_full_hour_is_looked_at_as_often_as_the_plan_allows(
    limit: int, requests: int, moving_s: float, resting_s: float
) -> None:
    budget = a_budget(limit)
    assert budget.look_every_s(True, requests, 30.0, 0.0) == pytest.approx(moving_s, abs=0.05)
    assert budget.look_every_s(False, requests, 30.0, 0.0) == pytest.approx(resting_s, abs=0.05)


def test_looking_slows_down_as_the_budget_is_spent_and_stops_with_it() -> None:
    pace = [a_budget(left=left).look_every_s(True, 1, 30.0, 0.0) for left in (1000, 300, 100, 9, 0)]
    assert pace == sorted(pace)
    assert pace[-3:] == [36.0, 400.0, HOUR_S]


def test_a_tick_below_five_seconds_is_the_users_wish() -> None:
    assert Budget().look_every_s(True, 1, 0.5, 0.0) == 0.5


@dataclass
class Hour:
    """An hour on a plan: something always moves, and creates are wanted all the time."""

    limit: int
    budget: Budget = field(default_factory=Budget)
    looks: list[float] = field(default_factory=list)
    creates: int = 0

    def run(self) -> None:
        for now in (float(second) for second in range(3600)):
            last = self.looks[-1] if self.looks else -inf
            every_s = self.budget.look_every_s(True, 1, 30.0, now)
            if now - last >= every_s and self.sent(Lane.LOOK, now):
                self.looks.append(now)
            elif self.sent(Lane.CREATE, now):
                self.creates += 1

    def sent(self, lane: Lane, now: float) -> bool:
        if self.budget.wait_s(lane, now) > 0:
            return False
        self.budget.spent(1, now)
        left = self.limit - len(self.looks) - self.creates - 1
        assert left >= 0, "more was sent than the plan allows"
        self.budget.told(Allowance(self.limit, left, HOUR_S - now), now)
        return True


@pytest.mark.parametrize(("plan", "limit"), PLANS)
def test_an_hour_of_wishes_stays_in_the_plan_and_is_never_blind(plan: str, limit: int) -> None:
    hour = Hour(limit)
    hour.run()
    gaps = [b - a for a, b in zip(hour.looks, [*hour.looks[1:], HOUR_S], strict=True)]
    assert max(gaps) <= HOUR_S / (limit / 10) * 2
    assert hour.creates + len(hour.looks) <= limit
    assert hour.creates >= min(limit * 0.7, 2800)


@pytest.mark.parametrize(
    ("limit", "lifecycles"), [(100, 3), (1_000, 13), (10_000, 1213)]
)  # What the facts' table leaves at the fastest pace that each plan bears.
def test_looking_all_hour_leaves_at_least_the_lifecycles_of_the_facts_table(
    limit: int, lifecycles: int
) -> None:
    looks = HOUR_S / a_budget(limit).look_every_s(True, 1, 30.0, 0.0)
    assert (limit * 0.8 - looks) / LIFECYCLE >= lifecycles


# ---------------------------------------------------------------- what the status says


def test_the_status_says_when_creates_are_held_back() -> None:
    assert a_budget(left=201).says(0.0) is None
    assert a_budget(left=12, reset_in_s=840.0).says(0.0) == (
        "Railway's hourly budget of 1000 is nearly spent: it resets in 14m"
    )


def test_the_status_says_that_railway_asked_us_to_wait() -> None:
    budget = a_budget()
    budget.closed_until(90.0)
    assert budget.says(0.0) == "Railway asked us to wait; 2m left"
    assert budget.says(90.0) is None
