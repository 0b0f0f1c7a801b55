"""What one process sees of pools, claims and instances on Kubernetes: every look, cached or live."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from api.batching import Batcher
from api.kubernetes.client import Api, Json
from api.kubernetes.config import Cluster
from api.kubernetes.reflector import Feed, reflect
from api.records import (
    Bell,
    Bindable,
    Fate,
    Installation,
    Invalid,
    Lease,
    NotFound,
    Thing,
    Unavailable,
    View,
)
from api.records import kubernetes_leases as leases
from api.records.kubernetes_cache import Cache
from api.records.kubernetes_objects import CLASSES, PLURALS, parse, path_of
from api.records.memory_bells import Door
from api.records.memory_tables import Change, Tables, counted
from api.types import AgentClaim, AgentInstance, AgentPool, Key, key_of, oldest_first, pool_key

TOGETHER = 16  # More at a time are no more in a second (facts/kubernetes.md 8), only later each.


class KubernetesLooks:
    """What one process sees of one API server: watches fill a cache, and live reads go past it.

    `scope`: the namespace it looks at, None for all; `home`: where leases and the installation's Secret are.
    """

    together = TOGETHER

    def __init__(
        self, cluster: Cluster, *, scope: str | None, home: str, feed: Feed = reflect
    ) -> None:
        self.api = Api(cluster)
        self.cache = Cache()
        self.scope = scope
        self.home = home
        self._feed = feed
        self._following: asyncio.Task[None] | None = None
        self._places = Batcher(self._before_each)

    # ---- how it looks

    async def look(self) -> Tables:
        """What the watches have seen; they begin with the first look."""
        self._follow()
        await self.cache.listed()
        return self.cache.tables

    def _follow(self) -> None:
        if self._following is None or self._following.done():
            self._following = asyncio.ensure_future(
                self._feed(self.api, {p: path_of(p, self.scope) for p in CLASSES}, self.cache)
            )

    async def read(self, cls: type[Thing], key: Key) -> Thing:
        """Live. Raises NotFound."""
        plural = PLURALS[cls.model_fields["kind"].default]
        return self.took(cls, await self.api.get(path_of(plural, key.namespace, key.name)))

    def took(self, cls: type[Thing], answer: Json) -> Thing:
        """What the server answered; seen from now on."""
        try:
            thing: Thing = parse(cls, answer)
        except (ValidationError, KeyError):
            raise Invalid(f"{cls.__name__}: what is on record breaks a rule of ours") from None
        self.cache.wrote(thing)
        return thing

    async def live_instances(self, pool: Key) -> Tables:
        path = path_of("agentinstances", pool.namespace)
        found, _ = await self.api.list(path, fieldSelector=f"spec.poolRef.name={pool.name}")
        live = Tables()
        for each in found:
            instance = parse(AgentInstance, each)
            live.apply(Change("AgentInstance", key_of(instance), instance))
        return live

    def clock(self) -> datetime:
        now = self.api.clock.now()
        if now is None:
            raise Unavailable("the API server has not answered yet")
        return now

    # ---- looks
    async def now(self) -> datetime:
        if self.api.clock.now() is None:
            await self.api.get("/version")
        return self.clock()

    async def installation(self) -> Installation:
        return await leases.installation(self.api, self.home)

    async def view(self, pool: Key) -> View:
        return (await self.look()).view(pool, self.clock())

    async def bindable(self, pool: Key, limit: int) -> Bindable:
        return (await self.look()).bindable(pool, limit, self.clock())

    async def pools(self) -> list[AgentPool]:
        return sorted((await self.look()).pools.values(), key=key_of)

    async def pool_keys(self) -> list[Key]:
        return (await self.look()).pool_keys()

    async def instances(self) -> list[AgentInstance]:
        seen = filter(counted, (await self.look()).instances.values())
        return sorted(seen, key=oldest_first, reverse=True)

    async def claims(self, keys: Sequence[Key]) -> list[AgentClaim]:
        seen = (await self.look()).claims
        return [seen[key] for key in keys if key in seen]

    async def list_claims(self, namespace: str, limit: int = 500) -> list[AgentClaim]:
        seen = (await self.look()).claims.values()
        mine = [c for c in seen if c.metadata.namespace == namespace]
        return sorted(mine, key=oldest_first, reverse=True)[:limit]

    async def queue_position(self, claim: AgentClaim) -> int:
        return (await self.look()).queue_position(claim)

    async def before(self, instance: AgentInstance) -> int:
        return await self._places.put(instance)

    async def _before_each(self, instances: Sequence[AgentInstance]) -> list[int]:
        """One live list of each pool for all who ask while the last is read: it begins after they asked."""
        live = {pool: await self.live_instances(pool) for pool in set(map(pool_key, instances))}
        return [live[pool_key(instance)].before(instance) for instance in instances]

    async def pool(self, key: Key) -> AgentPool:
        return await self.read(AgentPool, key)

    async def claim(self, key: Key) -> AgentClaim:
        return await self.read(AgentClaim, key)

    async def instance(self, key: Key) -> AgentInstance:
        instance = await self.read(AgentInstance, key)
        if not counted(instance):
            raise NotFound(f"{key} is not counted yet")
        return instance

    async def secret(self, name: Key, key: str) -> str:
        return await leases.secret(self.api, name, key)

    async def fate(self, instance: AgentInstance) -> Fate:
        ref = instance.spec.claim_ref
        if ref is None:
            raise ValueError("fate is asked of instances with a claim_ref only")
        live = Tables()
        with suppress(NotFound):
            claim = await self.read(AgentClaim, Key(instance.metadata.namespace, ref.name))
            live.apply(Change("AgentClaim", key_of(claim), claim))
        return live.fate(instance)

    # ---- who may act
    async def lease(self, name: str) -> Lease:
        return await leases.read(self.api, self.home, name)

    # ---- doorbells
    async def bells(self) -> AsyncIterator[Bell]:
        """What a ring speaks of is in the cache by then."""
        door = Door()
        self.cache.doors.append(door)
        try:
            while True:
                bell, _ = await door.hear()
                await self.look()
                yield bell
        finally:
            self.cache.doors.remove(door)

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.api.close()
