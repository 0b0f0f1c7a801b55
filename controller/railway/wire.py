"""One GraphQL operation over HTTP: sent once, bounded, answered with its root field or a named error.

Nothing is ever sent again from here. Error texts hold no token, no value that was sent and no URL.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

import httpx
from graphql import OperationDefinitionNode, parse, print_ast

from controller.railway import Allowance, NotReady, RailwayError, Unclear
from controller.railway.errors import named_error
from controller.railway.limits import allowance, retry_after_s

CONNECT_S = 10.0
ANSWER_MAX_BYTES = 16 * 1024 * 1024  # 500 instances take about 0.4 MB.
CLIENT_NAME = "agent-pool"


def _operations() -> dict[str, str]:
    text = files("controller.railway").joinpath("operations.graphql").read_text()
    return {
        node.name.value: print_ast(node)
        for node in parse(text).definitions
        if isinstance(node, OperationDefinitionNode) and node.name
    }


OPERATIONS = _operations()


class Wire:
    """HTTP to one GraphQL endpoint. `allowance` is what the last answer said; empty after no answer."""

    def __init__(
        self,
        endpoint: str,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        for chatty in ("httpx", "httpcore"):  # They log each request at INFO.
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # Without a query string Railway's edge has a narrower limit of its own (error 1015).
        self._url = httpx.URL(endpoint).copy_merge_params({"source": CLIENT_NAME})
        self._clock = clock
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            trust_env=False,
            follow_redirects=False,
        )
        self.allowance = Allowance()

    async def ask(
        self,
        operation: str,
        variables: Mapping[str, Any],
        auth: Mapping[str, str],
        *,
        timeout_s: float,
        hide: Collection[str] = (),
    ) -> Any:
        """The value of the operation's one root field, never None.

        Raises NotReady when nothing was sent, Unclear when no clear answer came, else as `named_error`
        says. `hide`: values that were sent and that no error may repeat.
        """
        body = {"query": OPERATIONS[operation], "operationName": operation, "variables": variables}
        headers = {**auth, "Content-Type": "application/json"}
        request = self._http.build_request(
            "POST", self._url, content=json.dumps(body), headers=headers
        )
        response, content = await self._send(request, operation, timeout_s)
        self.allowance = allowance(response.headers, self._clock())
        return self._value(operation, response, content, hide)

    async def _send(
        self, request: httpx.Request, operation: str, timeout_s: float
    ) -> tuple[httpx.Response, bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.send(request, stream=True)
                try:
                    return response, await _bounded(response)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self.allowance = Allowance()
            raise NotReady(f"cannot connect to Railway; {operation} was not sent") from None
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            self.allowance = Allowance()
            raise Unclear(f"no answer to {operation} ({type(error).__name__})") from None

    def _value(
        self, operation: str, response: httpx.Response, content: bytes, hide: Collection[str]
    ) -> Any:
        said = _json_object(content)
        if said is None:
            raise self._unreadable(operation, response, content)
        if said.get("errors") or response.status_code != 200:
            message, code = _first(said.get("errors"))
            raise self._named(response, message, code, hide)
        data = said.get("data")
        if not isinstance(data, dict) or len(data) != 1 or None in data.values():
            raise Unclear(f"no data in the answer to {operation}")
        return next(iter(data.values()))

    def _unreadable(self, operation: str, response: httpx.Response, content: bytes) -> RailwayError:
        if response.status_code == 429:
            blocked = b"error code: 1015" in content[:1000]
            return self._named(response, "error code: 1015" if blocked else "")
        return Unclear(f"the answer to {operation} is not Railway's own ({response.status_code})")

    def _named(
        self,
        response: httpx.Response,
        message: str,
        code: str | None = None,
        hide: Collection[str] = (),
    ) -> RailwayError:
        wait_s = retry_after_s(response.headers, self._clock())
        if wait_s is None and self.allowance.remaining == 0:
            wait_s = self.allowance.reset_in_s
        return named_error(
            message,
            http_status=response.status_code,
            code=code,
            retry_after_s=wait_s,
            hide=hide,
        )

    async def close(self) -> None:
        await self._http.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise httpx.DecodingError("too large")
    return bytes(content)


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _first(errors: Any) -> tuple[str, str | None]:
    """Message and code of the first error; empty where it has none."""
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", None
    message, extensions = first.get("message"), first.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    return (
        message if isinstance(message, str) else "",
        code if isinstance(code, str) else None,
    )
