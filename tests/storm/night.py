"""Many seeds on every core: what they came to, and the first that broke a law."""

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from api.records.memory import Shape
from tests.storm.awaits import Site
from tests.storm.simulation import Result, StormBroke, simulate

CHUNK = 20  # Seeds that a worker takes at a time.
SCHEMA = 1


@dataclass(slots=True)
class Sum:
    """What seeds came to, added up. `digests`: by seed."""

    seeds: int = 0
    steps: int = 0
    met: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    crashed_at: Counter[Site] = field(default_factory=Counter)
    digests: dict[int, str] = field(default_factory=dict)
    broken: list[tuple[int, str, str]] = field(default_factory=list)  # Seed, shape, what.

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.steps += result.steps
        self.met += result.met
        self.counts += result.counts
        self.crashed_at += result.crashed_at
        self.digests[result.seed] = result.digest

    def merge(self, other: "Sum") -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.met += other.met
        self.counts += other.counts
        self.crashed_at += other.crashed_at
        self.digests |= other.digests
        self.broken += other.broken

    @property
    def digest(self) -> str:
        """Of all histories, in the order of their seeds."""
        told = "".join(digest for _, digest in sorted(self.digests.items()))
        return sha256(told.encode()).hexdigest()


def run(
    seeds: Sequence[int],
    shape: Shape | None,
    jobs: int,
    told: Callable[[Sum], None],
    *,
    go_on: bool = False,
) -> Sum:
    """`told(sum)` after each chunk. Stops at the first broken law, unless it is to go on."""
    whole = Sum()
    for part in _parts(_chunks(seeds), shape, jobs, go_on):
        whole.merge(part)
        told(whole)
        if whole.broken and not go_on:
            break
    whole.broken.sort()
    return whole


def _parts(
    chunks: list[Sequence[int]], shape: Shape | None, jobs: int, go_on: bool
) -> Iterator[Sum]:
    if jobs == 1 or len(chunks) == 1:
        yield from (_chunk(chunk, shape, go_on) for chunk in chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_chunk, chunk, shape, go_on) for chunk in chunks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunks(seeds: Sequence[int]) -> list[Sequence[int]]:
    return [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]


def _chunk(seeds: Sequence[int], shape: Shape | None, go_on: bool) -> Sum:
    part = Sum()
    for seed in seeds:
        try:
            with _swept_once():
                part.add(simulate(seed, shape))
        except StormBroke as broke:
            part.seeds += 1
            part.broken.append((seed, broke.shape.name, str(broke)))
            if not go_on:
                break
    return part


@contextmanager
def _swept_once() -> Iterator[None]:
    """What a seed leaves behind is collected once, when it is over, and nothing older is looked at."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()


def report(whole: Sum, began: float, awaits: dict[str, Any], file: Path) -> None:
    """Write `build/storm.json` (DESIGN.md section 10), with laws and awaits beside the common fields."""
    said = {
        "schema": SCHEMA,
        "seeds": whole.seeds,
        "claims": whole.counts["claims"],
        "binds": whole.counts["binds"],
        "provisions": whole.counts["provisions"],
        "crashes": whole.counts["crashes"],
        "steps": whole.steps,
        "violations": len(whole.broken),
        "digest": whole.digest,
        "seconds": round(time.time() - began, 1),
        "answers": whole.counts["answers"],
        "stops": whole.counts["stops"],
        "crashesBetweenIntentAndEffect": whole.counts["crashes_between"],
        "laws": dict(sorted(whole.met.items())),
        "awaits": awaits,
        "broken": [{"seed": s, "shape": shape, "what": what} for s, shape, what in whole.broken],
    }
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(said, indent=1) + "\n")
    fresh.replace(file)
