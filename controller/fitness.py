"""Why nothing can be made for a pool, found before anything is created. Pure."""

from api.types import AgentPool, RailwayRef
from controller import template
from controller.railway import Access
from controller.sizing import Stall
from controller.template import Recipe


def unfit(
    pool: AgentPool, recipe: Recipe, access: Access | None, railway: RailwayRef
) -> Stall | None:
    """The first reason why no instance of this pool could be made or become ready; None when fit."""
    if _is_elsewhere(pool, railway):
        return Stall(
            "OtherEnvironment", "railway: another environment needs its own token: not yet"
        )
    if (lack := template.lacking(pool, recipe)) is not None:
        return Stall("MissingVariable", lack)
    repo = pool.spec.template.source.repo
    if access and not access.may_patch and repo and repo.branch:
        return Stall(
            "TokenTooNarrow",
            "this token builds default branches only: leave template.source.repo.branch out, "
            "or use a workspace token",
        )
    return None


def _is_elsewhere(pool: AgentPool, railway: RailwayRef) -> bool:
    asked = pool.spec.railway
    if asked is None:
        return False
    project = asked.project_id or railway.project_id
    environment = asked.environment_id or railway.environment_id
    return (project, environment) != (railway.project_id, railway.environment_id)
