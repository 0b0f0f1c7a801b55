"""One controller process: wait to lead, lead, and stop everything before leadership has run out."""

import asyncio
import hashlib
import logging

from api.types import RailwayRef
from controller.leader import Elector
from controller.term import Charge, Ports, Term

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 1.0  # A term that ended by a bug of ours is begun again, but not in a tight loop.


def lease_name(railway: RailwayRef) -> str:
    """One lease for each Railway environment: its pools are led, observed and budgeted together."""
    parts = "\n".join((railway.endpoint, railway.project_id, railway.environment_id))
    return "railway-" + hashlib.sha256(parts.encode()).hexdigest()[:16]


class Controller:
    """`run()` for ever. `term` is the one under way, None while another process leads."""

    def __init__(self, ports: Ports, charge: Charge) -> None:
        self._ports = ports
        self._charge = charge
        self.elector = Elector(ports.records, lease_name(charge.where), charge.me, ports.clock)
        self.term: Term | None = None

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.elector.run())
                group.create_task(self._lead_when_won())
        finally:
            await self.elector.give_up()

    async def _lead_when_won(self) -> None:
        while True:
            await self.elector.won()
            await self._lead()

    async def _lead(self) -> None:
        self.term = Term(self._ports, self._charge, may_act=lambda: self.elector.leading)
        leading = asyncio.create_task(self.term.run())
        lost = asyncio.create_task(self.elector.lost())
        try:
            await asyncio.wait((leading, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.term = None
            for task in (leading, lost):
                task.cancel()
            ends = await asyncio.gather(leading, lost, return_exceptions=True)
            log.info("no longer leading")
            for end in ends:
                if isinstance(end, Exception):
                    log.error("the term ended: %s", type(end).__name__, exc_info=end)
                    await asyncio.sleep(AGAIN_AFTER_S)
