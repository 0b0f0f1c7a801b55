"""How Railway's hourly requests are spent: who may send now, who waits, how often to look. Pure.

The rule: each lane leaves a tenth of the hour's limit for every lane above it, so that nearly spent means
slow, not blind. `now` is any clock that only moves on, in seconds, the same one for every call.
Figures: facts about Railway's plans (Free 100 an hour, Hobby 1,000 and 10 a second, Pro 10,000).
"""

from datetime import timedelta
from enum import IntEnum
from math import ceil, inf

from api.scalars import format_duration
from controller.railway import Allowance

PER_SECOND = 8.0  # Of the 10 a second that Hobby allows; with the burst no second sees more.
PRO_PER_SECOND = 40.0  # Of the 50 a second of a Pro plan,
PRO_LIMIT = 10_000  # which is known by its hourly limit.
BURST = 2.0
HOUR_S = 3600.0
LOOK_MIN_S = 5.0  # While anything moves, where the budget allows it.
HURRY = 0.5  # Looking takes at most this part of what is left above its own tenth.


class Lane(IntEnum):
    """What a request is for, first things first. The value is how many tenths it leaves for others."""

    LOOK = 0  # The regular look, at the pace of `look_every_s`.
    URGENT = 1  # Deletes that free rooms, creates that serve waiting claims.
    CREATE = 2
    RENAME = 3  # And whatever else may come later.
    LOOK_MORE = 4  # Looks that somebody asked for.


class Budget:
    """One account's budget. Until an answer has said a limit, nothing is short but the second.

    Ask `wait_s`; when it is 0, say `spent` before anything is awaited, send, then say `told`.
    """

    def __init__(self) -> None:
        self._limit: int | None = None
        self._left = inf
        self._resets_at = inf
        self._closed_until = -inf
        self._bucket = BURST
        self._filled_at = -inf

    # ---------------------------------------------------------------- what happened

    def spent(self, n: int, now: float) -> None:
        """`n` requests are being sent."""
        self._roll(now)
        self._left -= n
        self._bucket -= n

    def told(self, allowance: Allowance, now: float) -> None:
        """An answer came. What it does not say stays as it is; without a reset an hour begins now."""
        self._roll(now)
        limit = allowance.limit or self._limit
        if limit is None or allowance.remaining is None:
            return
        self._limit, self._left = limit, allowance.remaining
        if allowance.reset_in_s is not None:
            self._resets_at = now + allowance.reset_in_s
        elif self._resets_at == inf:
            self._resets_at = now + HOUR_S

    def closed_until(self, moment: float) -> None:
        """Railway refused to serve us (RateLimited): nothing at all before that moment."""
        self._closed_until = max(self._closed_until, moment)

    # ---------------------------------------------------------------- what follows

    def wait_s(self, lane: Lane, now: float) -> float:
        """Seconds until a request of this lane may go; 0: now. Ask again after it."""
        self._roll(now)
        if now < self._closed_until:
            return self._closed_until - now
        if self._left - 1 < self._kept(lane):
            return self._resets_at - now
        return max(0.0, (1 - self._bucket) / self._per_second)

    def look_every_s(
        self, moving: bool, requests_per_look: int, tick_s: float, now: float
    ) -> float:
        """Seconds from one regular look to the next: 5 while anything moves, else the tick; both
        stretched to what the budget allows until its reset."""
        self._roll(now)
        wanted_s = min(LOOK_MIN_S, tick_s) if moving else tick_s
        if self._limit is None:
            return wanted_s
        own = max(0.0, min(self._left, self._limit / 10))
        affordable = (own + HURRY * max(0.0, self._left - own)) / requests_per_look
        left_s = self._resets_at - now
        return max(wanted_s, left_s / affordable if affordable >= 1 else left_s)

    def says(self, now: float) -> str | None:
        """A sentence for the pool's status while creates are held back; None while they are not."""
        self._roll(now)
        if now < self._closed_until:
            return f"Railway asked us to wait; {_about(self._closed_until - now)} left"
        if self._limit is None or self._left - 1 >= self._kept(Lane.CREATE):
            return None
        resets = _about(self._resets_at - now)
        return f"Railway's hourly budget of {self._limit} is nearly spent: it resets in {resets}"

    @property
    def _per_second(self) -> float:
        return PRO_PER_SECOND if (self._limit or 0) >= PRO_LIMIT else PER_SECOND

    def _kept(self, lane: Lane) -> float:
        return lane * (self._limit or 0) / 10

    def _roll(self, now: float) -> None:
        """Let time pass: the second's bucket fills, a new hour brings the whole limit."""
        filled = self._bucket + (now - self._filled_at) * self._per_second
        self._bucket, self._filled_at = min(BURST, filled), now
        if self._limit is not None and now >= self._resets_at:
            self._left, self._resets_at = self._limit, now + HOUR_S


def _about(seconds: float) -> str:
    """In whole minutes, rounded up: a status must not change with every look."""
    return format_duration(timedelta(minutes=ceil(seconds / 60)))
