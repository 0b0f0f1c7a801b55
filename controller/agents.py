"""What we may ask an agent, and what it may say: the port, and the reading of its answers.

Between the agent and us stands Railway's edge, whose 404, 502 and 503 look the same by number: only the
agent's own JSON counts (facts: the agent's source, `src/server.js`).
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

ANSWER_MAX_BYTES = 64 * 1024
INVITE_MAX_BYTES = 2048
CONVERSATION_MAX = 256


class Heard(StrEnum):
    """What one call tells about the agent, named for what follows from it."""

    DONE = "done"  # 200 with a conversation.
    ALREADY = "already"  # 409 of the agent: provisioned since its process started.
    WAITING = "waiting"  # 202: heard; a group admin has not let it in.
    FAILED = "failed"  # 500 of the agent: heard; the conversation could not be made.
    NOT_READY = "not_ready"  # 503 of the agent: has not heard.
    BAD_REQUEST = "bad_request"  # 400 of the agent: has not heard, and never will.
    WRONG_KEY = "wrong_key"  # 401 with every known key: has not heard.
    UNREACHED = "unreached"  # Refused connection, no such host, or the edge's 404: has not heard.
    SILENT = "silent"  # Time-out, cut connection, anything else: may have heard.


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to `POST /pool/provision`."""

    heard: Heard
    conversation_id: str | None = None
    invite_url: str | None = field(default=None, repr=False)
    joined: bool = False
    detail: str = ""  # For people; never an agent's own text beyond its status code.


@dataclass(frozen=True, slots=True)
class Status:
    """An answer to `GET /pool/status`; `reached` False: nothing else in it counts."""

    reached: bool
    ready: bool = False
    provisioned: bool = False
    conversation_id: str | None = None
    invite_url: str | None = field(default=None, repr=False)
    wrong_key: bool = False
    refused: bool = False  # Surely nobody there: refused connection, no such host, the edge's 404.


@dataclass(frozen=True, slots=True)
class Letter:
    """What the agent is told."""

    name: str
    instructions: str = field(repr=False)
    join_url: str | None = field(default=None, repr=False)


class Agents(Protocol):
    """Calls to agents. `keys`: the instance's key under each known secret, the one of its keyId first;
    another is tried only after a 401. Never raises for what the agent or the network does."""

    async def status(self, url: str, keys: tuple[str, ...]) -> Status: ...

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply: ...

    async def close(self) -> None: ...


def read_status(code: int, body: bytes) -> Status:
    """Read an answer to /pool/status; anything but the agent's own JSON is `reached=False`."""
    said = _json(body)
    if code == 401 and _own_error(said):
        return Status(reached=False, wrong_key=True)
    if code == 404:
        return Status(reached=False, refused=True)
    if (
        code != 200
        or not isinstance(said.get("ready"), bool)
        or not isinstance(said.get("provisioned"), bool)
    ):
        return Status(reached=False)
    return Status(
        reached=True,
        ready=said["ready"],
        provisioned=said["provisioned"],
        conversation_id=_text(said, "conversationId"),
        invite_url=_invite(said),
    )


_BY_CODE = {
    400: Heard.BAD_REQUEST,
    401: Heard.WRONG_KEY,
    409: Heard.ALREADY,
    500: Heard.FAILED,
    503: Heard.NOT_READY,
}


def read_reply(code: int, body: bytes) -> Reply:
    """Read an answer to /pool/provision as the table of the claim's path does."""
    said = _json(body)
    conversation, invite = _text(said, "conversationId"), _invite(said)
    if code == 200 and conversation:
        return Reply(Heard.DONE, conversation, invite, joined=said.get("joined") is True)
    if code == 202 and said.get("status") == "waiting_for_acceptance":
        return Reply(Heard.WAITING, detail="waits to be let in")
    if code == 404:
        return Reply(Heard.UNREACHED, detail="nothing is there (404)")
    if code in _BY_CODE and _own_error(said):
        return Reply(_BY_CODE[code], conversation, invite, detail=f"the agent answered {code}")
    return Reply(Heard.SILENT, detail=f"no answer of the agent's own ({code})")


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _own_error(said: dict[str, Any]) -> bool:
    """The agent says `error`; the edge says `status`, `code` and `message`."""
    return isinstance(said.get("error"), str) and "code" not in said


def _text(said: dict[str, Any], name: str) -> str | None:
    value = said.get(name)
    good = isinstance(value, str) and 0 < len(value) <= CONVERSATION_MAX and value.isprintable()
    return value if good else None


def _invite(said: dict[str, Any]) -> str | None:
    """Only https, and nothing that a row, a header or a QR code could not hold (NUL, half a surrogate)."""
    value = said.get("inviteUrl")
    if not isinstance(value, str) or not value.startswith("https://"):
        return None
    good = value.isprintable() and " " not in value and len(value.encode()) <= INVITE_MAX_BYTES
    return value if good else None
