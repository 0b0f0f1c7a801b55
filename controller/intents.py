"""New instances as they are first written down: with the name that makes a repeated create collide. Pure."""

from api.types import (
    AgentInstance,
    AgentPool,
    InstanceSpec,
    LocalRef,
    Meta,
    RailwayRef,
)
from controller import naming, template
from controller.naming import Chooser
from controller.sight import Look
from controller.template import Recipe


def intents(
    pool: AgentPool, count: int, look: Look, recipe: Recipe, railway: RailwayRef, chance: Chooser
) -> list[AgentInstance]:
    """So many instances with ids that no service in this complete look carries anywhere in its name."""
    made: list[AgentInstance] = []
    while len(made) < count:
        instance_id = naming.new_id(chance)
        if not look.carries(instance_id):
            made.append(_intent(pool, instance_id, recipe, railway))
    return made


def _intent(
    pool: AgentPool, instance_id: str, recipe: Recipe, railway: RailwayRef
) -> AgentInstance:
    meta = Meta(
        name=instance_id,
        namespace=pool.metadata.namespace,
        labels={"pool.convos.org/pool": pool.metadata.name},
    )
    spec = InstanceSpec(
        pool_ref=LocalRef(name=pool.metadata.name),
        service_name=naming.service_name(pool.spec.name_prefix, instance_id),
        template_hash=template.template_hash(pool, recipe),
        key_id=template.key_id(recipe.secret),
        railway=railway,
    )
    return AgentInstance(metadata=meta, spec=spec)
