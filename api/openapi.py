"""OpenAPI 3.1 of the REST door, made from the types that read its bodies and write its answers."""

from typing import Any

from pydantic.json_schema import models_json_schema

from api.answers import (
    Failure,
    Healthy,
    PoolsStatus,
    Queued,
    Replenished,
    Served,
    Shown,
    ShownClaims,
)
from api.model import Model
from api.rest_ask import KEY_PATTERN, WAIT_MAX_S, ClaimBody

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_ANSWERS: tuple[type[Model], ...] = (
    Failure,
    Healthy,
    PoolsStatus,
    Queued,
    Replenished,
    Served,
    Shown,
    ShownClaims,
)
_FAILURES = {
    400: "A field, header or parameter is wrong; the text names it.",
    401: "Wrong or missing key.",
    403: "A cookie that came from another page.",
    404: "There is no such claim, or no such pool.",
    408: "The body took too long to arrive.",
    409: "This Idempotency-Key was used with another body.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    500: "The claim failed for good, or the sidecar did.",
    503: "Not now: no idle instance, no verdict yet, or the records are out of reach.",
}
_ANYWHERE = (400, 401, 403, 500, 503)
_QR = {
    "name": "qr",
    "in": "query",
    "description": "`none` leaves `qrDataUrl` out.",
    "schema": {"enum": ["png", "none"], "default": "png"},
}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The claim's name.",
    "schema": {"type": "string", "minLength": 1},
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": f"Answer once the claim ended, at most so many seconds from now ({WAIT_MAX_S}).",
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
}
_CLAIM_HEADERS = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and body get the same answer, until the claim is released.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_PATTERN},
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N` (0 to 120 s) or `respond-async`: the claim may wait for an idle"
        " instance, and the answer is 202 when the time is over. Others are ignored (RFC 7240).",
        "schema": {"type": "string"},
        "examples": {"wait": {"value": "wait=30"}, "async": {"value": "respond-async"}},
    },
]


def document(version: str) -> Json:
    """The whole document, JSON-able."""
    models = [(model, "validation") for model in (ClaimBody, *_ANSWERS)]
    _, schemas = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "agent-pool", "version": version},
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> Json:
    claims, status = "/api/pool/claims", _ok(PoolsStatus)
    moved = {"description": "The setup page of an idle instance.", "headers": _header("Location")}
    return {
        "/api/pool/claim": {"post": _claim()},
        claims: {"get": _operation("The newest claims", _ok(ShownClaims))},
        f"{claims}/{{name}}": {
            "parameters": [_NAME],
            "get": _operation("Read a claim", _ok(Shown), 404, parameters=[_WAIT, _QR]),
            "delete": _operation("Release a claim", {"204": {"description": "Released."}}, 404),
        },
        "/api/pool/status": {"get": _operation("Counts and instances", status)},
        "/api/pool/setup": {"get": _operation("Set up an idle instance", {"302": moved})},
        "/api/pool/replenish": {"post": _operation("Look now", _ok(Replenished))},
        "/healthz": {"get": {"security": [], "summary": "Alive", "responses": _ok(Healthy)}},
    }


def _claim() -> Json:
    answers = _ok(Served)
    answers["202"] = _answer("On record and waiting.", Queued) | {"headers": _header("Location")}
    body = {"required": True, "content": _content(ClaimBody)}
    parameters = [*_CLAIM_HEADERS, _QR]
    claim = _operation("Claim an agent", answers, 404, 408, 409, 413, 415, parameters=parameters)
    return claim | {"requestBody": body}


def _operation(summary: str, answers: Json, *failures: int, parameters: Any = ()) -> Json:
    refused = {
        str(status): _answer(_FAILURES[status], Failure)
        for status in sorted({*_ANYWHERE, *failures})
    }
    return {"summary": summary, "parameters": list(parameters), "responses": answers | refused}


def _ok(body: type[Model]) -> Json:
    return {"200": _answer("Done.", body)}


def _answer(description: str, body: type[Model]) -> Json:
    return {"description": description, "content": _content(body)}


def _content(body: type[Model]) -> Json:
    return {"application/json": {"schema": {"$ref": _REF.format(model=body.__name__)}}}


def _header(name: str) -> Json:
    return {name: {"schema": {"type": "string"}}}
