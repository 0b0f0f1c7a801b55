"""What may differ: the points on which the recorded facts conflict, and how fast things happen."""

from dataclasses import dataclass

Span = tuple[float, float]  # Least and most, in seconds.


@dataclass(frozen=True, slots=True)
class Habits:
    """Switches for what is disputed or unproven; the defaults are the safer assumption for a client."""

    project_token_may_patch: bool = False  # environmentPatchCommit: unverified.
    project_token_may_connect: bool = False  # serviceConnect: two clients saw it refused.
    project_token_may_trigger: bool = (
        False  # deploymentTriggerCreate: "Bad Access" against one table.
    )
    project_token_reads_project: bool = False  # project(id:): unverified.
    patch_takes_repo: bool = True  # A repository as source of a patch: not proven live.
    variables_alone_deploy: bool = False  # Variables on a service without source.
    upsert_needs_source: bool = True  # Upserting without skipDeploys there: once seen to throw.
    target_port_beside_port_fails: bool = False  # targetPort on a domain while PORT is set.
    repo_deploys_most: int = 3  # Deployments that one serviceCreate with a repository starts.
    services_most: int | None = None  # Services a project may have (the Trial's is 5).


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take. The default warms a pool in seconds."""

    queue_s: Span = (0.1, 0.3)  # INITIALIZING.
    build_s: Span = (0.4, 0.9)  # BUILDING, repositories only.
    deploy_s: Span = (0.2, 0.5)  # DEPLOYING, until the container starts.
    boot_s: Span = (0.1, 0.3)  # From there until its port answers.
    warm_s: Span = (0.5, 1.2)  # From there until the agent is ready.
    answer_s: Span = (0.03, 0.15)  # An agent making a conversation.
    lag_s: Span = (0.1, 0.6)  # Until a read shows what a write made.
    delete_s: Span = (1.0, 3.0)  # Until a deleted service is gone.
    patch_s: Span = (0.2, 0.5)  # An environment patch in flight.
    hook_s: float = 0.2  # Between the deployments that one repository create starts.


# As seen on Railway: an image in 20 to 60 s, a gateway up to 120 s, reads and deletions 1 to 10 s behind.
RAILWAY_PACE = Pace(
    queue_s=(1, 5),
    build_s=(60, 180),
    deploy_s=(10, 40),
    boot_s=(2, 20),
    warm_s=(20, 120),
    answer_s=(1, 12),
    lag_s=(1, 10),
    delete_s=(1, 10),
    patch_s=(1, 5),
    hook_s=1.0,
)
_NONE: Span = (0.0, 0.0)
AT_ONCE = Pace(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0.0)
PACES = {"fast": Pace(), "railway": RAILWAY_PACE, "at-once": AT_ONCE}
