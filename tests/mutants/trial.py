"""One planted fault put to the storm, in a copy of the code: at which seed it is noticed, by which law."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants.planted import Mutant, copy_code, plant

STORM = ("-m", "tests.storm", "--jobs", "1", "--no-shrink")
NOTICED = re.compile(r"^seed (\d+), shape \w+: (\w+)(?: (\w+))?", re.MULTILINE)
# What a storm says that ran to its end, and in which a law was put to the test too seldom.
SELDOM = "too seldom to prove anything"
A_SEED_S = 2.0  # At most, of many; where time does not go on a storm would never end.
LEAST_S = 300.0


class StormFailed(Exception):
    """The storm did not run: that says nothing of the fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`seed` and `law`: None where nobody noticed. An error that is no law's is told by its kind."""

    mutant: Mutant
    seed: int | None
    law: str | None
    seconds: float

    @property
    def noticed(self) -> bool:
        return self.seed is not None

    @property
    def seeds_needed(self) -> int | None:
        return None if self.seed is None else self.seed - self.mutant.first + 1


def put_to_the_storm(mutant: Mutant, seeds: int) -> Verdict:
    """Raises DoesNotApply, StormFailed."""
    began = time.monotonic()
    with TemporaryDirectory(prefix=f"{mutant.name}-") as folder:
        copy = Path(folder).resolve()
        copy_code(copy)
        plant(mutant, copy)
        _check_that_it_wins(mutant, copy)
        seed, law = _storm(mutant, copy, seeds)
    return Verdict(mutant, seed, law, round(time.monotonic() - began, 1))


def _storm(mutant: Mutant, copy: Path, seeds: int) -> tuple[int | None, str | None]:
    asked = (*STORM, "--seed", str(mutant.first), "--count", str(seeds))
    try:
        done = _python(copy, *asked, timeout_s=LEAST_S + seeds * A_SEED_S)
    except subprocess.TimeoutExpired:
        return None, "never ends"
    if (said := noticed(done.stderr)) is not None:
        return said
    if done.returncode != 0 and SELDOM not in done.stderr:
        raise StormFailed(f"{mutant.name}: {done.stderr[-2000:]}")
    return None, None


def noticed(said: str) -> tuple[int, str] | None:
    """Seed and law of a storm's `seed 12, shape ONE: Broken law_1_...: ...`; else the error's kind."""
    found = NOTICED.search(said)
    if found is None:
        return None
    seed, kind, law = found.groups()
    return int(seed), law if kind == "Broken" and law else kind


def _check_that_it_wins(mutant: Mutant, copy: Path) -> None:
    """The copy's packages, and not those of this checkout that are installed."""
    done = _python(copy, "-c", "import api, controller; print(api.__file__, controller.__file__)")
    if done.stdout.count(f"{copy}/") != 2:
        raise StormFailed(f"{mutant.name}: {done.stdout}{done.stderr}")


def _python(copy: Path, *asked: str, timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(copy)}
    return subprocess.run(
        [sys.executable, *asked],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
