"""What one process has seen of the API server: by watches, and by its own writes at once."""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from api.kubernetes.client import Json
from api.records import Bell, Bindable, KindName, Unavailable
from api.records.kubernetes_objects import (
    CLASSES,
    is_applied,
    key_in,
    parse_leniently,
    version_of,
)
from api.records.memory_bells import Door, bell_of
from api.records.memory_tables import Change, Tables, counted, offerable
from api.types import (
    AgentInstance,
    AgentPool,
    ClaimPhase,
    Key,
    Kind,
    key_of,
    oldest_first,
    pool_key,
)

LOOK = "pool.convos.org/look"  # Somebody wants this pool looked at; the value is new each time,
LOOKED = "pool.convos.org/looked"  # and this is the controller's word that it was.
ASKED = (LOOK, LOOKED)
FIRST_LIST_S, LISTS_AT_MOST = (
    15.0,
    12,
)  # Of 20,000 objects it takes seconds; a minute where others work.

BREATH = 100  # Objects of a list that are read (10 ms) before others may run.
DELETED_MAX = 10_000  # Far more than go while one list is under way.


class Seen(Tables):
    """Tables that know, without a walk over all, who is free: a look for binds costs what it finds."""

    def __init__(self) -> None:
        super().__init__()
        # Of each pool, oldest first: how it is sorted, and where it is found.
        self._free: dict[Key, list[tuple[tuple[int, float, str], Key]]] = {}

    def apply(self, change: Change) -> None:
        if change.kind == "AgentInstance":
            self._note(self.instances.get(change.key), free=False)
        super().apply(change)
        if change.kind == "AgentInstance":
            self._note(self.instances.get(change.key), free=True)

    def _note(self, instance: AgentInstance | None, *, free: bool) -> None:
        if instance is None or not (offerable(instance) and counted(instance)):
            return
        line = self._free.setdefault(pool_key(instance), [])
        place = oldest_first(instance), key_of(instance)
        if free:
            insort(line, place)
        else:
            del line[bisect_left(line, place)]

    def bindable(self, pool: Key, limit: int, now: datetime) -> Bindable:
        waiting = (c for c in self.open_claims(pool) if c.status.phase is ClaimPhase.PENDING)
        nobodys = (c for c in waiting if c.status.instance is None)
        free = tuple(self.instances[key] for _, key in self._free.get(pool, ())[:limit])
        return Bindable(now, tuple(islice(nobodys, limit)), free, self.pools.get(pool))


class Cache:
    """A sink of watches. Tables hold the newest version seen of each record; doors hear what changed."""

    def __init__(self) -> None:
        self.tables = Seen()
        self.applied: set[str] = set()  # By uid: what somebody applies server-side.
        self.doors: list[Door] = []
        self._to_list = set(CLASSES)
        self._listed = asyncio.Event()
        # By uid, the latest: a list that began before may still hold them.
        self._deleted: dict[str, None] = {}
        self.trouble = "nothing was listed yet"
        self._is_broken = False

    async def listed(self) -> None:
        """Once each kind was listed. Raises Unavailable with what is in the way; a list that only takes
        its time is waited for longer."""
        for _ in range(LISTS_AT_MOST):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LIST_S):
                    await self._listed.wait()
                    return
            if self._is_broken:
                break
        raise Unavailable(self.trouble)

    # ---- what watches say

    async def replace(self, plural: str, objects: Sequence[Json], version: int) -> None:
        """What is on no list any more is gone, unless it was written after that list.

        Others have their turn meanwhile: what they see is newer than the list, and stays.
        """
        kind: KindName = CLASSES[plural].model_fields["kind"].default
        here = {key_in(found) for found in objects}
        for key, known in list(self.tables.by_kind[kind].items()):
            if key not in here and version_of(known) <= version:
                self._apply(Change(kind, key, None))
        for n, found in enumerate(objects, 1):
            self._saw(plural, found)
            if n % BREATH == 0:
                await asyncio.sleep(0)
        self._is_broken = False
        if plural in self._to_list:
            self._to_list.discard(plural)
            if not self._to_list:
                self._listed.set()
                self.resync()

    def changed(self, plural: str, kind: str, thing: Json) -> None:
        if kind == "DELETED":
            self._gone(plural, thing)
        else:
            self._saw(plural, thing)

    def broken(self, plural: str, why: str) -> None:
        """What was missed meanwhile the next list tells, and then a resync."""
        self.trouble, self._is_broken = f"{plural} cannot be watched: {why}", True
        self._to_list.add(plural)

    def _saw(self, plural: str, found: Json) -> None:
        meta = found["metadata"]
        table = self.tables.by_kind[CLASSES[plural].model_fields["kind"].default]
        known = table.get(key_in(found))
        if meta["uid"] in self._deleted:
            return
        (self.applied.add if is_applied(found) else self.applied.discard)(meta["uid"])
        if known is not None and version_of(known) >= int(meta["resourceVersion"]):
            return
        thing = parse_leniently(plural, found)
        if thing is not None:
            self._apply(Change(thing.kind, key_of(thing), thing))

    def _gone(self, plural: str, found: Json) -> None:
        uid, key = found["metadata"]["uid"], key_in(found)
        self._forget(uid)
        kind: KindName = CLASSES[plural].model_fields["kind"].default
        known = self.tables.by_kind[kind].get(key)
        if known is not None and known.metadata.uid == uid:
            self._apply(Change(kind, key, None))

    # ---- what we wrote, or read one by one

    def wrote(self, thing: Kind) -> None:
        known = self.tables.by_kind[thing.kind].get(key_of(thing))
        if known is None or version_of(known) < version_of(thing):
            self._apply(Change(thing.kind, key_of(thing), thing))

    def deleted(self, thing: Kind) -> None:
        known = self.tables.by_kind[thing.kind].get(key_of(thing))
        if known is not None and known.metadata.uid == thing.metadata.uid:
            self._forget(thing.metadata.uid)
            self._apply(Change(thing.kind, key_of(thing), None))

    def _forget(self, uid: str) -> None:
        self._deleted[uid] = None
        while len(self._deleted) > DELETED_MAX:
            del self._deleted[next(iter(self._deleted))]

    # ---- doors

    def resync(self) -> None:
        for door in self.doors:
            door.sever()

    def ring(self, bell: Bell) -> None:
        for door in self.doors:
            door.ring(bell, 0)

    def _apply(self, change: Change) -> None:
        before: Kind | None = self.tables.by_kind[change.kind].get(change.key)
        self.tables.apply(change)
        if change.thing is None and before is not None:
            self.applied.discard(before.metadata.uid)
        if not self._listed.is_set():  # A resync tells of all of it.
            return
        after = change.thing
        if isinstance(after, AgentPool) and isinstance(before, AgentPool):
            self._tell_of_pool(change.key, before, after)
        elif (thing := after or before) is not None:
            self.ring(bell_of(thing, deleted=after is None))

    def _tell_of_pool(self, key: Key, before: AgentPool, after: AgentPool) -> None:
        """A pool rings for what its user changed; two of its annotations are bells themselves."""
        old, new = before.metadata.annotations, after.metadata.annotations
        for name in ASKED:
            if name in new and new[name] != old.get(name):
                self.ring(Bell("look" if name == LOOK else "looked", key.namespace, key.name))
        asked = [{k: v for k, v in notes.items() if k not in ASKED} for notes in (old, new)]
        said = [(p.spec, p.metadata.labels) for p in (before, after)]
        if said[0] != said[1] or asked[0] != asked[1]:
            self.ring(bell_of(after, deleted=False))
