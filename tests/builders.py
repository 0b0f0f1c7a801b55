"""Builders of pools, claims and instances: a valid record, with any field of it set by name.

`a_claim(phase=ClaimPhase.BOUND, agent_id="x", name="c1")` sets a field of the status, one of the spec
and one of the metadata.
"""

import itertools
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from api.records import Event
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimRef,
    ClaimSpec,
    ClaimStatus,
    InstanceSpec,
    InstanceStatus,
    Key,
    LocalRef,
    Meta,
    PoolSpec,
    PoolStatus,
    RailwayRef,
    Source,
    Template,
)

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
RAILWAY = RailwayRef(
    endpoint="https://railway.test/graphql", project_id="project", environment_id="environment"
)
_names = itertools.count(1)


def a_pool(**overrides: Any) -> AgentPool:
    """A pool `default` of an image, with the kind's own defaults; not on record."""
    base = {"template": Template(source=Source(image="agents/convos:1")), "name": "default"}
    meta, spec, status = _sorted_out(base | overrides, Meta, PoolSpec, PoolStatus)
    return AgentPool(metadata=Meta(**meta), spec=PoolSpec(**spec), status=PoolStatus(**status))


def a_claim(*, pool: str = "default", **overrides: Any) -> AgentClaim:
    """A Pending claim on the pool `default`; not on record. Names count up unless given."""
    base = {
        "name": f"claim-{next(_names)}",
        "pool_ref": LocalRef(name=pool),
        "agent_id": "tokyo-trip-planner",
        "instructions": "You are a helpful trip planner for Tokyo.",
    }
    meta, spec, status = _sorted_out(base | overrides, Meta, ClaimSpec, ClaimStatus)
    return AgentClaim(metadata=Meta(**meta), spec=ClaimSpec(**spec), status=ClaimStatus(**status))


def an_instance(*, pool: str = "default", **overrides: Any) -> AgentInstance:
    """A Provisioning instance of the pool `default`; not on record. Ids count up unless given."""
    name = overrides.get("name", f"i{next(_names):07}")
    base = {
        "name": name,
        "pool_ref": LocalRef(name=pool),
        "service_name": f"convos-agent-{name}",
        "template_hash": "hash",
        "key_id": "key",
        "railway": RAILWAY,
    }
    meta, spec, status = _sorted_out(base | overrides, Meta, InstanceSpec, InstanceStatus)
    return AgentInstance(
        metadata=Meta(**meta), spec=InstanceSpec(**spec), status=InstanceStatus(**status)
    )


def a_claim_ref(claim: AgentClaim, **overrides: Any) -> ClaimRef:
    """What an instance says of the claim it serves."""
    base = {
        "name": claim.metadata.name,
        "uid": claim.metadata.uid,
        "reclaim_policy": claim.spec.reclaim_policy,
    }
    return ClaimRef(**(base | overrides))


def an_event(**overrides: Any) -> Event:
    """A Normal event of the pool `default`."""
    base: dict[str, Any] = {
        "kind": "AgentPool",
        "key": Key("default", "default"),
        "type": "Normal",
        "reason": "Created",
        "message": "service created",
    }
    return Event(**(base | overrides))


def _sorted_out(values: dict[str, Any], *parts: type[BaseModel]) -> list[dict[str, Any]]:
    """Each value to the first part (metadata, spec, status) that has a field of its name."""
    sorted_out: list[dict[str, Any]] = [{} for _ in parts]
    for name, value in values.items():
        home = next((i for i, part in enumerate(parts) if name in part.model_fields), None)
        if home is None:
            raise TypeError(f"no field is called {name}")
        sorted_out[home][name] = value
    return sorted_out
