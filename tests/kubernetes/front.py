"""A door in front of a real API server, on a real socket: it passes everything on, or does as it is told."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from api.kubernetes.client import lines_of
from api.kubernetes.config import Cluster

PASSED_ON = ("Authorization", "Content-Type", "Accept")
HUNG_UP = None  # Instead of an answer.


class Heard(NamedTuple):
    """A request, as it came in."""

    method: str
    path: str
    watches: bool
    token: str


class Wrong(NamedTuple):
    """An answer of the door's own; `after`: the server has done what was asked, its answer is lost."""

    status: int | None
    body: bytes
    headers: Mapping[str, str]
    watches: bool
    after: bool


@dataclass
class Front:
    """`refuse` and `lose` are for the next that asks; the rest holds until it is changed back."""

    server: str
    tls: ssl.SSLContext
    heard: list[Heard] = field(default_factory=list)
    token: str = ""  # The only one that is known; "": the server's affair.
    delays: Callable[[Heard], float] = lambda heard: (
        0.0
    )  # For how many seconds it sits on a request.
    loses: Callable[[dict[str, Any]], bool] = lambda event: False  # Which events no watch tells.
    port: int = 0
    _wrong: deque[Wrong] = field(default_factory=deque)
    _open: dict[web.StreamResponse, web.Request] = field(default_factory=dict)

    def refuse(
        self,
        status: int | None,
        *,
        times: int = 1,
        body: bytes = b"{}",
        watches: bool = False,
        after: bool = False,
        **headers: str,
    ) -> None:
        """So many requests (watches, or any others) get this instead of the server's answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._wrong.extend([Wrong(status, body, named, watches, after)] * times)

    def asked(self, method: str = "GET", *, watches: bool = False) -> list[Heard]:
        return [h for h in self.heard if (h.method, h.watches) == (method, watches)]

    @property
    def told_all(self) -> bool:
        """Whether every wrong answer was given."""
        return not self._wrong

    @property
    def watched(self) -> int:
        """How many watches are open, and would be told."""
        return len(self._open)

    def hush(self) -> None:
        """Watches that are open stay so, and say nothing any more; new ones speak."""
        for response in list(self._open):
            del self._open[response]

    async def tell_watches(self, event: object) -> int:
        """An event of the door's own, after which the watches end; to how many."""
        told = 0
        for response, request in list(self._open.items()):
            with suppress(ConnectionError):
                line = event if isinstance(event, bytes) else json.dumps(event).encode()
                await response.write(line + b"\n")
                told += 1
            self._end(response, request)
        return told

    def cut_watches(self) -> None:
        for response, request in list(self._open.items()):
            self._end(response, request)

    def _end(self, response: web.StreamResponse, request: web.Request) -> None:
        self._open.pop(response, None)
        if request.transport is not None:
            request.transport.close()

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        watches = request.query.get("watch", "") in ("1", "true")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.heard.append(Heard(request.method, request.path, watches, token))
        await asyncio.sleep(self.delays(self.heard[-1]))
        wrong = next((each for each in self._wrong if each.watches == watches), None)
        if wrong is not None:
            self._wrong.remove(wrong)
        elif self.token and token != self.token:
            wrong = Wrong(401, b"{}", {}, watches, after=False)
        if wrong is not None and not wrong.after:
            return self._answer(request, wrong)
        kept = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        for_ever = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.tls)) as http,
            http.request(
                request.method,
                self.server + request.path_qs,
                data=await request.read() or None,
                headers=kept,
                timeout=for_ever,
            ) as answer,
        ):
            if watches and answer.status == 200:
                return await self._stream(request, answer)
            body = await answer.read()
            if wrong is not None:
                return self._answer(request, wrong)
            date = {"Date": answer.headers["Date"]}
            kind = answer.content_type
            return web.Response(status=answer.status, body=body, content_type=kind, headers=date)

    def _answer(self, request: web.Request, wrong: Wrong) -> web.Response:
        if wrong.status is HUNG_UP:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=wrong.status or 500, body=wrong.body, headers=wrong.headers)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self._open[response] = request
        async for line in lines_of(answer.content):
            if response in self._open and not self.loses(json.loads(line)):
                await response.write(line + b"\n")
        if response not in self._open:
            await asyncio.Event().wait()  # Silent: it does not even end.
        del self._open[response]
        return response


@asynccontextmanager
async def a_front(cluster: Cluster) -> AsyncIterator[Front]:
    """One before that server, without TLS of its own."""
    front = Front(cluster.server, cluster.tls)
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", front.pass_on)
    runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    front.port = runner.addresses[0][1]
    try:
        yield front
    finally:
        await runner.cleanup()
