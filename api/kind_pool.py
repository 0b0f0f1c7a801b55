"""The kind AgentPool: what an instance is made of, how many to keep warm, and how many in all."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from api.model import Model, Rule, matches, rules, unchanged
from api.parts import API_VERSION, Conditions, Meta, ReclaimPolicy
from api.scalars import (
    IS_DURATION,
    IS_ENV_NAME,
    IS_FREE_ENV_NAME,
    IS_NAME,
    IS_NAME_PREFIX,
    NOT_YET,
    RESERVED,
    STAYS_A_DAY,
    Duration,
    EnvName,
    Name,
    NamePrefix,
    is_reserved,
    only,
    saying,
    stays,
)

# ---------------------------------------------------------------- what an instance is made of

_ONE_SOURCE = "must have exactly one of repo and image"
_ONE_ORIGIN = "must have exactly one of secretKeyRef and env"
_ONE_VALUE = "must have exactly one of value and valueFrom"
_REPO_NAME = r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$"  # ASCII alone: \w is more here than in Go.
_PATH = r"^/[^\s\p{Z}\x85]*$"  # Said so that Rust's \s and Go's narrower one mean the same.
_OURS = r"^INSTANCE_[A-Za-z0-9_]+$"
_OWNER_AND_NAME = "must be owner/name, at most 200 characters"
_FROM_THE_ROOT = "must begin with / and hold no space"
_ONLY_OURS = "must name an INSTANCE_* variable of the controller"

RepoName = Annotated[
    str, StringConstraints(pattern=_REPO_NAME, max_length=200), saying(_OWNER_AND_NAME)
]
HealthcheckPath = Annotated[
    str, StringConstraints(pattern=_PATH, max_length=255), saying(_FROM_THE_ROOT)
]
OurVariable = Annotated[str, StringConstraints(pattern=_OURS, max_length=128), saying(_ONLY_OURS)]


class RepoSource(Model):
    """A GitHub repository that Railway builds."""

    name: RepoName = Field(json_schema_extra=rules(matches(_REPO_NAME, _OWNER_AND_NAME)))
    """The repository on GitHub, as `owner/name`."""
    branch: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """The branch to build; left out: the repository's default branch."""
    root_directory: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """The folder of the repository to build in; left out: its root."""


class Source(Model):
    """Where the agent comes from: exactly one of `repo` and `image`."""

    model_config = ConfigDict(
        json_schema_extra=rules(Rule("has(self.repo) != has(self.image)", _ONE_SOURCE))
    )

    repo: RepoSource | None = None
    """A GitHub repository that Railway builds. Either this or `image`."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """A container image that Railway runs as it is: `registry/name:tag`. Either this or `repo`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.repo is None) == (self.image is None):
            raise ValueError(_ONE_SOURCE)
        return self


class SecretKeyRef(Model):
    """A key of a Kubernetes Secret in the pool's namespace."""

    name: Name = Field(json_schema_extra=rules(IS_NAME))
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Which of the Secret's keys holds the value."""


class ValueFrom(Model):
    """A value that does not stand in the record: exactly one of `secretKeyRef` and `env`."""

    model_config = ConfigDict(
        json_schema_extra=rules(Rule("has(self.secretKeyRef) != has(self.env)", _ONE_ORIGIN))
    )

    secret_key_ref: SecretKeyRef | None = None
    """A key of a Secret in the pool's namespace, read when an instance is made. Kubernetes only."""
    env: OurVariable | None = Field(
        default=None, json_schema_extra=rules(matches(_OURS, _ONLY_OURS))
    )
    """A variable of the controller's own environment; only `INSTANCE_*` may be named."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.secret_key_ref is None) == (self.env is None):
            raise ValueError(_ONE_ORIGIN)
        return self


class EnvVar(Model):
    """One variable of every instance: exactly one of `value` and `valueFrom`."""

    model_config = ConfigDict(
        json_schema_extra=rules(Rule("has(self.value) != has(self.valueFrom)", _ONE_VALUE))
    )

    name: EnvName = Field(json_schema_extra=rules(IS_ENV_NAME, IS_FREE_ENV_NAME))
    """Name of the variable. POOL_*, RAILWAY_*, PORT and SETUP_PASSWORD are reserved."""
    value: Annotated[str, StringConstraints(max_length=32768)] | None = Field(
        default=None, repr=False
    )
    """Its value, in clear; for a secret take `valueFrom`."""
    value_from: ValueFrom | None = None
    """Where its value is read when an instance is made, so that it does not stand here."""

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError(_ONE_VALUE)
        if is_reserved(self.name):
            raise ValueError(f"{self.name} {RESERVED}")
        return self


class Template(Model):
    """What an instance is made of."""

    source: Source
    """Where the agent comes from: exactly one of `repo` and `image`."""
    env: tuple[EnvVar, ...] = Field(
        default=(), max_length=100, json_schema_extra=rules(keyed_by="name")
    )
    """Variables of every instance, each name once, besides those that every pool's instances get."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The port that the agent listens on."""
    healthcheck_path: HealthcheckPath | None = Field(
        default=None, json_schema_extra=rules(matches(_PATH, _FROM_THE_ROOT))
    )
    """A path of the agent that Railway asks before it sends traffic; left out: none."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [e.name for e in self.env]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"env names {', '.join(twice)} more than once")
        return self


class Rollout(Model):
    """How fast a changed template replaces idle instances."""

    max_unavailable: int = Field(default=1, ge=0, le=1000)
    """How far ready idle instances may fall below `minIdle` while a changed template rolls out."""


class PoolRailway(Model):
    """Another project than the controller's settings name; it needs its own token."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("!has(self.tokenFrom)", NOT_YET, at=".tokenFrom", reason="FieldValueForbidden")
        )
    )

    project_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Railway's id of the project; left out: the controller's."""
    environment_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Railway's id of the environment in that project; left out: the controller's."""
    token_from: Annotated[ValueFrom | None, only(None)] = None
    """Where the token of that project is read. Not yet: leave it out."""


# ---------------------------------------------------------------- the pool

FAILED_CLAIM_TTL = timedelta(hours=24)
_RAISE = "maxTotal; raise maxTotal with it"
_NO_MOVE = "is immutable; make another pool"
_SAME_RAILWAY = " && ".join(
    f"({unchanged('railway', field)})" for field in ("projectId", "environmentId")
)
_COUNT: JsonDict = {"minimum": 0}


class PoolSpec(Model):
    """How many warm instances to keep, of what, and how many in all."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("self.minIdle <= self.maxTotal", f"must not exceed {_RAISE}", at=".minIdle"),
            Rule(_SAME_RAILWAY, _NO_MOVE, at=".railway", reason="FieldValueForbidden"),
        )
    )

    min_idle: int = Field(default=3, ge=0, le=10_000)
    """How many instances to keep warm; while claims wait, that many more."""
    max_total: int = Field(default=10, ge=0, le=10_000)
    """Never more services than this, claimed ones and orphans included."""
    template: Template
    """What an instance is made of."""
    name_prefix: NamePrefix = Field(
        default="convos-agent-", json_schema_extra=rules(IS_NAME_PREFIX)
    )
    """What the names of its services begin with; the instance's id follows."""
    provision_timeout: Duration = Field(
        default=timedelta(minutes=15), json_schema_extra=rules(*IS_DURATION)
    )
    """An instance not ready so long after its first deployment is Failed; as `1h30m`, `10m`, `45s`."""
    claim_timeout: Duration = Field(
        default=timedelta(minutes=10), json_schema_extra=rules(*IS_DURATION)
    )
    """A claim not served so long after its creation is Failed, unless it says another `timeout`."""
    failed_claim_ttl: Annotated[Duration, only(FAILED_CLAIM_TTL)] = Field(
        default=FAILED_CLAIM_TTL,
        alias="failedClaimTTL",
        json_schema_extra=rules(*IS_DURATION, STAYS_A_DAY),
    )
    """How long Failed claims are kept. Not yet: only `24h`."""
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """Retain: nothing is deleted. Delete: an unclaimed instance that failed, is surplus or outdated is."""
    rollout: Annotated[Rollout, only(Rollout())] = Field(
        default=Rollout(), json_schema_extra=rules(stays("maxUnavailable", "1"))
    )
    """How a changed template replaces idle instances. Not yet: only the default."""
    paused: bool = False
    """Look, report, bind and provision, but create and delete nothing for the pool's size."""
    railway: PoolRailway | None = None
    """Another Railway project than the controller's. Immutable."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_idle > self.max_total:
            raise ValueError(
                f"minIdle ({self.min_idle}) must not exceed maxTotal ({self.max_total});"
                " raise maxTotal with it"
            )
        return self


class PoolStatus(Model):
    """What was seen at the end of the last pass."""

    observed_generation: int = Field(default=0, json_schema_extra=_COUNT)
    """The metadata.generation that the rest was seen of."""
    provisioning: int = Field(default=0, json_schema_extra=_COUNT)
    """Instances that are being made."""
    idle: int = Field(default=0, json_schema_extra=_COUNT)
    """Instances that are ready and may be claimed."""
    claimed: int = Field(default=0, json_schema_extra=_COUNT)
    """Instances that a claim has."""
    failed: int = Field(default=0, json_schema_extra=_COUNT)
    """Instances that will not become ready by waiting, or may not be offered."""
    total: int = Field(default=0, json_schema_extra=_COUNT)
    """Services that count for `maxTotal`, orphans included."""
    waiting: int = Field(default=0, json_schema_extra=_COUNT)
    """Claims that wait for an instance."""
    outdated: int = Field(default=0, json_schema_extra=_COUNT)
    """Unclaimed instances of an earlier template."""
    selector: str = Field(default="", json_schema_extra=rules(max_length=512))
    """The label selector of its instances, for the scale subresource."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled, ProviderReachable and AtCapacity."""


class AgentPool(Model):
    """How many warm agents to keep, of what, and how many in all."""

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    """Group and version of the kind."""
    kind: Literal["AgentPool"] = "AgentPool"
    """The kind."""
    metadata: Meta
    """Who this record is."""
    spec: PoolSpec
    """How many warm agents to keep, of what, and how many in all."""
    status: PoolStatus = PoolStatus()
    """What was seen at the end of the last pass; written by the controller."""
