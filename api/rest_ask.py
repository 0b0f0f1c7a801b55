"""From a request's headers, query and body to what the door is asked; every refusal names its field."""

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from api.door import ClaimRequest
from api.model import Model
from api.scalars import AgentId, HttpsUrl, Instructions, Name
from api.types import DEFAULT_POOL

WAIT_MAX_S = 120
KEY_PATTERN = r"^[!-~]([ -~]{0,253}[!-~])?$"  # Printable ASCII; HTTP strips blanks at the ends.
_WARNINGS_MAX = 10
_WARNED_NAME_MAX = 64


class Problem(Exception):
    """An answer of 400 or above: `{"error": ...}` with this status."""

    def __init__(self, status: int, error: str = "", **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error or HTTPStatus(status).phrase
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ClaimBody(Model):
    """Body of `POST /api/pool/claim`. Unknown fields are no error: each is named in a Warning header."""

    model_config = ConfigDict(extra="ignore")

    instructions: Instructions = Field(
        description="What the agent is told: at most 100 KiB of UTF-8, no control characters.",
        json_schema_extra={"pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"},
    )
    agent_id: AgentId = Field(
        description="Name of the agent, on one line.",
        json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f]*$"},
    )
    join_url: HttpsUrl | None = Field(
        default=None,
        description="Join this conversation instead of opening one: an https:// URL; empty is none.",
        json_schema_extra={"pattern": r"^(https://[^\s\x00-\x1f\x7f]*)?$"},
    )
    pool: Name = Field(default=DEFAULT_POOL, description="The pool to claim from.")


def json_object(raw: bytes) -> dict[str, Any]:
    """The body. Raises Problem 400; never says what stood in it."""
    try:
        body = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Problem(400, "The body must be valid JSON.") from None
    if not isinstance(body, dict):
        raise Problem(400, "The body must be a JSON object.")
    return body


def claim_body(body: dict[str, Any]) -> ClaimBody:
    """In the seed's order of checks and with its words; an empty string counts as missing."""
    for name in ("instructions", "agentId"):
        if not body.get(name) or not isinstance(body[name], str):
            raise Problem(400, f"{name} (string) is required")
    join_url = body.get("joinUrl")
    if not isinstance(join_url, str | None):
        raise Problem(400, "joinUrl must be a string if provided")
    given = body | {"joinUrl": join_url or None}
    try:
        return ClaimBody.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Problem(
            400, f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def claim_request(body: ClaimBody, keys: Sequence[str], prefer: Sequence[str]) -> ClaimRequest:
    """`keys` and `prefer`: every header of that name. Raises Problem 400."""
    return ClaimRequest(
        agent_id=body.agent_id,
        instructions=body.instructions,
        join_url=body.join_url,
        pool=body.pool,
        key=idempotency_key(keys),
        wait_s=preferred_wait_s(prefer),
    )


def idempotency_key(keys: Sequence[str]) -> str | None:
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(KEY_PATTERN, keys[0]):
        raise Problem(
            400, "Idempotency-Key must be given once, as 1 to 255 printable ASCII characters."
        )
    return keys[0]


def preferred_wait_s(prefer: Iterable[str]) -> float | None:
    """RFC 7240: `wait=N`, else 0 for `respond-async`, else None. Other preferences are ignored."""
    said = [part.split(";")[0].strip().lower() for header in prefer for part in header.split(",")]
    for part in said:
        name, _, value = part.partition("=")
        if name.strip() == "wait":
            return _seconds("Prefer: wait", value.strip().strip('"'))
    return 0.0 if "respond-async" in said else None


def query_wait_s(text: str | None) -> float:
    """Of `?wait=`; 0 without it."""
    return 0.0 if text is None else _seconds("wait", text)


def query_qr(text: str | None) -> bool:
    """Whether `?qr=` leaves the picture in: `png` (or nothing) does, `none` does not."""
    if text not in (None, "png", "none"):
        raise Problem(400, "qr must be png or none.")
    return text != "none"


def _seconds(name: str, text: str) -> float:
    """More than the most we wait is no error; the answer simply comes sooner."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Problem(400, f"{name} must be a whole number of seconds, 0 to {WAIT_MAX_S}.")
    return min(float(text), WAIT_MAX_S)


def warnings(body: dict[str, Any]) -> list[str]:
    """A Warning header's value for each unknown field, as the Kubernetes API words it; at most ten."""
    known = {field.alias or name for name, field in ClaimBody.model_fields.items()}
    unknown = [name for name in body if name not in known]
    return [f'299 - "unknown field \\"{_header_safe(name)}\\""' for name in unknown[:_WARNINGS_MAX]]


def _header_safe(name: str) -> str:
    return re.sub(r"[^ !#-\[\]-~]", "?", name[:_WARNED_NAME_MAX])
