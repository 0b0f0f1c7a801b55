"""Which token may do what: an account's everything, a workspace's nearly, a project's in one environment."""

from controller.railway.simulator.habits import Habits
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.state import Token
from controller.railway.simulator.world import World

DENIED = "Not Authorized"

# Operations that a project token is refused unless the habit of that name says otherwise.
_NOT_BY_PROJECT = {
    "environmentPatchCommit": "project_token_may_patch",
    "serviceConnect": "project_token_may_connect",
    "serviceDisconnect": "project_token_may_connect",
    "deploymentTriggerCreate": "project_token_may_trigger",
    "project": "project_token_reads_project",
}
_ONLY_BY_OTHERS = frozenset({"apiToken", "workspace", "projects"})


def may(token: Token, operation: str, habits: Habits) -> bool:
    """Whether this kind of token may do this at all."""
    if operation == "projectToken":
        return token.kind == "project"
    if token.kind != "project":
        return True
    habit = _NOT_BY_PROJECT.get(operation)
    return operation not in _ONLY_BY_OTHERS and (habit is None or getattr(habits, habit))


def authorize(
    world: World,
    token: Token | None,
    operation: str,
    *,
    project: str | None = None,
    environment: str | None = None,
    service: str | None = None,
) -> None:
    """Raises Refusal in the one text that Railway has for a dead token, the forbidden and the gone."""
    if token is None:
        raise Refusal(DENIED)
    if operation == "projectToken" and token.kind != "project":
        raise Refusal("project token not found")
    if not may(token, operation, world.habits):
        raise Refusal("Bad Access" if operation == "deploymentTriggerCreate" else DENIED)
    known = environment is None or environment in world.environments
    if not known or (project is not None and project not in world.projects):
        raise Refusal(DENIED)
    if token.kind == "project" and not _within(world, token, project, environment, service):
        raise Refusal(DENIED)


def _within(
    world: World,
    token: Token,
    project: str | None,
    environment: str | None,
    service: str | None,
) -> bool:
    held = world.services.get(service) if service else None
    return (
        project in (None, token.project_id)
        and environment in (None, token.environment_id)
        and (held is None or held.project_id == token.project_id)
    )
