"""A scripted Railway: checks each request against the schema, keeps it, and gives the next answer."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate
from graphql.execution.values import get_variable_values

from controller.railway.client import RailwayClient
from tests.facts import published_schema

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "controller" / "railway" / "simulator" / "schema.graphql"
# Railway's own, and the part of it that the simulator speaks.
SCHEMAS: dict[str, Callable[[], GraphQLSchema]] = {
    "published": published_schema,
    "simulator": cache(lambda: build_schema(SIMULATED.read_text())),
}
ENDPOINT = "https://railway.test/graphql/v2"
TOKEN = "canary-token-7f3a"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """One request, as Railway would read it."""

    operation: str
    variables: dict[str, Any]
    url: httpx.URL
    headers: httpx.Headers = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def data(value: Any, **headers: str) -> Answer:
    """A clean answer. Header names are written with underscores."""
    return _json(200, {"data": value}, headers)


def errors(message: str, status: int = 200, code: str | None = None, **headers: str) -> Answer:
    extensions = {"code": code or "INTERNAL_SERVER_ERROR"}
    said = {"data": None, "errors": [{"message": message, "extensions": extensions}]}
    return _json(status, said, headers)


def text(status: int, content: str, **headers: str) -> Answer:
    return Answer(status, content.encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def _json(status: int, said: Any, headers: Mapping[str, str]) -> Answer:
    return text(status, json.dumps(said), **headers)


class Script(httpx.AsyncBaseTransport):
    """Gives these answers in this order; an exception among them is raised instead."""

    def __init__(self, answers: Iterable[Answer | Exception]) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        _as_railway_would(body)
        self.asked.append(
            Asked(body["operationName"], body["variables"], request.url, request.headers)
        )
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.content)


def _as_railway_would(body: dict[str, Any]) -> None:
    """Refuse what the schema refuses: an unknown field, a variable of the wrong shape."""
    schema, document = published_schema(), parse(body["query"])
    assert validate(schema, document) == []
    (operation,) = (d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    wrong = get_variable_values(schema, operation.variable_definitions or (), body["variables"])
    assert isinstance(wrong, dict), wrong


def a_client(
    *answers: Answer | Exception,
    endpoint: str = ENDPOINT,
    token: str = TOKEN,
    clock: Callable[[], datetime] = lambda: NOW,
) -> tuple[RailwayClient, Script]:
    """A client of project `p`, environment `e`, and the Railway it talks to."""
    script = Script(answers)
    return RailwayClient(endpoint, token, "p", "e", clock=clock, transport=script), script


# ---------------------------------------------------------------- what Railway says


def a_node(service_id: str = "s1", **overrides: Any) -> dict[str, Any]:
    """A service instance as PoolObserve asks for it: new, without source, domain or deployment."""
    return {
        "serviceId": service_id,
        "serviceName": f"convos-agent-{service_id}",
        "deletedAt": None,
        "source": None,
        "latestDeployment": None,
        "domains": {"serviceDomains": []},
    } | overrides


def a_page(*nodes: dict[str, Any], after: str | None = None, of: str = "e") -> Answer:
    info = {"hasNextPage": after is not None, "endCursor": after}
    instances = {"edges": [{"node": node} for node in nodes], "pageInfo": info}
    return data({"environment": {"id": of, "serviceInstances": instances}})


def a_domain(host: str, status: str = "ACTIVE") -> dict[str, str]:
    return {"domain": host, "syncStatus": status}
