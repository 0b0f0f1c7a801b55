"""The scalars of the kinds: durations, names, texts, URLs, each with its bound and its mend."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from api.model import Rule, matches

INSTRUCTIONS_MAX_BYTES = 100 * 1024
AGENT_ID_MAX = 128
URL_MAX = 2048
NAME_MAX = 253

NOT_A_DURATION = "must be a duration such as 45s, 10m or 1h30m"
OUT_OF_A_YEAR = "must be between 1s and 8760h"
NO_CONTROL = "must not contain control characters other than newline, return and tab"
ONE_LINE = "must be one line"
TOO_LONG = f"must be at most {INSTRUCTIONS_MAX_BYTES} bytes of UTF-8"
HTTPS = "must be an https:// URL"
NAME_PREFIX = "must be lower-case letters, digits and -, a letter first, at most 16"
ENV_NAME = "must be letters, digits and _, at most 128, no digit first"
RESERVED = "is reserved: POOL_*, RAILWAY_*, PORT and SETUP_PASSWORD are ours; rename it"
NOT_YET = "not yet: this version does not act on it, so it must be left out"

_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,7})s)?")
_DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$"


def parse_duration(text: object) -> timedelta:
    """`1h30m`, `10m`, `45s` as a timedelta; raises ValueError that says what is allowed."""
    if isinstance(text, timedelta):
        return text
    found = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if found is None:
        raise ValueError(NOT_A_DURATION)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(value: timedelta) -> str:
    """The shortest form that `parse_duration` reads back: 90 s is `1m30s`."""
    whole = int(value.total_seconds())
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def _positive(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(days=365):
        raise ValueError(OUT_OF_A_YEAR)
    return value


_PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _plain_text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError(NO_CONTROL)
    if _SURROGATE.search(value):
        raise ValueError("must be valid Unicode: it contains half of a surrogate pair")
    return value


def _one_line(value: str) -> str:
    if any(c in "\n\r\t" for c in _plain_text(value)):
        raise ValueError(ONE_LINE)
    return value


def _instructions_size(value: str) -> str:
    if len(_plain_text(value).encode()) > INSTRUCTIONS_MAX_BYTES:
        raise ValueError(TOO_LONG)
    return value


def _https(value: str) -> str:
    if not value.startswith("https://") or any(c.isspace() for c in value):
        raise ValueError(HTTPS)
    return _one_line(value)


def saying(mend: str) -> WrapValidator:
    """What is said of a text of another pattern, instead of the pattern."""

    def check(value: object, inner: ValidatorFunctionWrapHandler) -> object:
        try:
            return inner(value)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "string_pattern_mismatch":
                raise
        raise ValueError(mend)

    return WrapValidator(check)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "maxLength": 24}),
]
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"  # A DNS-1123 subdomain, as Kubernetes wants every name.
_NAME_PREFIX = r"^[a-z]([-a-z0-9]*)$"
_ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
Name = Annotated[str, StringConstraints(pattern=_NAME, min_length=1, max_length=NAME_MAX)]
NamePrefix = Annotated[
    str,
    StringConstraints(pattern=_NAME_PREFIX, min_length=1, max_length=16),
    saying(NAME_PREFIX),
]
EnvName = Annotated[str, StringConstraints(pattern=_ENV_NAME, max_length=128), saying(ENV_NAME)]
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


def only(value: object) -> AfterValidator:
    """A field whose behaviour comes later: it must stay as it would be if left out."""

    def check(given: object) -> object:
        if given != value:
            raise ValueError(NOT_YET)
        return given

    return AfterValidator(check)


# ---------------------------------------------------------------- the same rules for the CRDs


def _when_a_duration(holds: str) -> str:
    """Asked only of what is one: CEL's `duration` fails on anything else."""
    return f"!self.matches(r'{_DURATION_PATTERN}') || self == '' || {holds}"


IS_DURATION = (
    Rule(f"self != '' && self.matches(r'{_DURATION_PATTERN}')", NOT_A_DURATION),
    Rule(
        _when_a_duration(
            "(duration(self) >= duration('1s') && duration(self) <= duration('8760h'))"
        ),
        OUT_OF_A_YEAR,
    ),
)
IS_NAME = matches(_NAME, "must be lower-case letters, digits, - and ., at most 253")
IS_NAME_PREFIX = matches(_NAME_PREFIX, NAME_PREFIX)
IS_ENV_NAME = matches(_ENV_NAME, ENV_NAME)
IS_FREE_ENV_NAME = Rule(
    "!self.startsWith('POOL_') && !self.startsWith('RAILWAY_') && !(self in ['PORT', 'SETUP_PASSWORD'])",
    RESERVED,
    reason="FieldValueForbidden",
)
IS_ONE_LINE = (matches(r"^[^\n\r\t]*$", ONE_LINE), matches(_PLAIN, NO_CONTROL))
IS_INSTRUCTIONS = (
    matches(_PLAIN, NO_CONTROL, secret=True),
    Rule(f"size(bytes(self)) <= {INSTRUCTIONS_MAX_BYTES}", TOO_LONG, reason="FieldValueForbidden"),
)
# What Python calls a space: \s is ASCII's in the API server.
IS_HTTPS_URL = matches(r"^https://[^\s\p{Z}\x85\x00-\x1f\x7f]*$", HTTPS, secret=True)


def stays(field: str, value: str) -> Rule:
    """As `only` does on this side, of one field of what the rule stands on; `value` in CEL."""
    return Rule(f"self.{field} == {value}", NOT_YET, at=f".{field}", reason="FieldValueForbidden")


STAYS_A_DAY = Rule(
    _when_a_duration("duration(self) == duration('24h')"), NOT_YET, reason="FieldValueForbidden"
)
