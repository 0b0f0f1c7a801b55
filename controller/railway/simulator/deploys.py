"""What starts a deployment, and what becomes of it: pure rules over plain data.

A deployment's statuses are laid down when it is made, as moments; nothing has to tick. Only what happens to
it from outside (cancel, crash, a newer one) changes that.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.railway.simulator.habits import Pace, Span
from controller.railway.simulator.state import Deployment, Instance, Process


class Source(StrEnum):
    NONE = "none"
    IMAGE = "image"
    REPO = "repo"


HOOKS = -1  # As many as GitHub's hooks start: one to Habits.repo_deploys_most.
ANY = None

# (what was done, source before, source after) -> deployments started; what is not here starts none.
# Variables: without skipDeploys. A patch: where it changed the service. A push: with auto-deploy on.
TRIGGERS: dict[tuple[str, Source | None, Source], int] = {
    ("serviceCreate", Source.NONE, Source.IMAGE): 1,
    ("serviceCreate", Source.NONE, Source.REPO): HOOKS,
    ("serviceInstanceUpdate", Source.NONE, Source.IMAGE): 1,
    ("serviceInstanceUpdate", Source.NONE, Source.REPO): 1,
    ("serviceConnect", ANY, Source.IMAGE): 1,
    ("serviceConnect", ANY, Source.REPO): 1,
    ("variables", ANY, Source.IMAGE): 1,
    ("variables", ANY, Source.REPO): 1,
    ("patch", ANY, Source.IMAGE): 1,
    ("patch", ANY, Source.REPO): 1,
    ("deploy", ANY, Source.IMAGE): 1,
    ("deploy", ANY, Source.REPO): 1,
    ("triggersDeploy", ANY, Source.REPO): 1,
    ("push", Source.REPO, Source.REPO): 1,
}

FINAL = frozenset({"FAILED", "CRASHED", "REMOVED", "SKIPPED"})
BUSY = frozenset({"INITIALIZING", "QUEUED", "WAITING", "BUILDING", "DEPLOYING"})
UP = frozenset({"SUCCESS", "SLEEPING"})
REMOVING_S = 1.0
SLEEPS_AFTER_S = 2.0
SLOW_TIMES = 20
HEALTHCHECK_S = 300.0  # Railway's default healthcheckTimeout.
REPO_HEALTHCHECK = "/setup/healthz"  # The agent template's railway.toml names it.
KEYLESS_PATHS = frozenset(
    {"/setup/healthz", "/version"}
)  # What the agent answers 200 without a key.


def source_of(config: dict[str, Any]) -> Source:
    """Where a service comes from, by its config."""
    source = config.get("source") or {}
    if source.get("repo"):
        return Source.REPO
    return Source.IMAGE if source.get("image") else Source.NONE


def started(act: str, before: Source, after: Source) -> int:
    """How many deployments this starts, or HOOKS."""
    return TRIGGERS.get((act, before, after), TRIGGERS.get((act, ANY, after), 0))


def healthcheck_of(config: dict[str, Any]) -> str | None:
    """The path that must answer 200 before a deployment counts as up, if any."""
    path: str | None = (config.get("deploy") or {}).get("healthcheckPath")
    return path or (REPO_HEALTHCHECK if source_of(config) is Source.REPO else None)


@dataclass(frozen=True, slots=True)
class Course:
    """What a new deployment will go through."""

    stages: list[tuple[float, str]]
    starts_at: float
    process: Process


def course(
    now: float, config: dict[str, Any], pace: Pace, rng: random.Random, fate: str | None
) -> Course:
    """Lay down a deployment's statuses. `fate` is one of faults.DEPLOYS, "program", or None.

    "program": a real program decides what comes after DEPLOYING, and reports it.
    """
    times = SLOW_TIMES if fate == "slowBoot" else 1

    def after(at: float, span: Span) -> float:
        return at + rng.uniform(*span) * times

    at = after(now, pace.queue_s)
    stages = [(now, "INITIALIZING")]
    if source_of(config) is Source.REPO:
        stages.append((at, "BUILDING"))
        at = after(at, pace.build_s)
    if fate == "deployFailed":
        return Course([*stages, (at, "FAILED")], at, Process())
    stages.append((at, "DEPLOYING"))
    starts_at = after(at, pace.deploy_s)
    if fate in ("deployStuck", "program"):
        return Course(stages, starts_at, Process())
    up_at = after(starts_at, pace.boot_s)
    process = Process(up_at=up_at, ready_at=after(up_at, pace.warm_s))
    stages += _ending(config, starts_at, up_at, fate)
    return Course(stages, starts_at, process)


def _ending(
    config: dict[str, Any], starts_at: float, up_at: float, fate: str | None
) -> list[tuple[float, str]]:
    """Without a health check a deployment is up as soon as its container starts."""
    path = healthcheck_of(config)
    if path is not None and path not in KEYLESS_PATHS:
        allowed_s = (config.get("deploy") or {}).get("healthcheckTimeout") or HEALTHCHECK_S
        return [(starts_at + allowed_s, "FAILED")]
    success = (starts_at if path is None else up_at, "SUCCESS")
    if fate == "deployCrashed":
        return [success, (up_at + 0.1, "CRASHED")]
    if fate == "deploySleeping":
        return [success, (up_at + SLEEPS_AFTER_S, "SLEEPING")]
    return [success]


def stage_at(deployment: Deployment, now: float) -> str:
    """Its own status, whatever newer ones there are."""
    return [status for at, status in deployment.stages if at <= now][-1]


def seen(instance: Instance, now: float) -> Iterator[tuple[Deployment, str]]:
    """The deployments that exist by now with their statuses, newest first.

    The first moment a newer one is up takes the older ones down.
    """
    taken_over = float("inf")
    for deployment in reversed(instance.deployments):
        if deployment.created_at > now:
            continue
        status = stage_at(deployment, now)
        if taken_over <= now and status not in FINAL:
            status = "REMOVING" if now < taken_over + REMOVING_S else "REMOVED"
        yield deployment, status
        up = [at for at, name in deployment.stages if name == "SUCCESS" and at <= now]
        taken_over = min([taken_over, *up])


def latest(instance: Instance, now: float) -> tuple[Deployment, str] | None:
    """The newest deployment, with its status."""
    return next(seen(instance, now), None)


def serving(instance: Instance, now: float) -> tuple[Deployment, str] | None:
    """The deployment that the edge sends traffic to: the newest that came up (and may have crashed since)."""
    return next(
        (pair for pair in seen(instance, now) if pair[1] in UP or pair[1] == "CRASHED"), None
    )


def end(deployment: Deployment, now: float, status: str) -> None:
    """From now on it has this status; what lay ahead of it is dropped."""
    deployment.stages = [stage for stage in deployment.stages if stage[0] <= now]
    deployment.stages.append((now, status))


def restarted(process: Process, now: float, pace: Pace, rng: random.Random) -> Process:
    """The same program started again, with nothing in its memory."""
    up_at = now + rng.uniform(*pace.boot_s)
    never = process.ready_at is None
    ready_at = None if never else up_at + rng.uniform(*pace.warm_s)
    return Process(up_at=up_at, ready_at=ready_at, boots=process.boots + 1)
