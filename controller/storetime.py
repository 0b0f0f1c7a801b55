"""The store's time between two looks: its last `now`, carried on by our own monotonic clock.

No process's wall clock decides anything: ages and deadlines are the store's, and a look corrects this
within seconds of any drift.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class StoreTime:
    """`saw(now)` after each look; `now()` in between. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen = datetime.min.replace(tzinfo=UTC)
        self._at = clock()

    def saw(self, now: datetime) -> datetime:
        self._seen, self._at = now, self._clock()
        return now

    def now(self) -> datetime:
        return self._seen + timedelta(seconds=self._clock() - self._at)
