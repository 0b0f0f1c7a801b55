"""What is written of each kind, as columns: the other way round than `rows.py`.

Batches go to the queries as one jsonb list of these.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from api.records import Bind, Event, Outcome
from api.types import (
    MANAGED_BY,
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimStatus,
    Condition,
    Meta,
    PoolRailway,
)

Columns = dict[str, Any]

COUNTS = ("provisioning", "idle", "claimed", "failed", "total", "waiting", "outdated")
MESSAGE_MAX = 1024  # Characters of an event that are kept.


def to_json(value: object) -> str:
    """As the jsonb columns and batches take it; datetimes and durations as Postgres reads them."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} seconds"
    raise TypeError(f"{type(value).__name__} has no column")


def version_of(meta: Meta) -> int:
    """The version that was read; -1, which no row has, for what never was a row."""
    text = meta.resource_version
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def key_columns(meta: Meta) -> Columns:
    """Which row, and as it was read."""
    return {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "version": version_of(meta),
    }


def _meta_columns(meta: Meta) -> Columns:
    return {
        **key_columns(meta),
        "labels": {k: v for k, v in meta.labels.items() if k != MANAGED_BY},
        "managed_by": meta.labels.get(MANAGED_BY),
        "annotations": meta.annotations,
    }


def _conditions_column(conditions: Iterable[Condition]) -> list[Columns]:
    return [
        {
            "type": c.type,
            "status": c.status,
            "reason": c.reason,
            "message": c.message,
            "lastTransitionTime": c.last_transition_time.isoformat(),
            "observedGeneration": c.observed_generation,
        }
        for c in conditions
    ]


def pool_columns(pool: AgentPool) -> Columns:
    """What a user writes of a pool: labels, annotations, spec."""
    spec, source = pool.spec, pool.spec.template.source
    railway = spec.railway or PoolRailway()
    return {
        **_meta_columns(pool.metadata),
        "min_idle": spec.min_idle,
        "max_total": spec.max_total,
        "repo": source.repo.name if source.repo else None,
        "branch": source.repo.branch if source.repo else None,
        "root_directory": source.repo.root_directory if source.repo else None,
        "image": source.image,
        "env": [variable.wire() for variable in spec.template.env],
        "port": spec.template.port,
        "healthcheck_path": spec.template.healthcheck_path,
        "name_prefix": spec.name_prefix,
        "provision_timeout": spec.provision_timeout,
        "claim_timeout": spec.claim_timeout,
        "failed_claim_ttl": spec.failed_claim_ttl,
        "reclaim_policy": spec.reclaim_policy,
        "max_unavailable": spec.rollout.max_unavailable,
        "paused": spec.paused,
        "railway_project_id": railway.project_id,
        "railway_environment_id": railway.environment_id,
        "railway_token_from": railway.token_from.wire() if railway.token_from else None,
    }


def pool_status_columns(pool: AgentPool) -> Columns:
    """What we write of a pool."""
    status = pool.status
    return {
        **key_columns(pool.metadata),
        "observed_generation": status.observed_generation,
        "selector": status.selector,
        "conditions": _conditions_column(status.conditions),
        **{count: getattr(status, count) for count in COUNTS},
    }


def claim_columns(claim: AgentClaim) -> Columns:
    """What a user writes of a claim: labels, annotations, spec."""
    spec = claim.spec
    return {
        **_meta_columns(claim.metadata),
        "pool": spec.pool_ref.name,
        "agent_id": spec.agent_id,
        "instructions": spec.instructions,
        "join_url": spec.join_url,
        "timeout": spec.timeout,
        "on_empty": spec.on_empty,
        "reclaim_policy": spec.reclaim_policy,
    }


def outcome_columns(outcome: Outcome) -> Columns:
    """A claim's next status, and (`read_…`) what must still be so."""
    read, status = outcome.read.status, outcome.status
    return {
        **key_columns(outcome.read.metadata),
        "read_phase": read.phase,
        "read_instance": read.instance.name if read.instance else None,
        "read_attempt_by": read.attempt.by if read.attempt else None,
        "read_attempt_at": read.attempt.at if read.attempt else None,
        "phase": status.phase,
        "instance": status.instance.name if status.instance else None,
        "instance_url": status.instance.url if status.instance else None,
        "attempt_by": status.attempt.by if status.attempt else None,
        "attempt_at": status.attempt.at if status.attempt else None,
        "invite_url": status.invite_url,
        "conversation_id": status.conversation_id,
        "joined": status.joined,
        "bound_at": status.bound_at,
        "ready_at": status.ready_at,
        "conditions": _conditions_column(status.conditions),
    }


def bind_columns(bind: Bind, attempt: Attempt, status: ClaimStatus) -> Columns:
    """A promise, as the query `bind` asks for it; `status`: what its claim's becomes by it."""
    return {
        "namespace": bind.claim.metadata.namespace,
        "claim_name": bind.claim.metadata.name,
        "claim_uid": bind.claim.metadata.uid,
        "claim_reclaim_policy": bind.claim.spec.reclaim_policy,
        "instance": bind.instance.metadata.name,
        "instance_uid": bind.instance.metadata.uid,
        "instance_url": bind.instance.status.url or "",
        "attempt_by": attempt.by,
        "attempt_at": attempt.at,
        "conditions": _conditions_column(status.conditions),
    }


def instance_columns(instance: AgentInstance) -> Columns:
    """What an intent puts on record."""
    spec = instance.spec
    return {
        **_meta_columns(instance.metadata),
        "pool": spec.pool_ref.name,
        "service_name": spec.service_name,
        "template_hash": spec.template_hash,
        "key_id": spec.key_id,
        "railway_endpoint": spec.railway.endpoint,
        "railway_project_id": spec.railway.project_id,
        "railway_environment_id": spec.railway.environment_id,
    }


def instance_status_columns(instance: AgentInstance) -> Columns:
    """What was seen of an instance, and what it is being made of."""
    status = instance.status
    return {
        **key_columns(instance.metadata),
        "template_hash": instance.spec.template_hash,
        "key_id": instance.spec.key_id,
        "phase": status.phase,
        "service_id": status.service_id,
        "url": status.url,
        "deployment_id": status.deployment.id if status.deployment else None,
        "deployment_status": status.deployment.status if status.deployment else None,
        "ready_at": status.ready_at,
        "barred": status.barred,
        "conditions": _conditions_column(status.conditions),
    }


def event_columns(event: Event, count: int) -> Columns:
    """An event that came so often in this batch."""
    return {
        "namespace": event.key.namespace,
        "kind": event.kind,
        "name": event.key.name,
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:MESSAGE_MAX],
        "count": count,
    }
