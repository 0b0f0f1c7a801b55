"""The kind AgentClaim: somebody's wish for one agent, and what has become of it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from api.model import Model, Rule, rules, unchanged
from api.parts import API_VERSION, Conditions, LocalRef, Meta, ReclaimPolicy
from api.scalars import (
    IS_DURATION,
    IS_HTTPS_URL,
    IS_INSTRUCTIONS,
    IS_ONE_LINE,
    NAME_MAX,
    URL_MAX,
    AgentId,
    Duration,
    HttpsUrl,
    Instructions,
)

DEFAULT_POOL = "default"
_NO_CHANGE = "is immutable; delete the claim and make another"


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

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                Rule(unchanged(field), _NO_CHANGE, f".{field}", "FieldValueForbidden")
                for field in (
                    "poolRef",
                    "agentId",
                    "instructions",
                    "joinUrl",
                    "timeout",
                    "onEmpty",
                    "reclaimPolicy",
                )
            ),
        )
    )

    pool_ref: LocalRef = LocalRef(name=DEFAULT_POOL)
    """The pool to claim from, of the same namespace; left out: `default`."""
    agent_id: AgentId = Field(json_schema_extra=rules(*IS_ONE_LINE))
    """Name of the agent, on one line."""
    instructions: Instructions = Field(repr=False, json_schema_extra=rules(*IS_INSTRUCTIONS))
    """What the agent is told: at most 100 KiB of UTF-8, no control characters."""
    join_url: HttpsUrl | None = Field(
        default=None, repr=False, json_schema_extra=rules(IS_HTTPS_URL)
    )
    """Join this conversation instead of opening one: an https:// URL."""
    timeout: Duration | None = Field(default=None, json_schema_extra=rules(*IS_DURATION))
    """The claim is Failed if not served so long after its creation; left out: the pool's claimTimeout."""
    on_empty: OnEmpty = OnEmpty.WAIT
    """What to do while nobody is idle: Wait for the next one, or Fail."""
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """What becomes of the service when the claim is deleted: Retain or Delete."""


class BoundInstance(Model):
    """The instance that a claim names."""

    name: str = Field(json_schema_extra=rules(max_length=NAME_MAX))
    """Its name."""
    url: str = Field(default="", json_schema_extra=rules(max_length=URL_MAX))
    """Where its agent answers."""


class Attempt(Model):
    """Who may speak to the bound agent: one process, since when (store time)."""

    by: str = Field(json_schema_extra=rules(max_length=512))
    """The process."""
    at: datetime
    """Since when, by the store's clock."""


class ClaimStatus(Model):
    """How far the claim has come."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self == oldSelf || !(oldSelf.phase in ['Ready', 'Failed'])",
                "a claim that ended does not change; delete it to release it",
                at=".phase",
                reason="FieldValueForbidden",
            ),
            Rule(
                "self.phase != 'Bound' || has(self.instance)",
                "must be named while phase is Bound",
                at=".instance",
                reason="FieldValueRequired",
            ),
        )
    )

    phase: ClaimPhase = ClaimPhase.PENDING
    """Pending, Bound (an instance is promised), Ready (it serves) or Failed; the last two are final."""
    instance: BoundInstance | None = None
    """The instance that is promised or serves."""
    attempt: Attempt | None = None
    """Who may speak to the bound agent now."""
    invite_url: str | None = Field(
        default=None, repr=False, json_schema_extra=rules(max_length=URL_MAX)
    )
    """How a person gets into the conversation."""
    conversation_id: str | None = Field(default=None, json_schema_extra=rules(max_length=1024))
    """The conversation that the agent serves."""
    joined: bool | None = None
    """Whether it joined the conversation of `joinUrl` instead of opening one."""
    bound_at: datetime | None = None
    """When an instance was promised."""
    ready_at: datetime | None = None
    """When the agent served."""
    conditions: Conditions = ()
    """Bound, Provisioned and Ready; Stalled where it Failed."""


class AgentClaim(Model):
    """Somebody's wish for one agent with these instructions."""

    api_version: Literal["pool.convos.org/v1alpha1"] = API_VERSION
    """Group and version of the kind."""
    kind: Literal["AgentClaim"] = "AgentClaim"
    """The kind."""
    metadata: Meta
    """Who this record is."""
    spec: ClaimSpec
    """What is wished for. Immutable: another wish is another claim."""
    status: ClaimStatus = ClaimStatus()
    """How far the claim has come; written by the controller."""

    @property
    def ended(self) -> bool:
        return self.status.phase in (ClaimPhase.READY, ClaimPhase.FAILED)
