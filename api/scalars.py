"""The scalars of the kinds: durations, names, texts, URLs, each with its bound and its mend."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

INSTRUCTIONS_MAX_BYTES = 100 * 1024
AGENT_ID_MAX = 128
URL_MAX = 2048

_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?")


def parse_duration(text: object) -> timedelta:
    """`1h30m`, `10m`, `45s` as a timedelta; raises ValueError that says what is allowed."""
    if isinstance(text, timedelta):
        return text
    found = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if found is None:
        raise ValueError("must be a duration such as 45s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(value: timedelta) -> str:
    """The shortest form that `parse_duration` reads back: 90 s is `1m30s`."""
    whole = int(value.total_seconds())
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def _positive(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(days=365):
        raise ValueError("must be between 1s and 8760h")
    return value


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _plain_text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters other than newline, return and tab")
    if _SURROGATE.search(value):
        raise ValueError("must be valid Unicode: it contains half of a surrogate pair")
    return value


def _one_line(value: str) -> str:
    if any(c in "\n\r\t" for c in _plain_text(value)):
        raise ValueError("must be one line")
    return value


def _instructions_size(value: str) -> str:
    if len(_plain_text(value).encode()) > INSTRUCTIONS_MAX_BYTES:
        raise ValueError(f"must be at most {INSTRUCTIONS_MAX_BYTES} bytes of UTF-8")
    return value


def _https(value: str) -> str:
    if not value.startswith("https://") or any(c.isspace() for c in value):
        raise ValueError("must be an https:// URL")
    return _one_line(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$", "maxLength": 24}),
]
# A DNS-1123 subdomain, as Kubernetes wants every object name.
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
]
NamePrefix = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*)$", min_length=1, max_length=16)
]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
AgentId = Annotated[
    str, StringConstraints(min_length=1, max_length=AGENT_ID_MAX), AfterValidator(_one_line)
]
Instructions = Annotated[
    str,
    StringConstraints(min_length=1, max_length=INSTRUCTIONS_MAX_BYTES),
    AfterValidator(_instructions_size),
]
HttpsUrl = Annotated[str, StringConstraints(max_length=URL_MAX), AfterValidator(_https)]


def is_reserved(name: str) -> bool:
    """Variables that we or Railway set on every instance; a template may not."""
    return name.startswith(("POOL_", "RAILWAY_")) or name in {"PORT", "SETUP_PASSWORD"}


NOT_YET = "not yet: this version does not act on it, so it must be left out"


def only(value: object) -> AfterValidator:
    """A field whose behaviour comes later: it must stay as it would be if left out."""

    def check(given: object) -> object:
        if given != value:
            raise ValueError(NOT_YET)
        return given

    return AfterValidator(check)
