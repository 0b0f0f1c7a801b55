"""Records on Kubernetes: custom resources, each write conditional on the version that was read.

Looks come from a cache that watches fill; own writes are in it at once. A bind is two writes, the claim's
status and then the instance's set-once claimRef: between them anybody may die, and nobody acts on the half.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from api.kubernetes.client import Json
from api.kubernetes.config import Cluster
from api.kubernetes.reflector import Feed, reflect
from api.records import (
    AlreadyExists,
    Bell,
    Bind,
    Conflict,
    Event,
    Invalid,
    Lease,
    NotFound,
    Outcome,
    RecordsError,
    Thing,
    bound_status,
    marked,
)
from api.records import kubernetes_leases as leases
from api.records.kubernetes_cache import LOOK, LOOKED
from api.records.kubernetes_events import Recorder
from api.records.kubernetes_looks import KubernetesLooks
from api.records.kubernetes_objects import (
    PLURALS,
    difference,
    object_path,
    over,
    path_of,
    unowned,
    written,
)
from api.records.memory_tables import (
    UNCOUNTED,
    counted,
    may_become,
    obeys_its_kind,
    offerable,
    promisable,
    serves,
)
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    ClaimPhase,
    ClaimRef,
    ClaimStatus,
    InstancePhase,
    Key,
    Kind,
    key_of,
    pool_key,
)

Result = TypeVar("Result")

ABANDONED = timedelta(minutes=1)  # Between an intent and its count lie a few round trips.
TRIES = 5  # Of a write whose condition still holds though the version moved.


class KubernetesRecords(KubernetesLooks):
    """One process's `Records` on one API server. `me`: how its events call it."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        scope: str | None,
        home: str,
        me: str = "",
        feed: Feed = reflect,
    ) -> None:
        super().__init__(cluster, scope=scope, home=home, feed=feed)
        self.recorder = Recorder(self.api, me or f"agent-pool-{secrets.token_hex(4)}", self.clock)

    # ---- how it writes

    async def _create(self, thing: Thing) -> Thing:
        path = path_of(PLURALS[thing.kind], thing.metadata.namespace)
        return self.took(type(thing), await self.api.create(path, written(thing)))

    async def _patch(self, read: Thing, body: Json, part: str = "") -> Thing:
        """Over the version that was read. Raises Conflict, NotFound, Invalid."""
        answer = await self.api.merge(object_path(read, part), over(read, body))
        return self.took(type(read), answer)

    async def _patch_status(self, read: Thing, new: Thing) -> Thing:
        body = difference(read.status.wire(), new.status.wire())
        return await self._patch(read, {"status": body}, "status") if body else read

    async def _promise(self, claim: AgentClaim, status: ClaimStatus) -> AgentClaim:
        """The claim Bound. Who applies it server-side keeps what the server knows of its fields."""
        body: Json = {"status": difference(claim.status.wire(), status.wire())}
        if claim.metadata.uid not in self.cache.applied:
            body = unowned(body)
        return await self._patch(claim, body, "status")

    async def _delete(self, thing: Kind, *, unchanged: bool) -> None:
        version = thing.metadata.resource_version if unchanged else ""
        try:
            await self.api.delete(object_path(thing), thing.metadata.uid, version)
        except Conflict:
            if unchanged and (await self._is_still(thing)):
                raise
            raise NotFound(f"{key_of(thing)} is another one now") from None
        self.cache.deleted(thing)

    async def _is_still(self, thing: Kind) -> bool:
        """Whether the record of that name is that very one. Raises NotFound."""
        live = await self.api.get(object_path(thing))
        return bool(live["metadata"]["uid"] == thing.metadata.uid)

    async def _known(self, read: Thing) -> Thing | None:
        """The record at the version that was read; None where it is known to have moved on."""
        known = self.cache.tables.by_kind[read.kind].get(key_of(read))
        if known is None:
            with suppress(NotFound):
                known = await self.read(type(read), key_of(read))
        mine = read.metadata
        if known is None or known.metadata.uid != mine.uid:
            return None
        return known if known.metadata.resource_version == mine.resource_version else None

    async def _all(self, writes: Iterable[Awaitable[Result]]) -> list[Result]:
        """All of them, each for itself; then the first error that any of them met."""
        tasks = [asyncio.ensure_future(write) for write in writes]
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        return [task.result() for task in tasks]

    # ---- what users write
    async def create_pool(self, pool: AgentPool) -> AgentPool:
        obeys_its_kind(pool)
        return await self._create(pool)

    async def create_claims(self, claims: Sequence[AgentClaim]) -> list[AgentClaim | RecordsError]:
        return await self._all(map(self._create_claim, claims))

    async def _create_claim(self, claim: AgentClaim) -> AgentClaim | RecordsError:
        try:
            obeys_its_kind(claim)
            return await self._create(claim)
        except (AlreadyExists, Invalid) as refused:
            return refused

    async def replace_pool(self, pool: AgentPool) -> AgentPool:
        obeys_its_kind(pool)
        live = await self.read(AgentPool, key_of(pool))
        if live.metadata.uid != pool.metadata.uid:
            raise NotFound(f"{key_of(pool)} is another one now")
        if live.metadata.resource_version != pool.metadata.resource_version:
            raise Conflict(f"{key_of(pool)} has changed")
        notes = [
            {"labels": dict(p.metadata.labels), "annotations": dict(p.metadata.annotations)}
            for p in (live, pool)
        ]
        body = {
            "metadata": difference(*notes),
            "spec": difference(live.spec.wire(), pool.spec.wire()),
        }
        return await self._patch(live, body) if any(body.values()) else live

    async def delete_pool(self, pool: AgentPool) -> None:
        await self._delete(pool, unchanged=False)

    async def delete_claim(self, claim: AgentClaim, *, unchanged: bool = False) -> None:
        await self._delete(claim, unchanged=unchanged)

    # ---- what the controller writes
    async def bind(self, binds: Sequence[Bind], attempt: Attempt) -> list[Bind]:
        made = await self._all(self._bind(bind, attempt) for bind in binds)
        return [bind for bind in made if bind is not None]

    async def _bind(self, bind: Bind, attempt: Attempt) -> Bind | None:
        """The claim's side, then the instance's.

        A half bind is completed by the instance's side alone and keeps its attempt. Then the claim is read
        once more: what was read of a half bind's may be old, and any may have been released meanwhile.
        """
        claim, instance = bind.claim, bind.instance
        if not (promisable(claim, instance) and offerable(instance)):
            return None
        try:
            if claim.status.phase is ClaimPhase.PENDING:
                claim = await self._promise(claim, bound_status(claim, instance, attempt))
            ref = ClaimRef(
                name=claim.metadata.name,
                uid=claim.metadata.uid,
                reclaim_policy=claim.spec.reclaim_policy,
            )
            instance = await self._patch(instance, {"spec": {"claimRef": ref.wire()}})
            claim = await self.read(AgentClaim, key_of(claim))
        except (Conflict, NotFound, Invalid):
            return None
        agreed = serves(instance, claim) and promisable(claim, instance)
        return Bind(claim, instance) if agreed else None

    async def settle(self, outcomes: Sequence[Outcome]) -> list[AgentClaim | None]:
        return await self._all(map(self._settle, outcomes))

    async def _settle(self, outcome: Outcome) -> AgentClaim | None:
        settled = await self._settle_claim(outcome)
        if settled is not None and outcome.mark is not None:
            await self._mark(outcome)
        return settled

    async def _settle_claim(self, outcome: Outcome) -> AgentClaim | None:
        """None where its condition does not hold, or a rule refuses."""
        now: AgentClaim = outcome.read
        try:
            for _ in range(TRIES):
                if outcome.status == now.status:
                    live = await self.read(AgentClaim, key_of(now))
                    return live if _unsettled(live, outcome.read) else None
                try:
                    new = now.model_copy(update={"status": outcome.status})
                    return await self._patch_status(now, new)
                except Conflict:  # Perhaps of its labels alone.
                    now = await self.read(AgentClaim, key_of(now))
                    if now.ended or not _unsettled(now, outcome.read):
                        same = _unsettled(now, outcome.read) and now.status == outcome.status
                        return now if same else None
        except (NotFound, Invalid):
            return None
        return None

    async def _mark(self, outcome: Outcome) -> None:
        """The instance's side of an outcome: only of one that serves the claim."""
        named = outcome.read.status.instance
        if outcome.mark is None or named is None:
            return
        key = Key(outcome.read.metadata.namespace, named.name)
        instance = self.cache.tables.instances.get(key)
        for _ in range(TRIES):
            try:
                instance = instance or await self.read(AgentInstance, key)
                if serves(instance, outcome.read):
                    await self._patch_status(instance, marked(instance, outcome.mark, self.clock()))
                return
            except Conflict:
                instance = None
            except NotFound:
                return

    async def intend(
        self, pool: AgentPool, instances: Sequence[AgentInstance], orphans: int
    ) -> list[AgentInstance]:
        """Write them, count, and keep those that fit: of two who write at once both may give way.

        Until it is counted nobody sees it: another process would create its service.
        """
        tried = [
            i.model_copy(
                update={
                    "metadata": i.metadata.model_copy(update={"annotations": {UNCOUNTED: "true"}})
                }
            )
            for i in instances
        ]
        made = [i for i in await self._all(map(self._intent, tried)) if i is not None]
        try:
            over_by = -await self._room(pool, orphans)
        except NotFound:
            over_by = len(made)
        fitting = made[: max(0, len(made) - max(0, over_by))]
        await self._all(map(self._undo, made[len(fitting) :]))
        kept = await self._all(map(self._count, fitting))
        return [i for i in kept if i is not None]

    async def _intent(self, intent: AgentInstance) -> AgentInstance | None:
        try:
            return await self._create(intent)
        except AlreadyExists:
            return None

    async def _room(self, pool: AgentPool, orphans: int) -> int:
        """How many more instances the live pool may have. Raises NotFound where it was deleted."""
        live = await self.read(AgentPool, key_of(pool))
        if live.metadata.uid != pool.metadata.uid:
            raise NotFound(f"{key_of(pool)} is another one now")
        there = (await self.live_instances(key_of(pool))).instances.values()
        living = sum(i.status.phase is not InstancePhase.GONE for i in there)
        return live.spec.max_total - living - orphans

    async def _count(self, intent: AgentInstance) -> AgentInstance | None:
        try:
            counts = {"metadata": {"annotations": {UNCOUNTED: None}}}
            return await self._patch(intent, unowned(counts))
        except (Conflict, NotFound):
            return None

    async def _undo(self, made: AgentInstance) -> None:
        with suppress(Conflict, NotFound):  # Somebody else was quicker.
            await self._delete(made, unchanged=True)

    async def tidy(self, pool: Key) -> None:
        now, seen = self.clock(), (await self.look()).instances.values()
        left = [
            i
            for i in seen
            if pool_key(i) == pool
            and not counted(i)
            and now - (i.metadata.creation_timestamp or now) > ABANDONED
        ]
        await self._all(map(self._undo, left))

    async def write_instances(self, changed: Sequence[AgentInstance]) -> list[AgentInstance | None]:
        return await self._all(map(self._write_instance, changed))

    async def _write_instance(self, changed: AgentInstance) -> AgentInstance | None:
        now = await self._known(changed)
        if now is None:
            return None
        made_of = {"template_hash": changed.spec.template_hash, "key_id": changed.spec.key_id}
        spec = now.spec.model_copy(update=made_of)
        being_made = now.status.phase is InstancePhase.PROVISIONING
        if not may_become(now.status.phase, changed.status.phase) or not (
            being_made or spec == now.spec
        ):
            return None
        try:
            if body := difference(now.spec.wire(), spec.wire()):
                now = await self._patch(now, {"spec": body})
            return await self._patch_status(now, changed)
        except (Conflict, NotFound):
            return None

    async def write_pool_status(self, pool: AgentPool) -> AgentPool:
        now = await self._known(pool)
        if now is None:
            raise Conflict(f"{key_of(pool)} has changed")
        return await self._patch_status(now, pool)

    async def delete_instance(self, instance: AgentInstance) -> None:
        if instance.status.phase is not InstancePhase.GONE:
            raise Invalid("status.phase: only an instance that is Gone may be deleted")
        await self._delete(instance, unchanged=True)

    async def note(self, events: Sequence[Event]) -> None:
        await self.now()
        await self.recorder.note(events)

    # ---- who may act
    async def write_lease(self, read: Lease, holder: str) -> Lease:
        await self.now()
        return await leases.write(self.api, self.home, read, holder, self.clock())

    # ---- doorbells
    async def ring(self, bell: Bell) -> None:
        """`look` and `looked` are annotations of the pool; whatever else changed, its record rings."""
        name = {"look": LOOK, "looked": LOOKED}.get(bell.kind)
        if name is None:
            return
        path = path_of("agentpools", bell.namespace, bell.name)
        body = {"metadata": {"annotations": {name: secrets.token_hex(8)}}}
        with suppress(RecordsError):
            self.took(AgentPool, await self.api.merge(path, body))


def _unsettled(now: AgentClaim, read: AgentClaim) -> bool:
    """Whether uid, phase, instance and attempt are still as in `read`."""
    mine, yours = now.status, read.status
    return (
        now.metadata.uid == read.metadata.uid
        and mine.phase is yours.phase
        and mine.instance == yours.instance
        and mine.attempt == yours.attempt
    )
