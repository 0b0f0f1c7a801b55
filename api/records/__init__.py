"""Where pools, claims and instances are written down: one port, its errors, and the values it speaks in.

Every write is conditional on what was read. A loser learns `Conflict` (or sees None in a batch) and
looks again; nobody overwrites. Every look returns the store's own `now`: ages and deadlines use only that.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol, TypeVar

from api.conditions import with_condition
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    BoundInstance,
    ClaimPhase,
    ClaimStatus,
    Condition,
    InstancePhase,
    Key,
)

Thing = TypeVar("Thing", AgentPool, AgentClaim, AgentInstance)
KindName = Literal["AgentPool", "AgentClaim", "AgentInstance"]


class RecordsError(Exception):
    """Anything the records refuse or cannot do. Its text never holds a row's content or a secret."""


class Conflict(RecordsError):
    """The record is not as it was read. Look again now; never overwrite."""


class NotFound(RecordsError):
    """No such record (any more). For a delete that is success."""


class AlreadyExists(RecordsError):
    """A record of that kind and key is there. Read it and decide whether it is yours."""


class Invalid(RecordsError):
    """A rule of the kind refuses the write. The text names the field and the mend; do not retry."""


class Unavailable(RecordsError):
    """The store cannot be reached or did not answer; the write may have happened. Look again later."""


class Fate(StrEnum):
    """What a live read says of the claim that an instance's `claim_ref` names."""

    KEPT = "kept"  # The claim (same uid) is there and names this instance.
    MOVED = "moved"  # It is there and names another instance, or none: it never moves back.
    RELEASED = "released"  # Its uid is gone: the claim was released.


@dataclass(frozen=True, slots=True)
class Installation:
    """What the first migration made, once per store."""

    owner_id: str
    instance_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class View:
    """Everything one pass over one pool needs. On Kubernetes it may lag; on rows it is live."""

    now: datetime
    pool: AgentPool | None  # None: deleted; its instances keep what is needed to look.
    claims: tuple[AgentClaim, ...]  # Pending and Bound, oldest first.
    instances: tuple[AgentInstance, ...]  # All of the pool, Gone ones too, oldest first.
    fates: dict[str, Fate]  # By instance name, for each instance with a `claim_ref`.


@dataclass(frozen=True, slots=True)
class Bindable:
    """The light look of the hot path: who waits and who is free, oldest first, at most `limit` each.

    `claims`: Pending and without instance. `idle`: phase Idle, no claim_ref, not barred. `pool`: None where
    there is none.
    """

    now: datetime
    claims: tuple[AgentClaim, ...]
    idle: tuple[AgentInstance, ...]
    pool: AgentPool | None


@dataclass(frozen=True, slots=True)
class Bind:
    """A promise to write down: this claim gets this instance; both as they were read."""

    claim: AgentClaim
    instance: AgentInstance


@dataclass(frozen=True, slots=True)
class Mark:
    """What a hand-over's end says of the instance, written with it: barred, Failed, or both."""

    reason: str  # CamelCase; becomes `status.barred` and the reason of condition Ready=False.
    failed: bool = False  # Also phase Failed, where the phase is not final.


@dataclass(frozen=True, slots=True)
class Outcome:
    """A claim's next status, written only if uid, phase, instance and attempt are still as in `read`."""

    read: AgentClaim
    status: ClaimStatus
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Bell:
    """A doorbell: look at this. It may be lost, doubled or late, and carries no truth.

    kind: `pool`, `claim`, `instance`: that record changed. `look`: somebody asks for a look at this pool
    now (replenish); `looked`: it is done. `resync`: bells may have been lost, look at everything.
    A promise (`bind`) need not ring: who makes it knows, and nobody waits for it.
    """

    kind: Literal["pool", "claim", "instance", "look", "looked", "resync"]
    namespace: str = ""
    name: str = ""
    pool: str = ""  # The pool of a claim or an instance.
    phase: str = (
        ""  # A hint: the claim's or instance's phase after the write; `Deleted` when it is gone.
    )


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act. `version` changes at every write; a lease nobody ever took has holder "" and version 0."""

    name: str
    holder: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling an operator about one record. Never instructions, never a secret."""

    kind: KindName
    key: Key
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Records(Protocol):
    """The store. Implementations: `postgres`, `memory` (two shapes), `kubernetes`.

    Any method may raise Unavailable. After it a write may or may not have happened.
    """

    together: int
    """As many claims as one `create_claims`, `bind` or `settle` should take: it answers once all of them are
    written, and where each is a write of its own, the first would wait for the last, its attempt ageing."""

    # ---- looks
    async def now(self) -> datetime: ...

    async def installation(self) -> Installation: ...

    async def view(self, pool: Key) -> View: ...

    async def bindable(self, pool: Key, limit: int) -> Bindable: ...

    async def pools(self) -> list[AgentPool]:
        """All pools, by key."""
        ...

    async def pool_keys(self) -> list[Key]:
        """The pools there are, and those that open claims or instances not Gone still name."""
        ...

    async def instances(self) -> list[AgentInstance]:
        """Every instance, of all pools, newest first. For observation and the status page."""
        ...

    async def claims(self, keys: Sequence[Key]) -> list[AgentClaim]:
        """Those of these claims that exist: one read for all who wait."""
        ...

    async def list_claims(self, namespace: str, limit: int = 500) -> list[AgentClaim]:
        """Newest first."""
        ...

    async def queue_position(self, claim: AgentClaim) -> int:
        """How many Pending claims of its pool are before it, plus one; 0 when it is not Pending."""
        ...

    async def before(self, instance: AgentInstance) -> int:
        """A live count of those of its pool, not Gone, that have a service or were intended earlier:
        an intent whose place is beyond `maxTotal` must not become a service."""
        ...

    async def pool(self, key: Key) -> AgentPool: ...

    async def claim(self, key: Key) -> AgentClaim: ...

    async def instance(self, key: Key) -> AgentInstance: ...

    async def secret(self, name: Key, key: str) -> str:
        """What a `secretKeyRef` names, read now. Raises NotFound; Invalid where the store has none."""
        ...

    async def fate(self, instance: AgentInstance) -> Fate:
        """A live read, never from a cache: what became of the claim in its `claim_ref` (which is set)."""
        ...

    # ---- what users write
    async def create_pool(self, pool: AgentPool) -> AgentPool:
        """Raises AlreadyExists, Invalid."""
        ...

    async def create_claims(self, claims: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
        """Many at once, in this order; one that is refused (AlreadyExists, Invalid) costs nobody else."""
        ...

    async def replace_pool(self, pool: AgentPool) -> AgentPool:
        """Spec, labels, annotations, over the version read. Raises Conflict, NotFound, Invalid."""
        ...

    async def delete_pool(self, pool: AgentPool) -> None:
        """By uid. Raises NotFound."""
        ...

    async def delete_claim(self, claim: AgentClaim, *, unchanged: bool = False) -> None:
        """By uid: this is the release. `unchanged`: only if still at the version read, else Conflict."""
        ...

    # ---- what the controller writes
    async def bind(self, binds: Sequence[Bind], attempt: Attempt) -> list[Bind]:
        """Write these promises; return those that now hold on both sides, as they stand.

        Each needs: claim with this uid Pending without instance (or, a half bind, Bound to exactly this
        instance which has no claim_ref); instance Idle, not barred, no claim_ref. The rest is left out.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> list[AgentClaim | None]:
        """Write claims' statuses; None where the condition did not hold (look again)."""
        ...

    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        """Insert as many of these intents as fit: under the pool's lock, instances not Gone + `orphans`
        + new <= maxTotal of the live pool record. Returns those on record."""
        ...

    async def tidy(self, pool: Key) -> None:
        """Take back what a writer that died left half written: an intent that was never counted. Where an
        intent is one write there is nothing to take back."""
        ...

    async def write_instances(self, changed: Sequence[AgentInstance]) -> list[AgentInstance | None]:
        """Write statuses, `template_hash` and `key_id`, over the versions that were read; None where
        the record had changed since. Nothing else of the spec is written."""
        ...

    async def write_pool_status(self, pool: AgentPool) -> AgentPool:
        """Over the version read. Raises Conflict, NotFound."""
        ...

    async def delete_instance(self, instance: AgentInstance) -> None:
        """Only a Gone one, at the version read. Raises Conflict, NotFound, Invalid."""
        ...

    async def note(self, events: Sequence[Event]) -> None:
        """Best effort; equal ones within ten minutes are counted, not repeated."""
        ...

    # ---- who may act
    async def lease(self, name: str) -> Lease: ...

    async def write_lease(self, read: Lease, holder: str) -> Lease:
        """Take, renew, or (holder "") give up. Raises Conflict when the lease changed since `read`."""
        ...

    # ---- doorbells
    def bells(self) -> AsyncIterator[Bell]:
        """Rings from now on. Starts with, and after each break repeats, a `resync`. Never ends by itself."""
        ...

    async def ring(self, bell: Bell) -> None:
        """Best effort."""
        ...

    async def close(self) -> None: ...


def bound_status(claim: AgentClaim, instance: AgentInstance, attempt: Attempt) -> ClaimStatus:
    """The status of a claim from the moment it is promised that instance; one rule for all stores."""
    bound = Condition(
        type="Bound",
        status="True",
        reason="InstanceFound",
        last_transition_time=attempt.at,
        observed_generation=claim.metadata.generation,
    )
    named = BoundInstance(name=instance.metadata.name, url=instance.status.url or "")
    return claim.status.model_copy(
        update={
            "phase": ClaimPhase.BOUND,
            "instance": named,
            "attempt": attempt,
            "bound_at": attempt.at,
            "conditions": with_condition(claim.status.conditions, bound),
        }
    )


def marked(instance: AgentInstance, mark: Mark, now: datetime) -> AgentInstance:
    """The instance as a hand-over's end leaves it; one rule for all stores."""
    status = instance.status
    ready = Condition(
        type="Ready",
        status="False",
        reason=mark.reason,
        last_transition_time=now,
        observed_generation=instance.metadata.generation,
    )
    final = status.phase in (InstancePhase.RETIRING, InstancePhase.GONE)
    changes = {
        "barred": mark.reason,
        "phase": InstancePhase.FAILED if mark.failed and not final else status.phase,
        "conditions": with_condition(status.conditions, ready),
    }
    return instance.model_copy(update={"status": status.model_copy(update=changes)})
