"""`python -m tests.end_to_end.storm --claims 1000 --runs 3`: storms over real processes, each judged."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.storm.storm import Plan, Storm, verdict


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.end_to_end.storm", description=__doc__)
    options.add_argument("--claims", type=int, default=Plan.claims, help="(default: %(default)s)")
    options.add_argument(
        "--seed", type=int, default=1, help="what is tried; no run repeats another"
    )
    options.add_argument("--runs", type=int, default=1, help="how many, with the seeds from there")
    options.add_argument("--warm", type=int, default=Plan.warm, help="idle before it begins")
    options.add_argument("--every", type=float, default=Plan.every_s, help="seconds, on average")
    options.add_argument(
        "--misfortunes", type=int, default=Plan.misfortunes, help="kills, stops, cuts"
    )
    asked = options.parse_args()
    broken = 0
    for seed in range(asked.seed, asked.seed + asked.runs):
        plan = Plan(asked.claims, seed, asked.warm, asked.every, asked.misfortunes)
        broken += not asyncio.run(_one(plan))
    return min(broken, 1)


async def _one(plan: Plan) -> bool:
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # As root Postgres runs as somebody else.
        try:
            result = await Storm(Path(folder) / "state", plan, _say).run()
            _say("")
            print(result, flush=True)
            print(await verdict(result.history))
        except (AssertionError, TimeoutError) as error:
            _say("")
            print(f"seed {plan.seed}: {error}", flush=True)
            return False
    return True


def _say(text: str) -> None:
    """The progress line, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
