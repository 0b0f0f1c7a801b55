"""A move out of or into a cluster. A record is brought by two writes: itself, then its status."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from api.kubernetes.client import Json
from api.records import Installation, Invalid, NotFound, Thing
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_leases import LEASES_OF_OURS, SECRET
from api.records.kubernetes_objects import (
    PLURALS,
    difference,
    object_path,
    over,
    path_of,
    written,
)
from api.records.memory_tables import obeys_its_kind
from api.records.moving import IMPORT, Lead, may_drop, must_arrive, pool_of_it, secret_of
from api.types import AgentPool, Kind, key_of

AT_ONCE = 32  # As many as the client sends.
_KEPT = ("labels", "annotations")  # Of a Secret that is made anew: by these its maker knows it.


class KubernetesMoving:
    """`Moving` of one cluster; leases and the Secret are in the home of the records."""

    def __init__(self, records: KubernetesRecords) -> None:
        self._records = records
        self._api = records.api
        self._secrets = f"/api/v1/namespaces/{records.home}/secrets"

    async def leads(self) -> list[Lead]:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self._records.home}/leases"
        found, _ = await self._api.list(path, labelSelector=LEASES_OF_OURS)
        return sorted(map(_lead, found), key=lambda lead: lead.name)

    # ---- who it is
    async def adopt(self, installation: Installation) -> bool:
        try:
            there = await self._api.get(f"{self._secrets}/{SECRET}")
        except NotFound:
            await self._api.create(self._secrets, secret_of(installation))
            return True
        new = secret_of(installation)
        if there.get("data") == new["data"]:
            return False
        if await self._records.instances():
            said = f"the Secret {self._records.home}/{SECRET} is another installation's"
            raise Invalid(f"{said}, which has instances here: import into an empty namespace")
        new["metadata"] |= {k: v for k, v in there["metadata"].items() if k in _KEPT}
        new |= {"immutable": True} if there.get("immutable") else {}
        await self._api.delete(f"{self._secrets}/{SECRET}", there["metadata"]["uid"])
        await self._api.create(self._secrets, new)
        return True

    # ---- what moves in
    async def bring(self, things: Sequence[Thing]) -> list[Thing]:
        return await _all(things, self._bring)

    async def _bring(self, thing: Thing) -> Thing:
        must_arrive(thing)
        obeys_its_kind(thing)
        path = path_of(PLURALS[thing.kind], thing.metadata.namespace)
        try:
            born = self._records.took(type(thing), await self._api.create(path, written(thing)))
        except Invalid as error:  # Rows take labels that objects do not.
            raise Invalid(f"{thing.kind} {key_of(thing)}: {error}") from None
        status = difference(born.status.wire(), thing.status.wire())
        return await self._patch(born, {"status": status}, "status") if status else born

    async def admit(self, things: Sequence[Thing]) -> list[Thing]:
        return await _all(things, self._admit)

    async def _admit(self, thing: Thing) -> Thing:
        return await self._patch(thing, {"metadata": {"annotations": {IMPORT: None}}})

    async def _patch(self, read: Thing, body: Json, part: str = "") -> Thing:
        answer = await self._api.merge(object_path(read, part), over(read, body))
        return self._records.took(type(read), answer)

    async def drop(self, thing: Kind) -> None:
        pool: AgentPool | None = None
        with suppress(NotFound):
            pool = await self._records.pool(pool_of_it(thing))
        if not may_drop(thing, pool):
            raise Invalid(f"{thing.kind} {key_of(thing)} is no part of an import")
        meta = thing.metadata
        await self._api.delete(object_path(thing), meta.uid, meta.resource_version)
        self._records.cache.deleted(thing)


def _lead(found: Json) -> Lead:
    spec = found["spec"]
    renewed = datetime.fromisoformat(spec["renewTime"])
    return Lead(found["metadata"]["name"], spec.get("holderIdentity") or "", renewed)


async def _all(things: Sequence[Thing], write: Callable[[Thing], Awaitable[Thing]]) -> list[Thing]:
    """Some at once, each for itself; after those that met an error nothing more is begun."""
    done: list[Thing] = []
    for start in range(0, len(things), AT_ONCE):
        some = [write(thing) for thing in things[start : start + AT_ONCE]]
        ends: list[Any] = await asyncio.gather(*some, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        done += ends
    return done
