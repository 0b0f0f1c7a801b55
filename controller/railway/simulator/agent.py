"""A simulated agent: what it answers, path by path and in the order of its checks. Pure.

Facts: the agent template's `src/server.js` at 53645b3. It tests `provisioned` when it hears a call and sets
it after its awaits, so two calls that overlap both go through and the later one to end wins.
"""

import hmac
import json
import random
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from controller.railway.simulator.state import Process

BODY_MAX_BYTES = 1_000_000
INVITE_URL = "https://dev.convos.org/v2?i="
INVITE_LENGTH = 200
PROVIDER_KEYS = {
    "apiKey": "ANTHROPIC_API_KEY",
    "openai-api-key": "OPENAI_API_KEY",
    "gemini-api-key": "GEMINI_API_KEY",
    "openrouter-api-key": "OPENROUTER_API_KEY",
    "ai-gateway-api-key": "AI_GATEWAY_API_KEY",
    "moonshot-api-key": "MOONSHOT_API_KEY",
    "kimi-code-api-key": "KIMI_API_KEY",
    "zai-api-key": "ZAI_API_KEY",
    "synthetic-api-key": "SYNTHETIC_API_KEY",
    "opencode-zen": "OPENCODE_ZEN_API_KEY",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, as far as an agent looks at it."""

    method: str
    path: str
    authorization: str = field(default="", repr=False)
    body: bytes = field(default=b"", repr=False)
    target: str = ""  # Path and query, for a real program behind a proxy.
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def key(self) -> str | None:
        """The bearer key; the scheme in any case."""
        scheme, _, key = self.authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" and key.strip() else None


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON, or where `raw` is set, that."""

    code: int
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    raw: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"

    @property
    def body(self) -> bytes:
        return json.dumps(self.said).encode() if self.raw is None else self.raw


def page(code: int, text: str) -> Answer:
    """What no agent's own JSON is."""
    return Answer(code, raw=text.encode(), content_type="text/html")


@dataclass(frozen=True, slots=True)
class Work:
    """The agent has heard: what it was told, and the conversation it will open."""

    name: str
    instructions_sha256: str
    join_url: str | None = field(repr=False)
    conversation_id: str
    invite_url: str = field(repr=False)


class Agent:
    """One agent, from its variables and its process's memory; nothing is kept in here."""

    def __init__(self, variables: Mapping[str, str], process: Process, now: float) -> None:
        self._variables, self._process, self._now = variables, process, now

    @property
    def ready(self) -> bool:
        """Its gateway is up, and its start-up did not fail (then only a time-out tells)."""
        if not configured(self._variables):
            return False
        return self._process.ready_at is not None and self._process.ready_at <= self._now

    def keyless(self, call: Call) -> Answer | None:
        """What it answers to anybody, if this is such a call."""
        if call.path == "/setup/healthz":
            return Answer(200, {"ok": True})
        return Answer(200, {"version": "simulated"}) if call.path == "/version" else None

    def denied(self, call: Call) -> Answer | None:
        key = self._variables.get("POOL_API_KEY", "")
        if not key:
            return Answer(500, {"error": "POOL_API_KEY is not set"})
        if not hmac.compare_digest((call.key or "").encode(), key.encode()):
            return Answer(401, {"error": "Invalid or missing pool API key"})
        return None

    def status(self) -> Answer:
        process = self._process
        return Answer(
            200,
            {
                "ready": self.ready,
                "provisioned": process.provisioned,
                "conversationId": process.conversation_id,
                "inviteUrl": process.invite_url,
            },
        )

    def hear(self, body: bytes, rng: random.Random) -> Answer | Work:
        """The checks of POST /pool/provision, in their order; Work when it takes the instructions in."""
        if len(body) > BODY_MAX_BYTES:
            return page(413, "PayloadTooLargeError: request entity too large")
        told = _json_object(body)
        if told is None:
            return page(400, "SyntaxError: not JSON")
        if not self.ready:
            return Answer(503, {"error": "Instance not ready yet"})
        if self._process.provisioned:
            return Answer(409, {"error": "Already provisioned", **self._conversation()})
        instructions = told.get("instructions")
        if not isinstance(instructions, str) or not instructions:
            return Answer(400, {"error": "instructions (string) is required"})
        return work(name_in(told), instructions, told.get("joinUrl"), rng)

    def _conversation(self) -> dict[str, Any]:
        process = self._process
        return {
            "conversationId": process.conversation_id,
            "inviteUrl": process.invite_url,
            "qrDataUrl": None,
        }


def configured(variables: Mapping[str, str]) -> bool:
    """Whether it can become ready: POOL_AUTH_CHOICE is known, and its own variable is not empty."""
    key = PROVIDER_KEYS.get(variables.get("POOL_AUTH_CHOICE", "apiKey"))
    return key is not None and bool(variables.get(key))


def work(name: str, instructions: str, join_url: Any, rng: random.Random) -> Work:
    """A conversation of its own, with an invite of 200 characters, unless it was asked to join one."""
    token = urlsafe_b64encode(rng.randbytes(INVITE_LENGTH)).decode()
    joins = join_url if isinstance(join_url, str) and join_url else None
    return Work(
        name=name,
        instructions_sha256=sha256(instructions.encode()).hexdigest(),
        join_url=joins,
        conversation_id=rng.randbytes(16).hex(),
        invite_url=joins or (INVITE_URL + token)[:INVITE_LENGTH],
    )


def finish(process: Process, done: Work) -> Answer:
    """The conversation stands: remember it, whatever was remembered before."""
    process.provisioned = True
    process.conversation_id, process.invite_url = done.conversation_id, done.invite_url
    return Answer(
        200,
        {
            "inviteUrl": done.invite_url,
            "qrDataUrl": None,
            "conversationId": done.conversation_id,
            "joined": done.join_url is not None,
        },
    )


WAITS = Answer(
    202, {"status": "waiting_for_acceptance", "message": "The group's admin has not let us in yet"}
)
FAILS = Answer(500, {"error": "conversation could not be created"})
NONSENSE = page(200, "<!doctype html><title>agent</title>")


def name_in(told: Mapping[str, Any]) -> str:
    """What the agent is called; blank or missing becomes "Agent"."""
    name = told.get("name")
    return name.strip() if isinstance(name, str) and name.strip() else "Agent"


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else {}
