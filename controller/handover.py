"""One claim and the agent it was promised: what was said so far, and what to do next. Pure.

    decide(claim, talk, now, mono, rules) -> Step

An agent that may have heard is never given to anybody else, and never told twice at once. Only the
process in `attempt.by` tells; after silence, and anybody else always, only asks. To tell again,
somebody first takes the attempt over, not before `handover_timeout_s` of its own clock have passed
since it first saw the old one.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from api.conditions import with_condition
from api.records import Mark
from api.types import (
    AgentClaim,
    AgentInstance,
    Attempt,
    ClaimPhase,
    ClaimStatus,
    Condition,
)
from controller.agents import Heard, Reply, Status
from controller.sizing import failed_claim

NOT_READY_FOR_S = 60.0  # A 503 of the agent: again for this long, then another instance.
TRIES_OF_500 = 3
AGAIN_AFTER_S = 2.0  # Between two tellings, and between two questions.
ADMISSION_EVERY_S = 10.0  # A group's admin is a person: 202 is asked again this often.
# A call begins only while its attempt is this young (half of it, where it is short), so that an agent which
# handles it in less than the rest has answered before anybody may tell it again, also when we hang up.
FRESH_FOR_S = 5.0
A_MOMENT = timedelta(microseconds=1)  # What every store tells apart.
LONG_AGO = float("-inf")  # When an attempt began that must be renewed before its first call.


@dataclass(frozen=True, slots=True)
class Talk:
    """What this process knows of one attempt. Lost with the process; everything still holds then."""

    by: str  # Whose attempt it is.
    since: float  # When we began to write it, or first saw another's (our monotonic clock).
    bound_here: bool = False  # This process wrote the bind; nobody can have told before.
    told: int = 0  # POSTs of this process under this attempt.
    errors: int = 0  # Of these, answered 500.
    silent: bool = False  # A POST of this attempt may still be at work.
    not_ready_since: float | None = None
    reply: Reply | None = None  # The answer to the last POST, until it is acted on.
    status: Status | None = None  # The answer to the last question.
    next_at: float = 0.0  # Nothing before this (monotonic).

    def heard(self, reply: Reply, mono: float) -> "Talk":
        """After a POST: count what it said."""
        not_ready = reply.heard is Heard.NOT_READY
        return replace(
            self,
            told=self.told + 1,
            errors=self.errors + (reply.heard is Heard.FAILED),
            silent=self.silent or reply.heard is Heard.SILENT,
            not_ready_since=self._not_ready_since(mono) if not_ready else None,
            reply=reply,
            next_at=mono + (ADMISSION_EVERY_S if reply.heard is Heard.WAITING else AGAIN_AFTER_S),
        )

    def _not_ready_since(self, mono: float) -> float:
        return mono if self.not_ready_since is None else self.not_ready_since

    def taken(self, me: str, since: float) -> "Talk":
        """This process wrote itself into the attempt, not before `since`: it alone tells for so long."""
        untold = (
            self.bound_here and self.told == 0
        )  # Renewed before its first call: still the binder.
        return replace(
            self, by=me, since=since, bound_here=untold, silent=False, reply=None, status=None
        )

    def asked(self, status: Status, mono: float) -> "Talk":
        """After a question."""
        return replace(self, status=status, next_at=mono + AGAIN_AFTER_S)


@dataclass(frozen=True, slots=True)
class Tell:
    """POST the instructions."""


@dataclass(frozen=True, slots=True)
class Ask:
    """GET the status."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing until then (seconds)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Write:
    """The claim's next status, with what becomes of the instance."""

    status: ClaimStatus
    mark: Mark | None = None


Step = Tell | Ask | Wait | Write


@dataclass(frozen=True, slots=True)
class Rules:
    """Who decides, and how long an attempt is respected."""

    me: str
    handover_timeout_s: float


def agree(claim: AgentClaim, instance: AgentInstance | None) -> bool:
    """Whether both sides of a bind hold: the only state in which an agent is spoken to."""
    named = claim.status.instance
    if instance is None or named is None or named.name != instance.metadata.name:
        return False
    ref = instance.spec.claim_ref
    return ref is not None and ref.uid == claim.metadata.uid


def decide(
    claim: AgentClaim, talk: Talk, deadline: datetime, now: datetime, mono: float, rules: Rules
) -> Step:
    """The next step for a Bound claim. `now` is the store's, `mono` this process's."""
    if (end := _answered(claim, talk, now)) is not None:
        return end
    mine = talk.by == rules.me and not talk.silent
    expired = mono - talk.since >= rules.handover_timeout_s
    if mine and now >= deadline:
        return _out_of_time(claim, now)
    if mono < talk.next_at:
        return Wait(talk.next_at - mono)
    if mine:
        return _again(claim, talk, now, mono, rules)
    return _after_silence(claim, talk, now, rules) if expired else Ask()


def _answered(claim: AgentClaim, talk: Talk, now: datetime) -> Write | None:
    """Ends that the last answer decides at once."""
    if talk.status is not None and talk.status.reached and talk.status.provisioned:
        return _ready(claim, talk.status.conversation_id, talk.status.invite_url, now)
    if (reply := talk.reply) is None:
        return None
    match reply.heard:
        case Heard.DONE:
            return _ready(claim, reply.conversation_id, reply.invite_url, now)
        case Heard.ALREADY if talk.bound_here and talk.told == 1:
            return _let_go(claim, "UsedByStranger", now)
        case Heard.ALREADY:
            return _ready(claim, reply.conversation_id, reply.invite_url, now)
        case Heard.WRONG_KEY if not talk.silent:
            return _let_go(claim, "WrongKey", now, failed=True)
        case Heard.UNREACHED if not talk.silent:
            return _let_go(claim, "Unreached", now, failed=True)
        case Heard.BAD_REQUEST:
            status = failed_claim(claim, "AgentRefused", "the agent refused the instructions", now)
            return Write(status)
        case Heard.FAILED if talk.errors >= TRIES_OF_500:
            return _let_go(claim, "ProvisionFailed", now)
    return None


def time_to_tell_s(talk: Talk, mono: float, rules: Rules) -> float:
    """How long a call may stay open: others respect the attempt so long, and not longer."""
    return talk.since + rules.handover_timeout_s - mono


def is_fresh(talk: Talk, mono: float, rules: Rules) -> bool:
    """Whether a call may still begin under this attempt."""
    return mono - talk.since <= min(FRESH_FOR_S, rules.handover_timeout_s / 2)


def _again(claim: AgentClaim, talk: Talk, now: datetime, mono: float, rules: Rules) -> Step:
    """Our attempt, no call open, nothing decided: tell, unless it was not ready for too long.

    An attempt that is not fresh is renewed first, so that our call ends before anybody else's begins.
    """
    waited = mono - talk.not_ready_since if talk.not_ready_since is not None else 0.0
    if waited >= NOT_READY_FOR_S:
        return _let_go(claim, "NotReady", now, failed=True)
    return Tell() if is_fresh(talk, mono, rules) else _take(claim, now, rules)


def _take(claim: AgentClaim, now: datetime, rules: Rules) -> Write:
    """An attempt of its own, later than the old one whatever the store's clock says: others respect each for
    so long since they first saw it, and one that looks like the old one would be no renewal."""
    old = claim.status.attempt
    attempt = Attempt(by=rules.me, at=max(now, old.at + A_MOMENT) if old else now)
    return Write(claim.status.model_copy(update={"attempt": attempt}))


def _after_silence(claim: AgentClaim, talk: Talk, now: datetime, rules: Rules) -> Step:
    """The old attempt has had its time. Silent still: another instance; else take it over."""
    if talk.status is None:
        return Ask()
    if not talk.status.reached:
        return _let_go(claim, "Silent", now)
    return _take(claim, now, rules)


def _out_of_time(claim: AgentClaim, now: datetime) -> Write:
    status = failed_claim(claim, "TimedOut", "the agent did not take it in time", now)
    return Write(status, Mark("ClaimTimedOut"))


def _let_go(claim: AgentClaim, reason: str, now: datetime, *, failed: bool = False) -> Write:
    """Back to Pending, to be bound anew; the instance keeps its claimRef and is barred for ever."""
    return Write(unbound(claim, reason, now), Mark(reason, failed))


def unbound(claim: AgentClaim, reason: str, now: datetime) -> ClaimStatus:
    """Pending again, at its old place in the queue."""
    no_longer = Condition(
        type="Bound",
        status="False",
        reason=reason,
        last_transition_time=now,
        observed_generation=claim.metadata.generation,
    )
    return claim.status.model_copy(
        update={
            "phase": ClaimPhase.PENDING,
            "instance": None,
            "attempt": None,
            "bound_at": None,
            "conditions": with_condition(claim.status.conditions, no_longer),
        }
    )


def _ready(
    claim: AgentClaim, conversation_id: str | None, invite_url: str | None, now: datetime
) -> Write | None:
    """Ready with the conversation that the agent serves; None when it did not name one."""
    if conversation_id is None:
        return None
    conditions = claim.status.conditions
    for kind, reason in (("Provisioned", "AgentAnswered"), ("Ready", "AgentServes")):
        new = Condition(
            type=kind,
            status="True",
            reason=reason,
            last_transition_time=now,
            observed_generation=claim.metadata.generation,
        )
        conditions = with_condition(conditions, new)
    joins = claim.spec.join_url is not None
    update = {
        "phase": ClaimPhase.READY,
        "invite_url": claim.spec.join_url if joins else invite_url,
        "conversation_id": conversation_id,
        "joined": joins,
        "ready_at": now,
        "conditions": conditions,
    }
    return Write(claim.status.model_copy(update=update))
