"""The kind AgentInstance: one agent of ours, written by the controller only."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from api.model import Model, Rule, rules, unchanged
from api.parts import API_VERSION, Conditions, LocalRef, Meta, ReclaimPolicy
from api.scalars import NAME_MAX, URL_MAX


class InstancePhase(StrEnum):
    PROVISIONING = "Provisioning"  # Intended, or being created, or not ready (again).
    IDLE = "Idle"  # Ready, and may be offered.
    CLAIMED = "Claimed"  # For display; what counts is `spec.claim_ref`.
    FAILED = "Failed"  # Will not become ready by waiting.
    RETIRING = "Retiring"  # Its service is to be deleted. Final.
    GONE = "Gone"  # Its service does not exist any more. Final.


_NO_CHANGE = "the spec of an instance is immutable but for its claim; leave it"


class ClaimRef(Model):
    """The claim an instance serves; set once, never cleared or changed."""

    name: str = Field(json_schema_extra=rules(max_length=NAME_MAX))
    """Its name."""
    uid: str = Field(json_schema_extra=rules(max_length=128))
    """Its uid: a later claim of the same name is another."""
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """What the claim said is to become of the service when it is deleted."""


class RailwayRef(Model):
    """The Railway environment an instance lives in."""

    endpoint: str = Field(json_schema_extra=rules(max_length=URL_MAX))
    """Railway's GraphQL API."""
    project_id: str = Field(json_schema_extra=rules(max_length=128))
    """Railway's id of the project."""
    environment_id: str = Field(json_schema_extra=rules(max_length=128))
    """Railway's id of the environment."""


class InstanceSpec(Model):
    """One agent of ours, from the intention to create it onwards. Written by the controller only."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                Rule(unchanged(field), _NO_CHANGE, f".{field}", "FieldValueForbidden")
                for field in ("poolRef", "serviceName", "railway")
            ),
            Rule(
                "!has(oldSelf.claimRef) || (has(self.claimRef) && self.claimRef == oldSelf.claimRef)",
                "is set once, never cleared or changed; delete the claim to release it",
                at=".claimRef",
                reason="FieldValueForbidden",
            ),
        )
    )

    pool_ref: LocalRef
    """The pool it belongs to."""
    service_name: str = Field(json_schema_extra=rules(max_length=NAME_MAX))
    """Name of the Railway service that it runs as."""
    template_hash: str = Field(json_schema_extra=rules(max_length=128))
    """What it was made of, values of variables included."""
    key_id: str = Field(json_schema_extra=rules(max_length=128))
    """Which instance secret its keys derive from."""
    railway: RailwayRef
    """The Railway environment that it lives in."""
    claim_ref: ClaimRef | None = None
    """The claim that it serves; set once, never cleared or changed."""


class DeploymentRef(Model):
    """The newest deployment that was seen, in Railway's words."""

    id: str = Field(json_schema_extra=rules(max_length=128))
    """Railway's id of it."""
    status: str = Field(json_schema_extra=rules(max_length=128))
    """Railway's word for how it is: SUCCESS, BUILDING, CRASHED."""


class InstanceStatus(Model):
    """What was seen of the service and its agent; only what a decision needs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "oldSelf.phase != 'Gone' || self.phase == 'Gone'",
                "Gone is final; delete the instance when no claim names it",
                at=".phase",
                reason="FieldValueForbidden",
            ),
            Rule(
                "oldSelf.phase != 'Retiring' || self.phase in ['Retiring', 'Gone']",
                "Retiring is final: its service is being deleted; let it become Gone",
                at=".phase",
                reason="FieldValueForbidden",
            ),
        )
    )

    phase: InstancePhase = InstancePhase.PROVISIONING
    """Provisioning, Idle, Claimed (for display: `claimRef` counts), Failed, Retiring or Gone (final)."""
    service_id: str | None = Field(default=None, json_schema_extra=rules(max_length=128))
    """Railway's id of the service, once it is known."""
    url: str | None = Field(default=None, json_schema_extra=rules(max_length=URL_MAX))
    """Where its agent answers."""
    deployment: DeploymentRef | None = None
    """The newest deployment that was seen."""
    ready_at: datetime | None = None
    """When its agent was ready for the first time."""
    barred: str | None = Field(default=None, json_schema_extra=rules(max_length=1024))
    """Why it is never offered to anybody, if so."""
    conditions: Conditions = ()
    """Created, Exposed, Deployed and Ready."""


class AgentInstance(Model):
    """One agent of ours; its name is its id, and its service is `<prefix><id>`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.spec.claimRef) || has(oldSelf.spec.claimRef)"
                " || (oldSelf.status.phase == 'Idle' && !has(oldSelf.status.barred))",
                "only an Idle instance that is not barred can be claimed; take another",
                at=".spec.claimRef",
                reason="FieldValueForbidden",
            ),
            Rule(
                "oldSelf.status.phase == 'Provisioning' || (self.spec.keyId == oldSelf.spec.keyId"
                " && self.spec.templateHash == oldSelf.spec.templateHash)",
                "says what the instance was made of; only one being made may change it",
                at=".spec.templateHash",
                reason="FieldValueForbidden",
            ),
        )
    )

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    """Group and version of the kind."""
    kind: Literal["AgentInstance"] = "AgentInstance"
    """The kind."""
    metadata: Meta
    """Who this record is."""
    spec: InstanceSpec
    """What the instance was made as. Immutable but for the claim it serves."""
    status: InstanceStatus = InstanceStatus()
    """What was seen of the service and its agent; written by the controller."""
