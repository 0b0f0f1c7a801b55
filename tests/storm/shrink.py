"""From a storm that broke a law to the fewest misfortunes and visits that still break it."""

from collections.abc import Sequence

from api.records.memory import Shape
from tests.history.checker import LAWS
from tests.history.laws import Law
from tests.storm.fate import NEVER, Mute
from tests.storm.simulation import Simulation, StormBroke

TRIES = 300  # Runs of a fraction of a second each.


class Shrinker:
    """Mutes all it can, from the end backwards, while the same law breaks."""

    def __init__(self, first: StormBroke, laws: Sequence[Law] = LAWS) -> None:
        self._laws = laws
        self._seed, self._shape, self._law = first.seed, first.shape, first.law
        self._tries = 0
        self.best, self.mute = first, Mute()
        self.left: list[tuple[int, str]] = []  # Misfortunes and visits of the best.

    def run(self) -> StormBroke:
        """The shortest that was found; `mute` replays it."""
        self._broken(Mute())
        self._cut_the_end()
        size = len(self.left) // 2
        while size > 1 and self._tries < TRIES:
            self._mute_chunks(size)
            size //= 2
        before = len(self.left) + 1
        while len(self.left) < before and self._tries < TRIES:  # What is left shifts: once more.
            before = len(self.left)
            self._mute_chunks(1)
        return self.best

    def _cut_the_end(self) -> None:
        low, high = 1, max((n for n, _ in self.left), default=1) + 1
        while low < high and self._tries < TRIES:
            middle = (low + high) // 2
            if self._broken(Mute(self.mute.numbers, middle)):
                high = middle
            else:
                low = middle + 1

    def _mute_chunks(self, size: int) -> None:
        end = len(self.left)
        while end > 0 and self._tries < TRIES:
            chunk = [number for number, _ in self.left[max(end - size, 0) : end]]
            self._broken(Mute(self.mute.numbers | frozenset(chunk), self.mute.beyond))
            end = min(end - size, len(self.left))

    def _broken(self, mute: Mute) -> bool:
        """Whether the same law breaks like this; then it is the best so far."""
        self._tries += 1
        simulation = Simulation(self._seed, self._shape, mute, self._laws)
        try:
            simulation.run()
        except StormBroke as broke:
            if broke.law != self._law:
                return False
            self.best, self.mute, self.left = broke, mute, simulation.fate.happened
            return True
        return False


def replay(seed: int, shape: Shape, mute: Mute) -> str:
    """The command that shows this very history again."""
    muted = f" --mute {mute}" if mute.numbers or mute.beyond < NEVER else ""
    return f"python -m tests.storm --seed {seed} --shape {shape.name}{muted}"
