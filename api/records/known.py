"""Records as they were read last: one whose version has not moved is the same, and is not read again."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from api.records.rows import instance_of, pool_of
from api.types import AgentInstance, AgentPool

Version = asyncpg.Record | Mapping[str, Any]  # With namespace, name, uid and version.
AT_ONCE = 500  # Rows that become instances in one go (some 20 ms): then others have their turn.
# The rows of the pool asked about: one, or none.
ReadPool = Callable[[], Awaitable[Sequence[asyncpg.Record]]]
# The rows of these keys, given as namespaces and names.
Read = Callable[[Sequence[str], Sequence[str]], Awaitable[Sequence[asyncpg.Record]]]


class Known:
    """By uid and version: 0002 moves the version at each write, so the same two are the same row."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, AgentInstance]] = {}
        self._pools: dict[str, tuple[int, AgentPool]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def of(self, versions: Sequence[Version], read: Read) -> list[AgentInstance]:
        """The instances of these rows; `read` gives those not known yet."""
        unread = [row for row in versions if not self._knows(row)]
        for first in range(0, len(unread), AT_ONCE):
            some = unread[first : first + AT_ONCE]
            rows = await read([row["namespace"] for row in some], [row["name"] for row in some])
            self.learn(map(instance_of, rows))
        there = (self._known.get(row["uid"]) for row in versions)
        return [known[1] for known in there if known is not None]  # One may be gone meanwhile.

    async def pool(self, row: Version, read: ReadPool) -> AgentPool | None:
        """The pool of a row with `pool_uid` and `pool_version`; None where these are NULL or it is gone."""
        uid, version = row["pool_uid"], row["pool_version"]
        if uid is None:
            return None
        known = self._pools.get(uid)
        if known is None or known[0] != version:
            rows = await read()
            if not rows:
                return None
            known = self._pools[uid] = version, pool_of(rows[0])
        return known[1]

    def learn(self, instances: Iterable[AgentInstance]) -> None:
        for instance in instances:
            meta = instance.metadata
            self._known[meta.uid] = int(meta.resource_version), instance

    def _knows(self, row: Version) -> bool:
        known = self._known.get(row["uid"])
        return known is not None and known[0] == row["version"]
