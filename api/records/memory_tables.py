"""What memory records look at: records by key, every look at them, and the conditions their writes need."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from api.records import Bindable, Fate, Invalid, KindName, NotFound, Thing, View
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    InstancePhase,
    Key,
    Kind,
    key_of,
    oldest_first,
    pool_key,
)

# Two writes: an intent bears this until it is counted. It takes up room, and nobody acts on it.
UNCOUNTED = "pool.convos.org/uncounted"
FINAL = {InstancePhase.RETIRING: {InstancePhase.GONE}, InstancePhase.GONE: set[InstancePhase]()}


# ---------------------------------------------------------------- conditions of the writes


def offerable(instance: AgentInstance) -> bool:
    """Idle, not barred, and nobody's."""
    return (
        instance.status.phase is InstancePhase.IDLE
        and instance.status.barred is None
        and instance.spec.claim_ref is None
    )


def counted(instance: AgentInstance) -> bool:
    """Not an intent of which nobody knows yet whether it fits."""
    return UNCOUNTED not in instance.metadata.annotations


def promisable(claim: AgentClaim, instance: AgentInstance) -> bool:
    """Pending without instance, or a half bind: already Bound to exactly this one."""
    named = claim.status.instance
    if named is None:
        return claim.status.phase is ClaimPhase.PENDING
    return claim.status.phase is ClaimPhase.BOUND and named.name == instance.metadata.name


def serves(instance: AgentInstance, claim: AgentClaim) -> bool:
    """Whether the instance's own side says that it is this claim's."""
    ref = instance.spec.claim_ref
    return ref is not None and ref.uid == claim.metadata.uid


def may_become(now: InstancePhase, then: InstancePhase) -> bool:
    """Retiring ends in Gone, Gone in nothing."""
    return now is then or then in FINAL.get(now, {then})


def obeys_its_kind(thing: Kind) -> None:
    """The kind's own rules, once more: `model_copy` made a value past them. Raises Invalid."""
    try:
        type(thing).model_validate_json(thing.model_dump_json(by_alias=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{where}: {first['msg']}") from None
    except PydanticSerializationError:
        raise Invalid(f"{thing.kind} {key_of(thing)}: must be valid Unicode") from None


# ---------------------------------------------------------------- what a look reads


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the record as it stands after it, None when it was deleted."""

    kind: KindName
    key: Key
    thing: Kind | None


def found(table: Mapping[Key, Thing], key: Key) -> Thing:
    """The record of that key. Raises NotFound."""
    thing = table.get(key)
    if thing is None:
        raise NotFound(f"{key} does not exist")
    return thing


class Tables:
    """Records by key, and every look at them: the store's truth, or what one client has seen of it."""

    def __init__(self) -> None:
        self.pools: dict[Key, AgentPool] = {}
        self.claims: dict[Key, AgentClaim] = {}
        self.instances: dict[Key, AgentInstance] = {}
        self._open: dict[Key, AgentClaim] = {}  # Those that have not ended.
        self.by_kind: dict[KindName, dict[Key, Any]] = {
            "AgentPool": self.pools,
            "AgentClaim": self.claims,
            "AgentInstance": self.instances,
        }

    def apply(self, change: Change) -> None:
        table = self.by_kind[change.kind]
        if change.thing is None:
            table.pop(change.key, None)
        else:
            table[change.key] = change.thing
        if isinstance(change.thing, AgentClaim) and not change.thing.ended:
            self._open[change.key] = change.thing
        elif change.kind == "AgentClaim":
            self._open.pop(change.key, None)

    def view(self, pool: Key, now: datetime) -> View:
        instances = self.of_pool(pool)
        return View(
            now=now,
            pool=self.pools.get(pool),
            claims=self.open_claims(pool),
            instances=instances,
            fates={i.metadata.name: self.fate(i) for i in instances if i.spec.claim_ref},
        )

    def bindable(self, pool: Key, limit: int, now: datetime) -> Bindable:
        waiting = [c for c in self.open_claims(pool) if c.status.phase is ClaimPhase.PENDING]
        free = [i for i in self.of_pool(pool) if offerable(i)]
        nobodys = [c for c in waiting if c.status.instance is None]
        return Bindable(
            now=now,
            claims=tuple(nobodys[:limit]),
            idle=tuple(free[:limit]),
            pool=self.pools.get(pool),
        )

    def of_pool(self, pool: Key) -> tuple[AgentInstance, ...]:
        mine = [i for i in self.instances.values() if pool_key(i) == pool and counted(i)]
        return tuple(sorted(mine, key=oldest_first))

    def open_claims(self, pool: Key) -> tuple[AgentClaim, ...]:
        mine = [c for c in self._open.values() if pool_key(c) == pool]
        return tuple(sorted(mine, key=oldest_first))

    def fate(self, instance: AgentInstance) -> Fate:
        ref = instance.spec.claim_ref
        if ref is None:
            raise ValueError("fate is asked of instances with a claim_ref only")
        claim = self.claims.get(Key(instance.metadata.namespace, ref.name))
        if claim is None or claim.metadata.uid != ref.uid:
            return Fate.RELEASED
        named = claim.status.instance
        return Fate.KEPT if named and named.name == instance.metadata.name else Fate.MOVED

    def pool_keys(self) -> list[Key]:
        keys = set(self.pools)
        keys.update(map(pool_key, self._open.values()))
        counts = filter(counted, self.instances.values())
        living = (i for i in counts if i.status.phase is not InstancePhase.GONE)
        return sorted(keys.union(pool_key(i) for i in living))

    def before(self, instance: AgentInstance) -> int:
        others = (i for i in self.instances.values() if pool_key(i) == pool_key(instance))
        alive = (i for i in others if i.status.phase is not InstancePhase.GONE)
        mine = oldest_first(instance)
        return sum(
            i.metadata.uid != instance.metadata.uid
            and (i.status.service_id is not None or oldest_first(i) < mine)
            for i in alive
        )

    def queue_position(self, claim: AgentClaim) -> int:
        waiting = (
            c for c in self.open_claims(pool_key(claim)) if c.status.phase is ClaimPhase.PENDING
        )
        uids = [c.metadata.uid for c in waiting]
        return uids.index(claim.metadata.uid) + 1 if claim.metadata.uid in uids else 0
