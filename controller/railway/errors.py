"""Railway's words for what went wrong, mapped to the errors named for what the caller must do.

The one place where they are mapped. Railway answers almost every business error with HTTP 200 and the code
INTERNAL_SERVER_ERROR, so the message decides first, then the code, then the status; what nobody here knows
is Unclear. Messages: as recorded by Railway's clients until October 2026.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from controller.railway import (
    Gone,
    NameTaken,
    NoCapacity,
    NotAuthorized,
    NotReady,
    RailwayError,
    RateLimited,
    Refused,
    Unclear,
)

SHOWN_MAX = 300  # Characters of a message that we pass on.
HIDDEN = "[hidden]"
HIDDEN_FROM = 6  # Characters; a shorter value (a port, a flag) is no secret and may be in any word.
WAIT_MIN_S = 1.0
WAIT_MAX_S = 3600.0  # The budget is hourly; nobody should wait longer because of a misread header.
WAIT_UNTOLD_S = 60.0  # A 429 without Retry-After.


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: str  # Searched without regard to case.
    kind: type[RailwayError]
    wait_s: float = WAIT_UNTOLD_S  # For RateLimited: at least this long.


MESSAGES = (
    # Cloudflare in front of Railway; may last a day, so ask rarely.
    _Rule(r"error code: 1015", RateLimited, 900),
    _Rule(r"already exists|already in use", NameTaken),
    _Rule(r"too quickly|per 30 seconds|every 30s", RateLimited, 31),
    _Rule(r"rate limit exceeded", RateLimited),
    _Rule(r"not authorized|bad access|two factor authentication required", NotAuthorized),
    _Rule(r"limit exceeded\. please upgrade|has been restricted", NoCapacity),
    _Rule(r"failed to create service domain|cannot redeploy yet", NotReady),
    _Rule(r"without a snapshot|commit not found", Refused),
    _Rule(r"\b(project|service|environment|serviceinstance|deployment) not found", Gone),
    _Rule(r"\b(volumeinstance|project token) not found", Gone),
    _Rule(r"unknown argument|unknown type|cannot query field", Refused),
    _Rule(r"problem processing request|upstream connect error", Unclear),
)
CODES: dict[str, type[RailwayError]] = {
    "GRAPHQL_PARSE_FAILED": Refused,
    "GRAPHQL_VALIDATION_FAILED": Refused,
    "BAD_USER_INPUT": Refused,
    "UNAUTHENTICATED": NotAuthorized,
}
STATUSES: dict[int, type[RailwayError]] = {
    400: Refused,
    401: NotAuthorized,
    403: NotAuthorized,
    429: RateLimited,
}


def named_error(
    message: str,
    *,
    http_status: int = 200,
    code: str | None = None,
    retry_after_s: float | None = None,
    hide: Collection[str] = (),
) -> RailwayError:
    """The error for one entry of `errors[]` (or a plain-text body), to be raised by the caller.

    `code` is `extensions.code`. The text is Railway's message, shortened, without any value that it quotes
    or that is in `hide`.
    """
    message = _unquoted(message)
    shown = " ".join(_without(hide, message).split())[:SHOWN_MAX]
    for rule in MESSAGES:
        if re.search(rule.pattern, message, re.IGNORECASE):
            return _made(rule.kind, shown, max(rule.wait_s, retry_after_s or 0.0))
    kind = CODES.get(code or "") or STATUSES.get(http_status, Unclear)
    wait_s = WAIT_UNTOLD_S if retry_after_s is None else retry_after_s
    return _made(kind, shown or f"Railway answered {http_status}", wait_s)


def _made(kind: type[RailwayError], text: str, wait_s: float) -> RailwayError:
    if kind is RateLimited:
        return RateLimited(text, min(max(wait_s, WAIT_MIN_S), WAIT_MAX_S))
    return kind(text)


def _unquoted(message: str) -> str:
    """GraphQL servers quote a wrong input after "got invalid value": that may be somebody's secret."""
    head, mark, _ = message.partition("got invalid value")
    return head + mark


def _without(hide: Collection[str], message: str) -> str:
    """The message without these values, as they are or as JSON writes them; the longest first."""
    for value in sorted(hide, key=len, reverse=True):
        if len(value) >= HIDDEN_FROM:
            message = message.replace(value, HIDDEN).replace(json.dumps(value)[1:-1], HIDDEN)
    return message
