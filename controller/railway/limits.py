"""What Railway's answers say about the budget: the X-RateLimit-* and Retry-After headers. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from controller.railway import Allowance

_MILLISECONDS_FROM = 1e11  # As seconds that is the year 5138, as milliseconds 1973.


def allowance(headers: Mapping[str, str], now: datetime) -> Allowance:
    """What is left of the hourly budget; what an answer does not say is None.

    Railway does not document the form of the reset; clients have met ISO 8601, unix seconds and unix
    milliseconds. `headers` must be case-insensitive, `now` aware.
    """
    return Allowance(
        limit=_count(headers.get("x-ratelimit-limit")),
        remaining=_count(headers.get("x-ratelimit-remaining")),
        reset_in_s=_until(_moment(headers.get("x-ratelimit-reset")), now),
    )


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Retry-After in seconds, whether it was sent as seconds or as an HTTP date."""
    text = headers.get("retry-after")
    seconds = _number(text)
    return _until(_http_date(text), now) if seconds is None else max(0.0, seconds)


def _count(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or number < 0 else int(number)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if isfinite(number) else None


def _moment(text: str | None) -> datetime | None:
    number = _number(text)
    try:
        if number is None:
            return _aware(datetime.fromisoformat(text or ""))
        return datetime.fromtimestamp(number / (1000 if number >= _MILLISECONDS_FROM else 1), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _http_date(text: str | None) -> datetime | None:
    try:
        return _aware(parsedate_to_datetime(text or ""))
    except (ValueError, TypeError):
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _until(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (moment - now).total_seconds())
