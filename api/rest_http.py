"""What holds for every request: JSON errors, one log line, nosniff, and who may come in."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from api.answers import RETRY_AFTER_S, UNREACHABLE, Failure, wire
from api.auth import COOKIE, Auth, Slowdown
from api.records import Invalid, NotFound, RecordsError
from api.rest_ask import Problem
from api.rest_metrics import RestMetrics

BODY_MAX_BYTES = 256 * 1024
BODY_WITHIN_S = 30.0  # A body that trickles in for longer is given up.
CLAIM = web.RequestKey("claim", str)  # Where a handler leaves the claim's name for the log.
HUNG_UP = 499  # As nginx writes it.
_PATH_LOGGED_MAX = 200

logger = logging.getLogger(__name__)


def failure(status: int, error: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(wire(Failure(error=error)), status=status, headers=headers)


@web.middleware
async def plainly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: whatever happens inside becomes an answer in JSON and one line in the log."""
    loop = asyncio.get_running_loop()
    begun_s, status = loop.time(), HUNG_UP
    try:
        response = await _answered(request, handler)
        status = response.status
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Server"] = "agent-pool"
        response.headers.setdefault("Cache-Control", "no-store")
        return response
    finally:
        _log(request, status, loop.time() - begun_s)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return failure(problem.status, problem.error, problem.headers)
    except web.HTTPException as refused:
        kept = {n: v for n, v in refused.headers.items() if n in ("Allow", "Location")}
        return failure(refused.status, HTTPStatus(refused.status).phrase, kept)
    except NotFound:
        return failure(404, "There is no such claim.")
    except Invalid as refused:
        return failure(400, str(refused))
    except RecordsError:
        return failure(503, UNREACHABLE, {"Retry-After": str(RETRY_AFTER_S)})
    except (HttpProcessingError, web.RequestPayloadError):
        return failure(400, "The body could not be read.")
    except (
        Exception
    ) as error:  # A bug. Its text may hold what the client sent: log where, not what.
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s while answering a request\n%s", type(error).__name__, where)
        return failure(500, "Internal error")


def _log(request: web.Request, status: int, seconds: float) -> None:
    told = {"status": status, "seconds": round(seconds, 4)}
    if (name := request.get(CLAIM)) is not None:
        told["claim"] = name
    level = logging.DEBUG if request.path == "/healthz" else logging.INFO
    path = request.rel_url.raw_path[:_PATH_LOGGED_MAX]
    logger.log(level, "%s %s %s", request.method, path, status, extra=told)


async def body_of(request: web.Request) -> bytes:
    """Bounded in size and time. Raises Problem 413, 415, 408."""
    if request.content_type != "application/json":
        raise Problem(415, "Content-Type must be application/json.")
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise Problem(413, f"The body must be at most {BODY_MAX_BYTES} bytes.")
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "The body took too long to arrive.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Problem(413, f"The body must be at most {BODY_MAX_BYTES} bytes.") from None


class Guard:
    """Lets in who shows the key or a visit's cookie; wrong keys wait for their answer."""

    def __init__(self, auth: Auth, slowdown: Slowdown, metrics: RestMetrics) -> None:
        self.auth = auth
        self._slowdown = slowdown
        self._metrics = metrics

    def middleware(self, is_open: Callable[[web.Request], bool]) -> Middleware:
        """For every path there is but the open ones."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.match_info.http_exception is None and not is_open(request):
                await self._let_in(request)
            return await handler(request)

        return guard

    async def _let_in(self, request: web.Request) -> None:
        header = request.headers.get("Authorization")
        if header is not None:
            if not self.auth.is_bearer(header):
                await self.refuse(request)
        elif not self.auth.is_visit(request.cookies.get(COOKIE, "")):
            self._metrics.auth_failures.inc()
            raise _unauthorized()
        elif request.method not in ("GET", "HEAD"):
            require_same_origin(request)

    async def refuse(self, request: web.Request) -> None:
        """A wrong key: 401, after what this address's earlier ones have earned it."""
        self._metrics.auth_failures.inc()
        await asyncio.sleep(self._slowdown.wrong_key(request.remote or ""))
        raise _unauthorized()


def _unauthorized() -> Problem:
    return Problem(401, "Invalid or missing API key", WWW_Authenticate="Bearer")


def require_same_origin(request: web.Request) -> None:
    """A cookie comes by itself, so a browser must say that our own page sends the request."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    if site != "same-origin" and (site is not None or origin != request.host):
        raise Problem(403, "With a cookie, only the page of this very server may ask this.")


# ---------------------------------------------------------------- what is no HTTP at all


class _JsonProtocol(RequestHandler):
    """aiohttp's own refusals (a bad request line, a NUL in a header), in JSON and without a word of them."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        logger.info("not HTTP, or not heard to its end: %s", type(exc).__name__)
        response = failure(status, HTTPStatus(status).phrase)
        response.force_close()
        return response


class _JsonServer(web.Server):
    def __call__(self) -> RequestHandler:
        return _JsonProtocol(self, loop=self._loop, **self._kwargs)


class JsonRunner(web.AppRunner):
    """As AppRunner, with handlers cancelled when their client hangs up, and no answer but JSON."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=shutdown_timeout
        )

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _JsonServer
        return server
