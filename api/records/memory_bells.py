"""The doorbells of memory records: what rings when something is written, and how a listener hears it."""

import asyncio
from collections.abc import Sequence

from api.records import Bell
from api.types import AgentClaim, AgentPool, Kind

BELLS_MAX = 10_000  # Rings one listener may leave unheard; then a `resync` stands for all of them.


def at_once(bell: Bell) -> Sequence[float]:
    """Every bell arrives once and now."""
    return (0.0,)


def bell_of(thing: Kind, *, deleted: bool) -> Bell:
    """What rings when this record was written or deleted."""
    name, namespace = thing.metadata.name, thing.metadata.namespace
    if isinstance(thing, AgentPool):
        return Bell("pool", namespace, name, phase="Deleted" if deleted else "")
    phase = "Deleted" if deleted else str(thing.status.phase)
    pool = thing.spec.pool_ref.name
    return Bell(
        "claim" if isinstance(thing, AgentClaim) else "instance", namespace, name, pool, phase
    )


class Door:
    """One listener's queue of rings, each with the version it speaks of."""

    def __init__(self) -> None:
        self._rings: asyncio.Queue[tuple[Bell, int]] = asyncio.Queue()
        self.sever()

    def ring(self, bell: Bell, version: int) -> None:
        if self._rings.qsize() >= BELLS_MAX:
            self.sever()
        self._rings.put_nowait((bell, version))

    def sever(self) -> None:
        """As a connection that broke: what was not heard is lost, and a `resync` says so."""
        while not self._rings.empty():
            self._rings.get_nowait()
        self._rings.put_nowait((Bell("resync"), 0))

    async def hear(self) -> tuple[Bell, int]:
        return await self._rings.get()
