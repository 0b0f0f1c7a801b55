"""`python -m tests.mutants`: plant each fault and see that the storm notices; exit 1 where it does not."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tests.mutants.planted import ROOT, DoesNotApply, Mutant, planted
from tests.mutants.trial import StormFailed, Verdict, put_to_the_storm
from tests.progress import Bar

REPORT = ROOT / "build" / "mutants.json"
SCHEMA = 1
SEEDS = 5000


def main() -> int:
    asked = arguments().parse_args()
    mutants = chosen(asked.only)
    if asked.list:
        print("\n".join(f"{mutant.name:42} {mutant.rule}" for mutant in mutants))
        return 0
    of, verdicts = commit(), list[Verdict]()
    try:
        for verdict in trials(mutants, asked.seeds, asked.jobs):
            verdicts.append(verdict)  # And written down as it goes: it takes long.
            write(report(verdicts, of, asked.seeds, len(mutants)), REPORT)
    except DoesNotApply as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(verdicts)))
    return 0 if all(verdict.noticed for verdict in verdicts) else 1


def arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    options.add_argument("--seeds", type=int, default=SEEDS, help=f"at most, default {SEEDS}")
    options.add_argument("--only", nargs="+", metavar="NAME", help="these alone")
    options.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: all cores")
    options.add_argument("--list", action="store_true", help="their names and the rules they break")
    return options


def chosen(names: Sequence[str] | None) -> list[Mutant]:
    """All, or those of these names."""
    mutants = {mutant.name: mutant for mutant in planted()}
    if unknown := sorted(set(names or ()) - mutants.keys()):
        sys.exit(f"there is no planted fault named {', '.join(unknown)}; --list shows all")
    return [mutant for name, mutant in mutants.items() if not names or name in names]


def trials(mutants: Sequence[Mutant], seeds: int, jobs: int) -> Iterator[Verdict]:
    """In the order in which they end. Each is a process of its own: threads only wait for it."""
    bar = Bar("mutants", len(mutants))
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(put_to_the_storm, mutant, seeds): mutant for mutant in mutants}
        try:
            for n, done in enumerate(as_completed(waiting), 1):
                try:
                    verdict = done.result()
                except StormFailed as error:  # That says nothing of the fault; the others go on.
                    bar.say(str(error))
                    verdict = Verdict(waiting[done], None, "the storm failed", 0.0)
                bar.say(line(verdict))
                bar.at(n)
                yield verdict
        finally:
            bar.end()
            pool.shutdown(cancel_futures=True)


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A line each: name, seed, law, seconds."""
    yield f"{'name':42} {'seed':>7}  {'noticed by':36} {'seconds':>8}"
    yield from map(line, by_name(verdicts))
    noticed = sum(verdict.noticed for verdict in verdicts)
    yield f"{noticed} of {len(verdicts)} were noticed"


def line(verdict: Verdict) -> str:
    seed = "-" if verdict.seed is None else str(verdict.seed)
    law = verdict.law or "nobody"
    return f"{verdict.mutant.name:42} {seed:>7}  {law:36} {verdict.seconds:8.1f}"


def by_name(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: verdict.mutant.name)


def report(verdicts: Sequence[Verdict], of: str, seeds: int, planted: int) -> dict[str, Any]:
    """`rows`: those put to the storm so far, of `planted`. `of`: the commit it began with."""
    return {
        "schema": SCHEMA,
        "commit": of,
        "seeds": seeds,
        "rows": [row(verdict) for verdict in by_name(verdicts)],
        "noticed": sum(verdict.noticed for verdict in verdicts),
        "planted": planted,
    }


def row(verdict: Verdict) -> dict[str, Any]:
    mutant = verdict.mutant
    return {
        "name": mutant.name,
        "rule": mutant.rule,
        "expected": mutant.law,
        "noticed": verdict.noticed,
        "seed": verdict.seed,
        "seeds_needed": verdict.seeds_needed,
        "law": verdict.law,
        "seconds": verdict.seconds,
    }


def commit() -> str:
    """Of the checkout; `-dirty` where it holds more than was committed. Empty without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def write(said: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
