"""`python -m tests.storm --seed N`: replay a seed, or run many, and say what happened."""

import argparse
import time
from collections import Counter

from api.records.memory import Shape
from tests.storm.simulation import Simulation, StormBroke


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    options.add_argument("--seed", type=int, default=0, help="the first seed")
    options.add_argument("--count", type=int, default=1, help="how many seeds from there")
    options.add_argument("--shape", choices=[s.name for s in Shape], help="default: both in turn")
    options.add_argument(
        "--story", nargs="*", help="tell the end of the history, about these names"
    )
    options.add_argument("--go-on", action="store_true", help="past a seed that breaks a law")
    asked = options.parse_args()
    began, met, counts = time.perf_counter(), Counter[str](), Counter[str]()
    for seed in range(asked.seed, asked.seed + asked.count):
        shape = Shape[asked.shape] if asked.shape else list(Shape)[seed % 2]
        simulation = Simulation(seed, shape)
        try:
            result = simulation.run()
        except StormBroke as broke:
            if not asked.go_on:
                raise SystemExit(str(broke)) from None
            print(seed, shape.name, str(broke.broken).partition("\n")[0])
            continue
        met += result.met
        counts += result.counts + Counter(crashes=result.crashes, stops=result.stops)
        if asked.count == 1:
            print(result.digest, f"{result.steps} steps, {result.simulated_s:.0f} s simulated")
        if asked.story is not None:
            print(simulation.stage.history.story(asked.story))
    print(f"{asked.count} seeds in {time.perf_counter() - began:.1f} s; {dict(counts)}")
    for law, times in sorted(met.items()):
        print(f"{times:8} {law}")


if __name__ == "__main__":
    main()
