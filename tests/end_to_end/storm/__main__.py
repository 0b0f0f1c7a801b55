"""`python -m tests.end_to_end.storm --records kubernetes`: storms over real processes, each judged."""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.end_to_end.storm.kubernetes_stage import KubernetesStage
from tests.end_to_end.storm.kubernetes_trouble import FULL
from tests.end_to_end.storm.postgres_stage import PostgresStage
from tests.end_to_end.storm.stage import Stage
from tests.end_to_end.storm.storm import Plan, Storm, verdict

STAGES: dict[str, type[Stage]] = {"postgres": PostgresStage, "kubernetes": KubernetesStage}
PLANS = {
    "postgres": Plan(),
    # Each misfortune once, at least; a controller is killed so often that it needs the time to lead.
    "kubernetes": Plan(claims=300, every_s=6.0, misfortunes=len(FULL.deck)),
}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.end_to_end.storm", description=__doc__)
    options.add_argument("--records", choices=sorted(STAGES), default="postgres")
    options.add_argument("--claims", type=int, help="(1000; on Kubernetes 300)")
    options.add_argument(
        "--seed", type=int, default=1, help="what is tried; no run repeats another"
    )
    options.add_argument("--runs", type=int, default=1, help="how many, with the seeds from there")
    options.add_argument("--warm", type=int, help="idle before it begins")
    options.add_argument("--every", type=float, dest="every_s", help="seconds, on average")
    options.add_argument("--misfortunes", type=int, help="kills, stops, cuts")
    asked = vars(options.parse_args())
    records, seed, runs = (asked.pop(name) for name in ("records", "seed", "runs"))
    plan = replace(PLANS[records], **{k: v for k, v in asked.items() if v is not None})
    broken = 0
    for each in range(seed, seed + runs):
        broken += not asyncio.run(_one(STAGES[records], replace(plan, seed=each)))
    return min(broken, 1)


async def _one(stage: type[Stage], plan: Plan) -> bool:
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # As root Postgres runs as somebody else.
        try:
            on = stage(Path(folder) / "state", **plan.variables)
            result = await Storm(on, plan, _say).run()
            _say("")
            print(result, flush=True)
            print(await verdict(result.history))
        except (AssertionError, TimeoutError) as error:
            _say("")
            print(f"seed {plan.seed}: {type(error).__name__} {error}", flush=True)
            return False
    return True


def _say(text: str) -> None:
    """The progress line, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
