"""The store's time between two looks."""

from controller.storetime import StoreTime
from tests.builders import NOW
from tests.controller.parts import seconds


def test_time_goes_on_from_the_last_look_by_our_own_clock() -> None:
    mono = 100.0
    time = StoreTime(lambda: mono)
    assert time.saw(NOW) == NOW
    mono = 107.5
    assert time.now() == NOW + seconds(7.5)


def test_the_next_look_corrects_a_clock_that_drifts() -> None:
    mono = 100.0
    time = StoreTime(lambda: mono)
    time.saw(NOW)
    mono = 200.0
    time.saw(NOW + seconds(60))
    assert time.now() == NOW + seconds(60)
