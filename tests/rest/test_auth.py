"""Keys, visits and the slowing down of those who guess, with a clock of the test's own."""

import itertools

import pytest

from api.auth import COOKIE_S, Auth, Slowdown


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def an_auth(key: str = "the-key", clock: Clock | None = None) -> Auth:
    tokens = itertools.count()
    return Auth(key, clock=clock or Clock(), new_token=lambda: f"t{next(tokens)}")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert an_auth().is_bearer(f"{scheme} the-key")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer the-ke", "Basic the-key", "the-key", "Bearer \udc80"],
)
def test_anything_but_the_key_is_refused(header: str) -> None:
    assert not an_auth().is_bearer(header)


def test_a_visit_lasts_twelve_hours() -> None:
    clock = Clock()
    auth = an_auth(clock=clock)
    visit = auth.visit()
    clock.now_s += COOKIE_S - 1
    assert auth.is_visit(visit)
    clock.now_s += 1
    assert not auth.is_visit(visit)


def test_a_visit_ends_with_the_key_it_was_opened_by() -> None:
    visit = an_auth("old").visit()
    assert an_auth("old").is_visit(visit)
    assert not an_auth("new").is_visit(visit)


def test_a_visit_that_logged_out_is_over_and_others_are_not() -> None:
    auth = an_auth()
    mine, yours = auth.visit(), auth.visit()
    auth.end_visit(mine)
    assert not auth.is_visit(mine)
    assert auth.is_visit(yours)


@pytest.mark.parametrize("cookie", ["", ".", "..", "9999999999.t.00", "\udc80.x", "x" * 10_000])
def test_a_forged_visit_opens_nothing(cookie: str) -> None:
    assert not an_auth().is_visit(cookie)


def test_a_visit_cannot_be_made_longer() -> None:
    auth = an_auth()
    ends, rest = auth.visit().split(".", 1)
    assert not auth.is_visit(f"{int(ends) + 1}.{rest}")


def test_ten_wrong_keys_are_free_and_the_next_queue_up() -> None:
    slow = Slowdown(Clock())
    assert [slow.wrong_key("a") for _ in range(10)] == [0.0] * 10
    assert [slow.wrong_key("a") for _ in range(3)] == [0.5, 1.0, 1.5]
    assert max(slow.wrong_key("a") for _ in range(200)) == 30.0


def test_another_address_is_not_slowed() -> None:
    slow = Slowdown(Clock())
    for _ in range(50):
        slow.wrong_key("a")
    assert slow.wrong_key("b") == 0.0


def test_an_address_that_stops_guessing_is_forgotten() -> None:
    clock = Clock()
    slow = Slowdown(clock)
    for _ in range(50):
        slow.wrong_key("a")
    clock.now_s += 3600
    assert slow.wrong_key("a") == 0.0


def test_the_table_of_addresses_is_bounded() -> None:
    slow = Slowdown(Clock())
    for n in range(Slowdown.ADDRESSES_MAX + 500):
        slow.wrong_key(str(n))
    assert len(slow._wrong) == Slowdown.ADDRESSES_MAX
