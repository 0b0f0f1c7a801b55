"""What the door says: every body that leaves it, as a type, and the answer that carries one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from api.conditions import condition
from api.model import Model
from api.types import AgentClaim, ClaimPhase, OnEmpty

RETRY_AFTER_S = 5
NO_IDLE = "No idle instances available. Try again in a few minutes."  # The seed's service's words.
NO_VERDICT = "Nobody decided about the claim in time, so it was withdrawn. Try again."
NO_POOL = "There is no pool of that name."
WITHDRAWN = "The claim was withdrawn or released before an agent served it. Try again."
UNDER_WAY = "The claim is still under way. Ask again, or read it at the Location."
UNREACHABLE = "The records cannot be reached. Try again."
OTHER_BODY = "This Idempotency-Key was used with another body: agentId, instructions, joinUrl or pool differ."


class Failure(Model):
    """Every answer of 400 and above."""

    error: str


class Served(Model):
    """A Ready claim: the seed's four fields, and the claim's name. `joined` only where it was asked."""

    invite_url: str | None
    qr_data_url: str | None = None
    conversation_id: str | None
    instance_id: str
    joined: bool | None = None
    claim: str


class Queued(Model):
    """A claim that waits. `position`: 1 is the next to be served, 0 is being served already."""

    claim: str
    phase: ClaimPhase
    position: int | None = None


class Shown(Model):
    """A claim as its reader sees it: everything but the instructions."""

    claim: str
    pool: str
    agent_id: str
    phase: ClaimPhase
    on_empty: OnEmpty
    position: int | None = None
    instance_id: str | None = None
    invite_url: str | None = None
    qr_data_url: str | None = None
    conversation_id: str | None = None
    joined: bool | None = None
    reason: str | None = None
    message: str | None = None
    created_at: datetime | None = None
    bound_at: datetime | None = None
    ready_at: datetime | None = None


class ShownClaims(Model):
    """The newest claims first, at most 500."""

    claims: list[Shown]


class Counts(Model):
    """Unclaimed instances by what they are, those claimed, and the claims that wait."""

    provisioning: int
    idle: int
    claimed: int
    failed: int
    waiting: int


class InstanceItem(Model):
    """One instance under the names of the seed's table, and a few of ours beside them."""

    model_config = ConfigDict(alias_generator=None)

    id: str
    railway_service_id: str | None
    railway_url: str | None
    status: str
    claimed_by: str | None
    claimed_at: datetime | None
    invite_url: str | None
    conversation_id: str | None
    created_at: datetime | None
    updated_at: datetime | None
    pool: str
    service_name: str
    claim: str | None
    barred: str | None


class PoolsStatus(Model):
    """Counts, and every instance that is not gone, newest first."""

    counts: Counts
    instances: list[InstanceItem]


class Replenished(Model):
    """The counts after a full look."""

    ok: bool
    counts: Counts


class Healthy(Model):
    ok: bool


Body = Failure | Served | Queued | Shown | ShownClaims | PoolsStatus | Replenished | Healthy


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its body. `claim`: the claim it is about; `located`: it stands, say where."""

    status: int
    body: Body
    claim: str = ""
    retry_after_s: int | None = None
    located: bool = False


def wire(body: Body) -> dict[str, Any]:
    """As JSON-able values. The seed's own fields stay when they are null; ours are left out then."""
    if isinstance(body, Served):
        ours = {name for name in ("qr_data_url", "joined") if getattr(body, name) is None}
        return body.model_dump(mode="json", by_alias=True, exclude=ours)
    return body.model_dump(
        mode="json", by_alias=True, exclude_none=not isinstance(body, PoolsStatus)
    )


def served(claim: AgentClaim) -> Answer:
    """200. On a join the invite is the URL that was joined."""
    status = claim.status
    body = Served(
        invite_url=invite_of(claim),
        conversation_id=status.conversation_id,
        instance_id=status.instance.name if status.instance else "",
        joined=status.joined if claim.spec.join_url else None,
        claim=claim.metadata.name,
    )
    return Answer(200, body, claim.metadata.name)


def failed(claim: AgentClaim) -> Answer:
    """500: it ended, and not with an agent."""
    reason, message = why_failed(claim)
    return Answer(500, Failure(error=message or reason or "The claim failed."), claim.metadata.name)


def try_again(error: str, claim: str = "", *, located: bool = False) -> Answer:
    """503 with Retry-After."""
    return Answer(503, Failure(error=error), claim, RETRY_AFTER_S, located)


def shown(claim: AgentClaim, position: int | None = None) -> Shown:
    """What may be read of a claim."""
    status = claim.status
    reason, message = why_failed(claim) if status.phase is ClaimPhase.FAILED else (None, None)
    return Shown(
        claim=claim.metadata.name,
        pool=claim.spec.pool_ref.name,
        agent_id=claim.spec.agent_id,
        phase=status.phase,
        on_empty=claim.spec.on_empty,
        position=position,
        instance_id=status.instance.name if status.instance else None,
        invite_url=invite_of(claim) if status.phase is ClaimPhase.READY else None,
        conversation_id=status.conversation_id,
        joined=status.joined if claim.spec.join_url else None,
        reason=reason,
        message=message,
        created_at=claim.metadata.creation_timestamp,
        bound_at=status.bound_at,
        ready_at=status.ready_at,
    )


def invite_of(claim: AgentClaim) -> str | None:
    """The agent's invite, or the URL it joined by."""
    return claim.spec.join_url if claim.status.joined else claim.status.invite_url


def why_failed(claim: AgentClaim) -> tuple[str, str]:
    """Reason and message of `Ready`, which every Failed claim carries."""
    ready = condition(claim.status.conditions, "Ready")
    return (ready.reason, ready.message) if ready else ("", "")


def none_idle(claim: AgentClaim) -> bool:
    """It was refused because nobody was idle: no answer, and its key may try again."""
    return claim.status.phase is ClaimPhase.FAILED and why_failed(claim)[0] == "NoneIdle"
