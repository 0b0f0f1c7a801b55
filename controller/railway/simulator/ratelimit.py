"""Railway's request budget and Cloudflare's: pure counting on a clock that is passed in."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from controller.railway.simulator.state import iso

HOUR_S = 3600.0
EDGE_PER_S = 10  # Cloudflare's own limit, for URLs without a query string.
EDGE_BAN_S = 10.0  # On Railway up to a day; long enough here to be seen.
ResetFormat = Literal["iso", "unix", "unix-ms"]


@dataclass(slots=True)
class Budget:
    """Requests an hour and a second, shared by reads and writes.

    `take` answers how many seconds to wait, or None when the request may pass.
    """

    clock: Callable[[], float]
    per_hour: int = 10_000  # Railway: Free 100, Hobby 1,000, Pro 10,000.
    per_s: int = 50  # Railway: Hobby 10, Pro 50.
    reset_format: ResetFormat = "unix"  # Not pinned down: clients must read all three.
    used: int = 0
    resets_at: float = 0.0
    second: int = 0
    in_second: int = 0

    def take(self) -> float | None:
        now = self.clock()
        self._turn(now)
        if self.used >= self.per_hour:
            return self.resets_at - now
        if int(now) != self.second:
            self.second, self.in_second = int(now), 0
        if self.in_second >= self.per_s:
            return 1.0
        self.used += 1
        self.in_second += 1
        return None

    def _turn(self, now: float) -> None:
        if now >= self.resets_at:
            self.used, self.resets_at = 0, now + HOUR_S

    def headers(self, retry_after_s: float | None = None) -> dict[str, str]:
        """X-RateLimit-* for every answer; Retry-After in whole seconds on a refusal."""
        self._turn(self.clock())
        resets = {
            "iso": iso(self.resets_at),
            "unix": str(int(self.resets_at)),
            "unix-ms": str(int(self.resets_at * 1000)),
        }
        told = {
            "X-RateLimit-Limit": str(self.per_hour),
            "X-RateLimit-Remaining": str(max(0, self.per_hour - self.used)),
            "X-RateLimit-Reset": resets[self.reset_format],
        }
        if retry_after_s is not None:
            told["Retry-After"] = str(max(1, ceil(retry_after_s)))
        return told


class Edge:
    """Cloudflare: more than ten a second without a query string, and it refuses for a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=EDGE_PER_S)
        self._banned_until = 0.0

    def refuses(self, has_query: bool) -> bool:
        if has_query:
            return False
        now = self._clock()
        crowded = len(self._recent) == EDGE_PER_S and now - self._recent[0] < 1.0
        self._recent.append(now)
        if crowded:
            self._banned_until = now + EDGE_BAN_S
        return now < self._banned_until
