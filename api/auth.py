"""Who may come in: the key as a Bearer token, or the signed cookie of somebody who showed it once.

Right keys are never slowed. Wrong ones are, per address, after ten.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

COOKIE = "agent_pool"
COOKIE_S = 12 * 3600
_BEARER = re.compile(r"Bearer\s+(.+)", re.IGNORECASE)
_REVOKED_MAX = 10_000
_VISIT_MAX = 256  # Characters of a cookie that are looked at.


class Auth:
    """One key. `clock` gives Unix seconds, `new_token` an unguessable URL-safe text."""

    def __init__(
        self, api_key: str, *, clock: Callable[[], float], new_token: Callable[[], str]
    ) -> None:
        self._key_hash = _sha256(api_key)
        # Signed under a key that derives from the API key: a changed one ends every visit.
        self._signing = hmac.digest(api_key.encode(), b"agent-pool visit", "sha256")
        self._clock = clock
        self._new_token = new_token
        self._revoked: dict[str, None] = {}

    def is_key(self, key: str) -> bool:
        """In a time that does not depend on either key."""
        return hmac.compare_digest(_sha256(key), self._key_hash)

    def is_bearer(self, header: str) -> bool:
        """Of an Authorization header; the scheme in any case."""
        found = _BEARER.fullmatch(header.strip())
        return self.is_key(found[1] if found else "")

    def visit(self) -> str:
        """A new cookie's value: when it ends, which one it is, and our signature."""
        said = f"{int(self._clock()) + COOKIE_S}.{self._new_token()}"
        return f"{said}.{self._sign(said).decode()}"

    def is_visit(self, cookie: str) -> bool:
        """Signed by us, not over, not logged out (a log-out is kept in memory, by this process)."""
        said, _, signature = cookie[:_VISIT_MAX].rpartition(".")
        if not hmac.compare_digest(self._sign(said), _bytes(signature)):
            return False
        return int(said.split(".")[0]) > self._clock() and cookie not in self._revoked

    def end_visit(self, cookie: str) -> None:
        """Log out: this cookie opens nothing any more."""
        if self.is_visit(cookie):
            if len(self._revoked) >= _REVOKED_MAX:
                del self._revoked[next(iter(self._revoked))]
            self._revoked[cookie] = None

    def _sign(self, said: str) -> bytes:
        return hmac.digest(self._signing, _bytes(said), "sha256").hex().encode()


class Slowdown:
    """How long the answer to a wrong key waits. One address's answers queue, so haste gains nothing."""

    FREE = 10  # Wrong keys an address may send before it is slowed.
    STEP_S = 0.5
    MOST_S = 30.0
    FORGET_S = 900.0
    ADDRESSES_MAX = 10_000

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock  # Seconds, monotone.
        self._wrong: dict[str, tuple[int, float]] = {}  # How many, and when the last is answered.

    def wrong_key(self, address: str) -> float:
        """Note one more wrong key of this address; seconds until it should be answered."""
        now = self._clock()
        count, free_at = self._wrong.pop(address, (0, now))
        if now - free_at > self.FORGET_S:
            count = 0
        count, free_at = count + 1, max(free_at, now)
        if count > self.FREE:
            free_at = min(free_at + self.STEP_S, now + self.MOST_S)
        if len(self._wrong) >= self.ADDRESSES_MAX:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = count, free_at
        return free_at - now


def _bytes(text: str) -> bytes:
    """Headers may carry bytes that are no UTF-8; they arrive as lone surrogates."""
    return text.encode(errors="surrogatepass")


def _sha256(text: str) -> bytes:
    return hashlib.sha256(_bytes(text)).digest()
