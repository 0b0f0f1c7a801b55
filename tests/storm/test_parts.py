"""The storm's own machinery: what is muted, how a history is shrunk, where a process was killed."""

from pathlib import Path

import pytest

from api.records.memory import Shape
from tests.history.events import Happened
from tests.history.facts import Facts
from tests.history.known import Known
from tests.history.laws import Broken, hold
from tests.storm import awaits
from tests.storm.awaits import Site, coverage
from tests.storm.fate import Fate, Mute
from tests.storm.shrink import Shrinker, replay
from tests.storm.simulation import Simulation, StormBroke, simulate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["", "3", "3,7-9", "1-2,40-", "5-"])
def test_what_is_muted_reads_as_it_is_written(text: str) -> None:
    assert str(Mute.parse(text)) == text


@pytest.mark.parametrize("text", ["x", "3-x", "1,,y"])
def test_what_cannot_be_muted_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Mute.parse(text)


def test_a_muted_misfortune_keeps_its_number() -> None:
    fate = Fate(Mute.parse("2,4-"))
    assert [fate.befalls(what) for what in "abcde"] == [True, False, True, False, False]
    assert fate.happened == [(1, "a"), (3, "c")]


def law_0_nobody_dies(facts: Facts, event: Known) -> bool | None:
    """No process is ever killed."""
    died = isinstance(event, Happened) and event.what == "dies"
    return hold(law_0_nobody_dies, not died, "somebody died")


LAW_0 = (law_0_nobody_dies,)


def broken(seed: int) -> StormBroke | None:
    try:
        Simulation(seed, Shape.ONE, laws=LAW_0).run()
    except StormBroke as broke:
        return broke
    return None


def test_a_broken_law_is_shrunk_to_what_breaks_it() -> None:
    first = next(filter(None, map(broken, range(100))))
    assert isinstance(first.broken, Broken)
    shrinker = Shrinker(first, LAW_0)
    best = shrinker.run()
    assert len(shrinker.left) < 10
    assert f"--mute {shrinker.mute}" in replay(first.seed, best.shape, shrinker.mute)
    with pytest.raises(StormBroke):
        Simulation(first.seed, best.shape, shrinker.mute, LAW_0).run()


def test_where_a_process_is_killed_is_a_line_that_awaits() -> None:
    found = sum((simulate(seed).crashed_at for seed in range(6)), simulate(6).crashed_at)
    lines = {file: (ROOT / file).read_text().splitlines() for file, _ in found}
    words = {lines[site.file][site.line - 1] for site in found}
    assert words
    assert [each for each in words if "await" not in each and "async" not in each] == []


def test_awaits_without_a_crash_are_named() -> None:
    seen = coverage({})
    assert len(seen.missed) == len(seen.sites) > 200
    one = seen.missed[0]
    assert one not in coverage({one: 1}).missed
    assert f"{one.file}:{one.line}" in seen.told(every=True)


def test_whatever_awaits_is_counted_or_has_a_reason_not_to_be() -> None:
    files = awaits.files_that_await()
    left = [f for f in files if f not in awaits.FILES and not f.startswith(tuple(awaits.ELSEWHERE))]
    assert left == []
    assert [f for f in awaits.FILES if f not in files] == []
    assert [p for p in awaits.ELSEWHERE if not any(f.startswith(p) for f in files)] == []


def test_a_reason_is_given_only_for_awaits_that_there_are() -> None:
    functions = {(site.file, function) for site, function in coverage({}).sites.items()}
    assert [place for place in awaits.REASONS if place not in functions] == []
    assert all(Site(file, line) for file, line in coverage({}).sites)
