"""The REST door: paths and methods, each a few lines around the door, the records and the page."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from api.answers import RETRY_AFTER_S, Answer, Body, Healthy, Replenished, Served, Shown, wire
from api.auth import COOKIE, COOKIE_S
from api.door import ClaimRequest, Door
from api.invite import qr_data_url
from api.openapi import document
from api.records import NotFound, Records
from api.replenish import Replenish
from api.rest_ask import (
    Problem,
    claim_body,
    claim_request,
    json_object,
    query_qr,
    query_wait_s,
    warnings,
)
from api.rest_http import (
    BODY_MAX_BYTES,
    CLAIM,
    HUNG_UP,
    Guard,
    body_of,
    plainly,
    require_same_origin,
)
from api.rest_metrics import RestMetrics
from api.rest_status import idle_url, pool_counts, pool_status
from api.scalars import Name

CLAIMS = "/api/pool/claims"
_OPEN = frozenset({"/", "/page/{file}", "/login", "/logout", "/healthz"})
_NAME = TypeAdapter(Name)
_PAGE = {"page.css": "text/css", "page.js": "text/javascript"}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Rest:
    """The handlers, over what they need."""

    door: Door
    replenish: Replenish
    records: Records
    guard: Guard
    metrics: RestMetrics
    namespace: str
    version: str

    def application(self) -> web.Application:
        app = web.Application(
            client_max_size=BODY_MAX_BYTES,
            middlewares=[plainly, self.guard.middleware(_is_open)],
        )
        app.add_routes(
            [
                web.post("/api/pool/claim", self.claim),
                web.get(CLAIMS, self.claims),
                web.get(CLAIMS + "/{name}", self.show),
                web.delete(CLAIMS + "/{name}", self.release),
                web.get("/api/pool/status", self.status),
                web.get("/api/pool/setup", self.setup),
                web.post("/api/pool/replenish", self.look_now),
                web.get("/openapi.json", self.openapi),
                web.get("/healthz", self.healthz),
                web.get("/", self.page),
                web.get("/page/{file}", self.page),
                web.post("/login", self.log_in),
                web.post("/logout", self.log_out),
            ]
        )
        return app

    # ---------------------------------------------------------------- claims

    async def claim(self, request: web.Request) -> web.Response:
        with_qr = query_qr(request.query.get("qr"))
        given = json_object(await body_of(request))
        headers = request.headers
        ask = claim_request(
            claim_body(given), headers.getall("Idempotency-Key", ()), headers.getall("Prefer", ())
        )
        answer = await self._claimed(ask)
        request[CLAIM] = answer.claim
        response = _response(answer.status, answer.body, with_qr, _headers(answer))
        for warning in warnings(given):
            response.headers.add("Warning", warning)
        if ask.wait_s is not None:
            applied = f"wait={ask.wait_s:.0f}" if ask.wait_s else "respond-async"
            response.headers["Preference-Applied"] = applied
        return response

    async def _claimed(self, ask: ClaimRequest) -> Answer:
        loop = asyncio.get_running_loop()
        begun_s, code = loop.time(), str(HUNG_UP)
        try:
            answer = await self.door.claim(ask)
            code = str(answer.status)
            return answer
        finally:
            self.metrics.claim_answers.labels(code).inc()
            self.metrics.claim_seconds.observe(loop.time() - begun_s)

    async def claims(self, _: web.Request) -> web.Response:
        return _response(200, await self.door.newest())

    async def show(self, request: web.Request) -> web.Response:
        with_qr = query_qr(request.query.get("qr"))
        wait_s = query_wait_s(request.query.get("wait"))
        return _response(200, await self.door.read(_claim_name(request), wait_s), with_qr)

    async def release(self, request: web.Request) -> web.Response:
        await self.door.release(_claim_name(request))
        return web.Response(status=204)

    # ---------------------------------------------------------------- pools

    async def status(self, _: web.Request) -> web.Response:
        return _response(200, await pool_status(self.records, self.namespace))

    async def setup(self, _: web.Request) -> web.Response:
        url = await idle_url(self.records, self.namespace)
        if url is None:
            raise Problem(503, "No idle instance to set up.", Retry_After=str(RETRY_AFTER_S))
        return web.Response(status=302, headers={"Location": url.rstrip("/") + "/setup"})

    async def look_now(self, _: web.Request) -> web.Response:
        await self.replenish()
        counts = await pool_counts(self.records, self.namespace)
        return _response(200, Replenished(ok=True, counts=counts))

    # ---------------------------------------------------------------- the rest

    async def healthz(self, _: web.Request) -> web.Response:
        return _response(200, Healthy(ok=True))

    async def openapi(self, _: web.Request) -> web.Response:
        return web.json_response(document(self.version))

    async def page(self, request: web.Request) -> web.Response:
        file = request.match_info.get("file", "index.html")
        kind = "text/html" if file == "index.html" else _PAGE.get(file)
        if kind is None:
            raise Problem(404)
        return web.Response(text=_page(file), content_type=kind, headers=_PAGE_HEADERS)

    async def log_in(self, request: web.Request) -> web.Response:
        """Shown the key once, the page gets a cookie instead."""
        key = json_object(await body_of(request)).get("key")
        if not isinstance(key, str) or not self.guard.auth.is_key(key):
            await self.guard.refuse(request)
        response = web.Response(status=204)
        _set_cookie(response, request, self.guard.auth.visit(), COOKIE_S)
        return response

    async def log_out(self, request: web.Request) -> web.Response:
        require_same_origin(request)
        self.guard.auth.end_visit(request.cookies.get(COOKIE, ""))
        response = web.Response(status=204)
        _set_cookie(response, request, "", 0)
        return response


def _is_open(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in _OPEN


def _claim_name(request: web.Request) -> str:
    """From the path; a name that no claim can have is simply not there."""
    try:
        name: str = _NAME.validate_python(request.match_info["name"])
    except ValidationError:
        raise NotFound from None
    request[CLAIM] = name
    return name


def _headers(answer: Answer) -> dict[str, str]:
    headers = {}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    if answer.located:
        headers["Location"] = f"{CLAIMS}/{answer.claim}"
    return headers


def _response(
    status: int, body: Body, with_qr: bool = True, headers: dict[str, str] | None = None
) -> web.Response:
    """The body in JSON; an invite gets its picture here."""
    if with_qr and isinstance(body, Served | Shown) and body.invite_url:
        with suppress(ValueError):  # Longer than a QR code holds.
            body = body.model_copy(update={"qr_data_url": qr_data_url(body.invite_url)})
    return web.json_response(wire(body), status=status, headers=headers)


def _set_cookie(response: web.Response, request: web.Request, value: str, age_s: int) -> None:
    https = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(
        COOKIE, value, max_age=age_s, httponly=True, samesite="Strict", secure=https, path="/"
    )


@lru_cache
def _page(file: str) -> str:
    return resources.files("api.page").joinpath(file).read_text("utf-8")
