"""When to look at Railway, who waits for it, and that every pool is passed after it, and each tick anyway."""

import logging
from collections.abc import Callable

from api.records import Bell, Records
from api.types import Key
from controller.environment import Environment
from controller.railway import RailwayError, RateLimited
from controller.storetime import StoreTime
from controller.workqueue import Jitter, backoff_s

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0  # After a look that failed, at the least.


class Looking:
    """`look_pass` and `sweep` are passes of queues; `look` and `resize` put a key into one.

    `sweep` does not wait for Railway: while its API hangs, claims are seen to all the same.
    """

    def __init__(
        self,
        records: Records,
        environment: Environment,
        *,
        time: StoreTime,
        chance: Jitter,
        tick_s: float,
        look: Callable[[float], None],
        resize: Callable[[Key, float], None],
    ) -> None:
        self._records = records
        self._environment = environment
        self._time = time
        self._chance = chance
        self._tick_s = tick_s
        self._wish_look = look
        self._resize = resize
        self._moving: set[Key] = set()
        self._asked: set[Key] = set()  # Pools for which somebody waits for a look.
        self._looked: set[Key] = set()  # Of these, those that were looked at, and not yet passed.
        self._failures = 0

    def note(self, pool: Key, moving: bool) -> None:
        """Whether anything of this pool moves: then looks come soon and often."""
        if moving and pool not in self._moving:
            self._wish_look(self._environment.next_look_s(True, self._tick_s))
        (self._moving.add if moving else self._moving.discard)(pool)

    def ask(self, pool: Key) -> None:
        """Somebody wants to hear `looked` once this pool was looked at anew."""
        self._asked.add(pool)
        self._wish_look(0.0)

    def owes(self, pool: Key) -> bool:
        """Whether a pass that begins now is the one somebody waits for."""
        return pool in self._looked

    async def answer(self, pool: Key) -> None:
        self._looked.discard(pool)
        await self._records.ring(Bell("looked", pool.namespace, pool.name))

    async def look_pass(self, _: str) -> float:
        """One look at the environment; then every pool, whether it succeeded or not."""
        asked, self._asked = self._asked, set()
        again_s = await self._look()
        self._looked |= asked
        await self.sweep("")
        return again_s

    async def sweep(self, _: str) -> float:
        """Every pool, also one whose bell was lost."""
        for pool in await self._records.pool_keys():
            self._resize(pool, 0.0)
        return self._tick_s

    async def _look(self) -> float:
        """Look; in how many seconds to look again."""
        try:
            await self._environment.look(self._time.saw(await self._records.now()))
            await self._environment.learn_owners(await self._records.instances())
        except RateLimited as error:
            log.info("looking later: %s", error)
            return error.after_s
        except RailwayError as error:
            self._failures += 1
            log.warning("no look at Railway: %s: %s", type(error).__name__, error)
            return max(LOOK_AGAIN_S, min(backoff_s(self._failures, self._chance), self._tick_s))
        self._failures = 0
        return self._environment.next_look_s(bool(self._moving), self._tick_s)
