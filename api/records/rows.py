"""A row to its kind: flat columns with snake_case names, lists and maps as jsonb.

Rows are read by construction, not by validation: the rules of the tables hold for whoever wrote them,
and a validation of every instruction on every look would cost more than the look.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from api.model import Model
from api.records import Bind
from api.records.columns import COUNTS
from api.types import (
    API_VERSION,
    MANAGED_BY,
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    BoundInstance,
    ClaimPhase,
    ClaimRef,
    ClaimSpec,
    ClaimStatus,
    Condition,
    DeploymentRef,
    EnvVar,
    InstancePhase,
    InstanceSpec,
    InstanceStatus,
    LocalRef,
    Meta,
    OnEmpty,
    PoolRailway,
    PoolSpec,
    PoolStatus,
    RailwayRef,
    ReclaimPolicy,
    RepoSource,
    Rollout,
    Source,
    Template,
)

Row = asyncpg.Record
Kind = TypeVar("Kind", bound=Model)


# ---------------------------------------------------------------- what all kinds share


def _built(model: type[Kind], **fields: Any) -> Kind:
    """`model_construct` for a value of which every field is given, in a quarter of its time."""
    built = model.__new__(model)
    object.__setattr__(built, "__dict__", fields)
    object.__setattr__(built, "__pydantic_fields_set__", set(fields))
    object.__setattr__(built, "__pydantic_extra__", None)
    object.__setattr__(built, "__pydantic_private__", None)
    return built


# The same for thousands of rows, and frozen: made once.
_local_ref = lru_cache(64)(lambda name: LocalRef(name=name))
_railway_ref = lru_cache(64)(RailwayRef)
# By their words; a call of the enumeration takes seven times as long (measured).
_ON_EMPTY = {str(each): each for each in OnEmpty}
_POLICY = {str(each): each for each in ReclaimPolicy}
_CLAIM_PHASE = {str(each): each for each in ClaimPhase}
_INSTANCE_PHASE = {str(each): each for each in InstancePhase}


def _meta(row: Row, seq: int = 0) -> Meta:
    labels, managed_by = row["labels"], row["managed_by"]
    return _built(
        Meta,
        name=row["name"],
        namespace=row["namespace"],
        uid=row["uid"],
        generation=row["generation"],
        resource_version=str(row["version"]),
        creation_timestamp=row["created_at"],
        labels=labels if managed_by is None else labels | {MANAGED_BY: managed_by},
        annotations=row["annotations"],
        seq=seq,
    )


def _conditions(value: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    return tuple(
        _built(
            Condition,
            type=c["type"],
            status=c["status"],
            reason=c["reason"],
            message=c.get("message", ""),
            last_transition_time=datetime.fromisoformat(c["lastTransitionTime"]),
            observed_generation=c.get("observedGeneration", 0),
        )
        for c in value
    )


# ---------------------------------------------------------------- pools


def pool_of(row: Row) -> AgentPool:
    """The pool of a row of agent_pools."""
    return _built(
        AgentPool,
        api_version=API_VERSION,
        kind="AgentPool",
        metadata=_meta(row),
        spec=_pool_spec(row),
        status=_pool_status(row),
    )


def _pool_spec(row: Row) -> PoolSpec:
    return _built(
        PoolSpec,
        min_idle=row["min_idle"],
        max_total=row["max_total"],
        template=_template(row),
        name_prefix=row["name_prefix"],
        provision_timeout=row["provision_timeout"],
        claim_timeout=row["claim_timeout"],
        failed_claim_ttl=row["failed_claim_ttl"],
        reclaim_policy=_POLICY[row["reclaim_policy"]],
        rollout=_built(Rollout, max_unavailable=row["max_unavailable"]),
        paused=row["paused"],
        railway=_pool_railway(row),
    )


def _template(row: Row) -> Template:
    repo = None
    if row["repo"] is not None:
        repo = _built(
            RepoSource, name=row["repo"], branch=row["branch"], root_directory=row["root_directory"]
        )
    return _built(
        Template,
        source=_built(Source, repo=repo, image=row["image"]),
        env=tuple(EnvVar.model_validate(e) for e in row["env"]),
        port=row["port"],
        healthcheck_path=row["healthcheck_path"],
    )


def _pool_railway(row: Row) -> PoolRailway | None:
    project, environment = row["railway_project_id"], row["railway_environment_id"]
    if project is None and environment is None:
        return None
    return _built(PoolRailway, project_id=project, environment_id=environment, token_from=None)


def _pool_status(row: Row) -> PoolStatus:
    return _built(
        PoolStatus,
        observed_generation=row["observed_generation"],
        selector=row["selector"],
        conditions=_conditions(row["conditions"]),
        **{count: row[count] for count in COUNTS},
    )


# ---------------------------------------------------------------- claims


def claim_of(row: Row) -> AgentClaim:
    """The claim of a row of agent_claims."""
    return _built(
        AgentClaim,
        api_version=API_VERSION,
        kind="AgentClaim",
        metadata=_meta(row, row["seq"]),
        spec=_claim_spec(row),
        status=_claim_status(row),
    )


def _claim_spec(row: Row) -> ClaimSpec:
    return _built(
        ClaimSpec,
        pool_ref=_local_ref(row["pool"]),
        agent_id=row["agent_id"],
        instructions=row["instructions"],
        join_url=row["join_url"],
        timeout=row["timeout"],
        on_empty=_ON_EMPTY[row["on_empty"]],
        reclaim_policy=_POLICY[row["reclaim_policy"]],
    )


def _claim_status(row: Row) -> ClaimStatus:
    instance, by = row["instance"], row["attempt_by"]
    bound = attempt = None
    if instance is not None:
        bound = _built(BoundInstance, name=instance, url=row["instance_url"] or "")
    if by is not None:
        attempt = _built(Attempt, by=by, at=row["attempt_at"])
    return _built(
        ClaimStatus,
        phase=_CLAIM_PHASE[row["phase"]],
        instance=bound,
        attempt=attempt,
        invite_url=row["invite_url"],
        conversation_id=row["conversation_id"],
        joined=row["joined"],
        bound_at=row["bound_at"],
        ready_at=row["ready_at"],
        conditions=_conditions(row["conditions"]),
    )


def created(claim: AgentClaim, row: Row) -> AgentClaim:
    """The claim as it stands after its insert, by what the store added."""
    mine = {
        "uid": row["uid"],
        "generation": row["generation"],
        "resource_version": str(row["version"]),
        "creation_timestamp": row["created_at"],
        "seq": row["seq"],
    }
    meta = claim.metadata.model_copy(update=mine)
    return claim.model_copy(update={"metadata": meta, "status": ClaimStatus()})


def written(claim: AgentClaim, status: ClaimStatus, version: int) -> AgentClaim:
    """The claim with the status that was written as this version."""
    meta = claim.metadata.model_copy(update={"resource_version": str(version)})
    return claim.model_copy(update={"metadata": meta, "status": status})


# ---------------------------------------------------------------- instances


def instance_of(row: Row) -> AgentInstance:
    """The instance of a row of agent_instances."""
    return _built(
        AgentInstance,
        api_version=API_VERSION,
        kind="AgentInstance",
        metadata=_meta(row, row["seq"]),
        spec=_instance_spec(row),
        status=_instance_status(row),
    )


def reserved(bind: Bind, version: int, generation: int) -> AgentInstance:
    """The instance as it stands once it is promised to that claim, and nothing else had changed."""
    claim, instance = bind.claim, bind.instance
    ref = _built(
        ClaimRef,
        name=claim.metadata.name,
        uid=claim.metadata.uid,
        reclaim_policy=claim.spec.reclaim_policy,
    )
    moved = {"resource_version": str(version), "generation": generation}
    return instance.model_copy(
        update={
            "metadata": instance.metadata.model_copy(update=moved),
            "spec": instance.spec.model_copy(update={"claim_ref": ref}),
            "status": instance.status.model_copy(update={"phase": InstancePhase.CLAIMED}),
        }
    )


def _instance_spec(row: Row) -> InstanceSpec:
    claim_ref = None
    if row["claim_uid"] is not None:
        claim_ref = _built(
            ClaimRef,
            name=row["claim_name"],
            uid=row["claim_uid"],
            reclaim_policy=_POLICY[row["claim_reclaim_policy"]],
        )
    return _built(
        InstanceSpec,
        pool_ref=_local_ref(row["pool"]),
        service_name=row["service_name"],
        template_hash=row["template_hash"],
        key_id=row["key_id"],
        railway=_railway_ref(
            endpoint=row["railway_endpoint"],
            project_id=row["railway_project_id"],
            environment_id=row["railway_environment_id"],
        ),
        claim_ref=claim_ref,
    )


def _instance_status(row: Row) -> InstanceStatus:
    deployment = None
    if row["deployment_id"] is not None:
        deployment = _built(DeploymentRef, id=row["deployment_id"], status=row["deployment_status"])
    return _built(
        InstanceStatus,
        phase=_INSTANCE_PHASE[row["phase"]],
        service_id=row["service_id"],
        url=row["url"],
        deployment=deployment,
        ready_at=row["ready_at"],
        barred=row["barred"],
        conditions=_conditions(row["conditions"]),
    )
