"""Instances as they were read last: one whose version has not moved is the same, and is not read again."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from api.records.rows import instance_of
from api.types import AgentInstance

Version = asyncpg.Record | Mapping[str, Any]  # With namespace, name, uid and version.
AT_ONCE = 500  # Rows that become instances in one go (some 20 ms): then others have their turn.
# The rows of these keys, given as namespaces and names.
Read = Callable[[Sequence[str], Sequence[str]], Awaitable[Sequence[asyncpg.Record]]]


class KnownInstances:
    """By uid and version: 0002 moves the version at each write, so the same two are the same row."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, AgentInstance]] = {}

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

    def learn(self, instances: Iterable[AgentInstance]) -> None:
        for instance in instances:
            meta = instance.metadata
            self._known[meta.uid] = int(meta.resource_version), instance

    def _knows(self, row: Version) -> bool:
        known = self._known.get(row["uid"])
        return known is not None and known[0] == row["version"]
