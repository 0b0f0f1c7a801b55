"""Binds of this process on their way to the records, and those of which no answer came.

A bind whose answer was lost may be on record all the same. Its binder knows then what nobody else can: that
the agent was not told yet. So it goes on as the binder, and does not wait for itself to fall silent; but it
renews its attempt first, since the look that showed the bind may be old.
"""

from collections.abc import Callable, Sequence

from api.records import Bind, Records
from api.types import AgentClaim, Attempt

Promised = tuple[str, Attempt]  # A claim's uid, and who may speak for it.

REMEMBERED_S = 600.0  # A write that comes later than this is treated as anybody's.


class Binding:
    """`write` binds; `was_unanswered` tells, once, that a bind is ours all the same. `clock`: ours."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._under_way: set[str] = set()  # Claims, by uid.
        self._unanswered: dict[Promised, float] = {}  # When each was begun, oldest first.

    async def write(self, binds: Sequence[Bind], attempt: Attempt, began: float) -> Sequence[Bind]:
        """On record. Meanwhile no full pass may take these for somebody else's and wait for an answer."""
        uids = {bind.claim.metadata.uid for bind in binds}
        self._under_way |= uids
        self._forget_old()
        self._unanswered |= {(uid, attempt): began for uid in uids}
        try:
            held = await self._records.bind(binds, attempt) if binds else ()
        finally:
            self._under_way -= uids
        for bind in held:
            self._unanswered.pop((bind.claim.metadata.uid, attempt), None)
        return held

    def is_under_way(self, claim: AgentClaim) -> bool:
        return claim.metadata.uid in self._under_way

    def was_unanswered(self, claim: AgentClaim) -> bool:
        """Whether this process wrote the bind that stands, and has told nobody yet."""
        attempt = claim.status.attempt
        key = (claim.metadata.uid, attempt) if attempt else None
        return key is not None and self._unanswered.pop(key, None) is not None

    def _forget_old(self) -> None:
        long_ago = self._clock() - REMEMBERED_S
        while self._unanswered and next(iter(self._unanswered.values())) < long_ago:
            del self._unanswered[next(iter(self._unanswered))]
