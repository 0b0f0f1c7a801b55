"""300 seeds of storm, then calm; each broken law tells its seed, its story, and how to see it again."""

from collections import Counter

import pytest

from api.records.memory import Shape
from tests.storm.laws import LAWS
from tests.storm.simulation import simulate

SEEDS = 300
CHUNK = 30  # Seeds of one test, so that several workers share them.
MET_AT_LEAST = 20  # Times that a chunk puts each law to the test, or it would prove nothing.


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_the_laws_hold_in_every_storm(first: int) -> None:
    met, weather = Counter[str](), Counter[str]()
    for seed in range(first, first + CHUNK):
        result = simulate(seed, list(Shape)[seed % 2])
        met += result.met
        weather += result.counts + Counter(crashes=result.crashes, stops=result.stops)
    assert {
        law.__name__: met[law.__name__] for law in LAWS if met[law.__name__] < MET_AT_LEAST
    } == {}
    assert min(weather[name] for name in ("crashes", "stops", "binds", "provisions")) > CHUNK


@pytest.mark.parametrize("shape", Shape)
def test_the_same_seed_gives_the_same_history(shape: Shape) -> None:
    first, again, other = (simulate(seed, shape).digest for seed in (7, 7, 8))
    assert first == again
    assert first != other
