"""`python -m tests.storm`: run seeds of storm, or replay one; exit 1 where a law is broken."""

import argparse
import os
import sys
import time
from pathlib import Path

from api.records.memory import Shape
from tests.history import events
from tests.history.checker import LAWS
from tests.history.story import story
from tests.progress import Bar
from tests.storm import night
from tests.storm.awaits import coverage
from tests.storm.fate import Mute
from tests.storm.shrink import Shrinker, replay
from tests.storm.simulation import Simulation, StormBroke, shape_of

REPORT = Path("build/storm.json")
MET_PER_SEED = 1_000 / 20_000  # Each law must be put to the test so often, or it proves nothing.
REPORT_EACH = 10 * night.CHUNK
LEFT_TOLD = 40
MET_FROM_SEEDS = 300  # Fewer seeds are too few to say.


def main() -> int:
    asked = arguments().parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # The order of sets is a part of the history.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.storm", *sys.argv[1:]])
    shape = Shape[asked.shape] if asked.shape else None
    if asked.seed is not None and asked.count is None:
        return one(asked, shape)
    return many(asked, shape)


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    options.add_argument("--seed", type=int, help="the first seed; without --count this one alone")
    options.add_argument("--count", type=int, help="how many seeds (default 300)")
    options.add_argument("--shape", choices=[s.name for s in Shape], help="default: both in turn")
    options.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: all cores")
    options.add_argument("--go-on", action="store_true", help="past seeds that break a law")
    options.add_argument("--awaits", action="store_true", help="list awaits without a crash")
    options.add_argument(
        "--mute", type=Mute.parse, default=Mute(), help="of one seed: what is not to happen"
    )
    options.add_argument("--story", nargs="*", help="of one seed: tell it, about these names")
    options.add_argument("--history", type=Path, help="of one seed: write its lines to this file")
    options.add_argument(
        "--no-shrink", action="store_true", help="the first history that breaks will do"
    )
    return options


# ---------------------------------------------------------------- one seed


def one(asked: argparse.Namespace, shape: Shape | None) -> int:
    """Replay it, and say what happened."""
    simulation = Simulation(asked.seed, shape or shape_of(asked.seed), asked.mute)
    try:
        result = simulation.run()
    except StormBroke as broke:
        print(f"{broke}\n\n{broke.story}", file=sys.stderr)
        return 1
    finally:
        lines = simulation.stage.witness.lines
        if asked.history is not None:
            with asked.history.open("w") as file:
                events.write(
                    (line for line in lines if not isinstance(line.event, events.Said)), file
                )
    print(f"{result.digest}  {result.steps} steps, {result.simulated_s:.0f} s simulated")
    print(", ".join(f"{count} {name}" for name, count in sorted(result.counts.items())))
    if asked.story is not None:
        print(story(lines, asked.story))
    return 0


# ---------------------------------------------------------------- many


def many(asked: argparse.Namespace, shape: Shape | None) -> int:
    began, first = time.time(), asked.seed or 0
    seeds = range(first, first + (asked.count or 300))
    bar = Bar("storm", len(seeds))

    def told(whole: night.Sum) -> None:
        bar.at(whole.seeds, f"{whole.counts['claims']:,} claims")
        if whole.seeds % REPORT_EACH == 0:  # A night that is cut off has not been for nothing.
            night.report(whole, began, coverage(whole.crashed_at).wire(), REPORT)

    whole = night.run(seeds, shape, asked.jobs, told, go_on=asked.go_on)
    bar.end()
    awaits = coverage(whole.crashed_at)
    night.report(whole, began, awaits.wire(), REPORT)
    for seed, name, what in whole.broken if asked.go_on else ():
        print(f"seed {seed}, shape {name}: {what.partition(chr(10))[0]}")
    if whole.broken and not asked.go_on:
        tell_broken(*whole.broken[0][:2], shrink=not asked.no_shrink)
    print(f"{whole.seeds} seeds in {time.time() - began:.1f} s, digest {whole.digest[:16]}")
    print(", ".join(f"{count:,} {name}" for name, count in sorted(whole.counts.items())))
    for law in LAWS:
        print(f"{whole.met[law.__name__]:10,} {law.__name__}")
    print(awaits.told(every=asked.awaits))
    return 1 if whole.broken or untested(whole) else 0


def untested(whole: night.Sum) -> bool:
    """Say which laws were put to the test too seldom."""
    if whole.seeds < MET_FROM_SEEDS:
        return False
    few = [law.__name__ for law in LAWS if whole.met[law.__name__] < MET_PER_SEED * whole.seeds]
    for name in few:
        print(f"{name} was put to the test too seldom to prove anything", file=sys.stderr)
    return bool(few)


def tell_broken(seed: int, shape_name: str, *, shrink: bool) -> None:
    """The seed's first words, its shortest history, and how to see it again."""
    shape = Shape[shape_name]
    try:
        Simulation(seed, shape).run()
    except StormBroke as broke:
        first = broke
    else:
        raise AssertionError(f"seed {seed} broke in the night and does not break now")
    print(first, file=sys.stderr, flush=True)
    shrinker = Shrinker(first)
    best = shrinker.run() if shrink else first
    left = ", ".join(what for _, what in shrinker.left[-LEFT_TOLD:])
    print(f"\n{best.broken}\n\n{best.story}\n", file=sys.stderr)
    if shrink:
        print(f"left of its misfortunes and visits: {left}", file=sys.stderr)
    print(f"again: {replay(seed, shape, shrinker.mute)}\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
