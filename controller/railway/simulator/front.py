"""Railway's front: one GraphQL request from its bytes to an answer, with limits, faults and the journal."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.faults import BEFORE, LOOKS
from controller.railway.simulator.graphql_api import Api, Asked, Said, problem
from controller.railway.simulator.habits import Span
from controller.railway.simulator.holdings import NO_INSTANCE
from controller.railway.simulator.ratelimit import Budget, Edge
from controller.railway.simulator.resolvers import Context
from controller.railway.simulator.state import Token
from controller.railway.simulator.world import World

SLOW_S: Span = (1.0, 5.0)
FAULT_WAIT_S = 2.0  # Retry-After of a 429 that is a fault.
HTML = "<!doctype html><html><head><title>502 Bad Gateway</title></head></html>"
LATE_HTML = "<!doctype html><html><head><title>504 Gateway Time-out</title></head></html>"
DRIFT = {
    "message": 'Unknown argument "input" on field "Mutation.unknown".',
    "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
}
NOT_FOUND = {"message": NO_INSTANCE, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
NO_PEER = "upstream connect error or disconnect/reset before headers"


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes back over the wire."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Front:
    """Answers GraphQL requests, each on record before it is answered."""

    def __init__(
        self,
        world: World,
        writer: Writer,
        budget: Budget,
        edge: Edge,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._world, self._writer = world, writer
        self._budget, self._edge, self._sleep = budget, edge, sleep
        self._api = Api()

    async def answer(self, raw: bytes, headers: Mapping[str, str], has_query: bool) -> Sent:
        trace_id = self._world.new_id()
        asked = self._asked(raw, trace_id)
        targets = asked.targets(self._world) if isinstance(asked, Asked) else set()
        op = asked.name if isinstance(asked, Asked) else "?"
        draw = self._world.faults.draw
        if draw("apiSlow", targets):
            await self._sleep(self._world.faults.rng.uniform(*SLOW_S))
        refused = self._refused(targets, has_query)
        if refused is not None:
            self._writer.commit(request=trace_id, op=op, status=refused.status)
            return refused
        if draw("serviceDeleted"):
            self._world.delete_any()
        said = self._said(asked, token_in(self._world, headers), targets, trace_id)
        self._writer.commit(request=trace_id, op=op, status=said.status)
        return self._sent(said, targets)

    def _asked(self, raw: bytes, trace_id: str) -> Asked | Said:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        said: dict[str, Any] = body if isinstance(body, dict) else {}
        asked = (said.get("query"), said.get("operationName"), said.get("variables"))
        return self._api.ask(*asked, trace_id)

    def _refused(self, targets: set[str], has_query: bool) -> Sent | None:
        """The answers after which nothing has happened."""
        fault = self._world.faults.first(BEFORE, targets)
        if self._edge.refuses(has_query) or fault == "edgeLimited":
            return Sent(429, b"error code: 1015", "text/plain")
        wait_s = FAULT_WAIT_S if fault == "rateLimited" else self._budget.take()
        headers = self._budget.headers(wait_s)
        if wait_s is not None:
            body = json.dumps({"errors": [{"message": "Too many requests"}]}).encode()
            return Sent(429, body, headers=headers)
        pages = {
            "unavailable": (503, NO_PEER, "text/plain"),
            "badGateway": (502, HTML, "text/html"),
            "timeoutBefore": (504, LATE_HTML, "text/html"),
            "drift": (400, json.dumps({"errors": [DRIFT]}), "application/json"),
            "notFound": (
                200,
                json.dumps({"data": None, "errors": [NOT_FOUND]}),
                "application/json",
            ),
        }
        if fault not in pages:
            return None
        status, text, content_type = pages[fault]
        return Sent(status, text.encode(), content_type, headers)

    def _said(
        self, asked: Asked | Said, token: Token | None, targets: set[str], trace_id: str
    ) -> Said:
        if isinstance(asked, Said):
            return asked
        faults = self._world.faults
        broken = faults.draw("problem", targets)
        if broken and faults.rng.random() < 0.5:  # Nobody can tell whether it happened.
            return problem(trace_id)
        lists = "environment" in targets  # Only a look can be spoilt like that.
        spoilt = (lists and faults.draw(name, targets) for name in LOOKS)
        context = Context(self._world, token, self._budget, *spoilt)
        said = self._api.answer(asked, context, trace_id)
        return problem(trace_id) if broken else said

    def _sent(self, said: Said, targets: set[str]) -> Sent:
        """The answer, unless it is spoilt on its way."""
        draw, headers = self._world.faults.draw, self._budget.headers()
        if draw("timeoutAfter", targets):
            return Sent(504, LATE_HTML.encode(), "text/html", headers)
        if draw("nullData", targets):
            return Sent(200, b'{"data":null}', headers=headers)
        body = json.dumps(said.body).encode()
        if draw("cutOff", targets):
            body = body[: len(body) // 2]
        return Sent(said.status, body, headers=headers)


def token_in(world: World, headers: Mapping[str, str]) -> Token | None:
    """A project token has its own header; the other kinds are bearers. Both headers may be sent."""
    own = _held(world, headers.get("Project-Access-Token", ""))
    if own is not None and own.kind == "project":
        return own
    other = _held(world, bearer(headers))
    return other if other is not None and other.kind != "project" else None


def bearer(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _held(world: World, value: str) -> Token | None:
    held = [t for t in world.tokens.values() if compare_digest(t.value.encode(), value.encode())]
    return held[0] if held else None
