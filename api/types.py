"""The three kinds: AgentPool, AgentClaim, AgentInstance. The one source for rows, REST, CLI and CRDs.

Python names are snake_case, the wire is camelCase, durations are written `1h30m`.
Everything is frozen: a change is a new value, made with `model_copy(update=...)`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from api.model import Model
from api.scalars import (
    AgentId,
    Duration,
    EnvName,
    HttpsUrl,
    Instructions,
    Name,
    NamePrefix,
    is_reserved,
    only,
)

API_VERSION: Literal["pool.convos.org/v1alpha1"] = "pool.convos.org/v1alpha1"
DEFAULT_NAMESPACE = "default"
DEFAULT_POOL = "default"
MANAGED_BY = "app.kubernetes.io/managed-by"  # The label that rows keep in a column of its own.


# ---------------------------------------------------------------- parts shared by the kinds


class Meta(Model):
    """Who a record is. The store writes uid, generation, version, created and seq."""

    name: Name
    namespace: Name = DEFAULT_NAMESPACE
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default={}, max_length=64)
    annotations: dict[str, str] = Field(default={}, max_length=64)
    seq: int = Field(default=0, exclude=True)  # Order of creation on rows; 0 elsewhere.


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where a record is found: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Condition(Model):
    """As metav1.Condition: `last_transition_time` moves only when `status` flips."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: datetime
    observed_generation: int = 0


class LocalRef(Model):
    """A record of the same namespace, by name."""

    name: Name


# ---------------------------------------------------------------- AgentPool


class ReclaimPolicy(StrEnum):
    """What may be deleted: nothing, or what nobody needs any more."""

    RETAIN = "Retain"
    DELETE = "Delete"


class RepoSource(Model):
    """A GitHub repository that Railway builds."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]
    branch: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    root_directory: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None


class Source(Model):
    """Where the agent comes from: exactly one of `repo` and `image`."""

    repo: RepoSource | None = None
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.repo is None) == (self.image is None):
            raise ValueError("must have exactly one of repo and image")
        return self


class SecretKeyRef(Model):
    """A key of a Kubernetes Secret in the pool's namespace."""

    name: Name
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]


class ValueFrom(Model):
    """A value that does not stand in the record: exactly one of `secretKeyRef` and `env`."""

    secret_key_ref: SecretKeyRef | None = None
    env: (
        Annotated[str, StringConstraints(pattern=r"^INSTANCE_[A-Za-z0-9_]+$", max_length=128)]
        | None
    ) = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.secret_key_ref is None) == (self.env is None):
            raise ValueError("must have exactly one of secretKeyRef and env")
        return self


class EnvVar(Model):
    """One variable of every instance: exactly one of `value` and `valueFrom`."""

    name: EnvName
    value: Annotated[str, StringConstraints(max_length=32768)] | None = Field(
        default=None, repr=False
    )
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError("must have exactly one of value and valueFrom")
        if is_reserved(self.name):
            raise ValueError(
                f"{self.name} is reserved: POOL_*, RAILWAY_*, PORT and SETUP_PASSWORD are ours"
            )
        return self


class Template(Model):
    """What an instance is made of."""

    source: Source
    env: tuple[EnvVar, ...] = Field(default=(), max_length=100)
    port: int = Field(default=8080, ge=1, le=65535)
    healthcheck_path: (
        Annotated[str, StringConstraints(pattern=r"^/\S*$", max_length=255)] | None
    ) = None

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [e.name for e in self.env]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"env names {', '.join(twice)} more than once")
        return self


class Rollout(Model):
    """How fast a changed template replaces idle instances."""

    max_unavailable: int = Field(default=1, ge=0, le=1000)


FAILED_CLAIM_TTL = timedelta(hours=24)


class PoolRailway(Model):
    """Another project than the controller's settings name; it needs its own token."""

    project_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    environment_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    token_from: Annotated[ValueFrom | None, only(None)] = None


class PoolSpec(Model):
    """How many warm instances to keep, of what, and how many in all."""

    min_idle: int = Field(default=3, ge=0, le=10_000)
    max_total: int = Field(default=10, ge=0, le=10_000)
    template: Template
    name_prefix: NamePrefix = "convos-agent-"
    provision_timeout: Duration = timedelta(minutes=15)
    claim_timeout: Duration = timedelta(minutes=10)
    failed_claim_ttl: Annotated[Duration, only(FAILED_CLAIM_TTL)] = Field(
        default=FAILED_CLAIM_TTL, alias="failedClaimTTL"
    )
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    rollout: Annotated[Rollout, only(Rollout())] = Rollout()
    paused: bool = False
    railway: PoolRailway | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_idle > self.max_total:
            raise ValueError(
                f"minIdle ({self.min_idle}) must not exceed maxTotal ({self.max_total})"
            )
        return self


class PoolStatus(Model):
    """What was seen at the end of the last pass."""

    observed_generation: int = 0
    provisioning: int = 0
    idle: int = 0
    claimed: int = 0
    failed: int = 0
    total: int = 0
    waiting: int = 0
    outdated: int = 0
    selector: str = ""
    conditions: tuple[Condition, ...] = ()


class AgentPool(Model):
    """How many warm agents to keep, of what, and how many in all."""

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    kind: Literal["AgentPool"] = "AgentPool"
    metadata: Meta
    spec: PoolSpec
    status: PoolStatus = PoolStatus()


# ---------------------------------------------------------------- AgentClaim


class OnEmpty(StrEnum):
    """What a claim does while nobody is idle."""

    WAIT = "Wait"
    FAIL = "Fail"


class ClaimPhase(StrEnum):
    PENDING = "Pending"  # On record; no instance is promised.
    BOUND = "Bound"  # One instance is promised, on record; it may have heard.
    READY = "Ready"  # The agent serves it. Ended.
    FAILED = "Failed"  # It never will. Ended.


class ClaimSpec(Model):
    """Somebody's wish for one agent with these instructions. Immutable."""

    pool_ref: LocalRef = LocalRef(name=DEFAULT_POOL)
    agent_id: AgentId
    instructions: Instructions = Field(repr=False)
    join_url: HttpsUrl | None = Field(default=None, repr=False)
    timeout: Duration | None = None
    on_empty: OnEmpty = OnEmpty.WAIT
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN


class BoundInstance(Model):
    """The instance that a claim names."""

    name: str
    url: str = ""


class Attempt(Model):
    """Who may speak to the bound agent: one process, since when (store time)."""

    by: str
    at: datetime


class ClaimStatus(Model):
    """How far the claim has come."""

    phase: ClaimPhase = ClaimPhase.PENDING
    instance: BoundInstance | None = None
    attempt: Attempt | None = None
    invite_url: str | None = Field(default=None, repr=False)
    conversation_id: str | None = None
    joined: bool | None = None
    bound_at: datetime | None = None
    ready_at: datetime | None = None
    conditions: tuple[Condition, ...] = ()


class AgentClaim(Model):
    """Somebody's wish for one agent with these instructions."""

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    kind: Literal["AgentClaim"] = "AgentClaim"
    metadata: Meta
    spec: ClaimSpec
    status: ClaimStatus = ClaimStatus()

    @property
    def ended(self) -> bool:
        return self.status.phase in (ClaimPhase.READY, ClaimPhase.FAILED)


# ---------------------------------------------------------------- AgentInstance


class InstancePhase(StrEnum):
    PROVISIONING = "Provisioning"  # Intended, or being created, or not ready (again).
    IDLE = "Idle"  # Ready, and may be offered.
    CLAIMED = "Claimed"  # For display; what counts is `spec.claim_ref`.
    FAILED = "Failed"  # Will not become ready by waiting.
    RETIRING = "Retiring"  # Its service is to be deleted. Final.
    GONE = "Gone"  # Its service does not exist any more. Final.


class ClaimRef(Model):
    """The claim an instance serves; set once, never cleared or changed."""

    name: str
    uid: str
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN


class RailwayRef(Model):
    """The Railway environment an instance lives in."""

    endpoint: str
    project_id: str
    environment_id: str


class InstanceSpec(Model):
    """One agent of ours, from the intention to create it onwards. Written by the controller only."""

    pool_ref: LocalRef
    service_name: str
    template_hash: str
    key_id: str
    railway: RailwayRef
    claim_ref: ClaimRef | None = None


class DeploymentRef(Model):
    """The newest deployment that was seen, in Railway's words."""

    id: str
    status: str


class InstanceStatus(Model):
    """What was seen of the service and its agent; only what a decision needs."""

    phase: InstancePhase = InstancePhase.PROVISIONING
    service_id: str | None = None
    url: str | None = None
    deployment: DeploymentRef | None = None
    ready_at: datetime | None = None
    barred: str | None = None
    conditions: tuple[Condition, ...] = ()


class AgentInstance(Model):
    """One agent of ours; its name is its id, and its service is `<prefix><id>`."""

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    kind: Literal["AgentInstance"] = "AgentInstance"
    metadata: Meta
    spec: InstanceSpec
    status: InstanceStatus = InstanceStatus()


Kind = AgentPool | AgentClaim | AgentInstance


def key_of(thing: Kind) -> Key:
    """Where this record is found."""
    return Key(namespace=thing.metadata.namespace, name=thing.metadata.name)


def pool_key(thing: AgentClaim | AgentInstance) -> Key:
    """The pool that a claim or an instance belongs to."""
    return Key(namespace=thing.metadata.namespace, name=thing.spec.pool_ref.name)


def oldest_first(thing: AgentClaim | AgentInstance) -> tuple[int, float, str]:
    """Sort key of creation: rows have `seq`; elsewhere creation time, then name."""
    created = thing.metadata.creation_timestamp
    return thing.metadata.seq, created.timestamp() if created else 0.0, thing.metadata.name
