"""Agents on real sockets: one aiohttp runner for all, a listening address for each service domain."""

import asyncio
import logging

from aiohttp import web

from controller.railway.simulator.addresses import parts
from controller.railway.simulator.agent import BODY_MAX_BYTES, Answer, Call
from controller.railway.simulator.house import Cut, House
from controller.railway.simulator.world import World

log = logging.getLogger(__name__)
BACKLOG = 1024
GONE_KEPT = 256  # Addresses of gone services that the edge still answers 404 on.


class AgentSites:
    """`sync` makes what listens agree with the world's domains."""

    def __init__(self, world: World, house: House) -> None:
        self._world, self._house = world, house
        self._sites: dict[str, web.TCPSite] = {}
        self._failed: set[str] = set()  # Tried again at each `sync`, complained of once.
        self._runner: web.AppRunner | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        app = web.Application(client_max_size=2 * BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await self.sync()

    async def sync(self) -> None:
        if self._runner is None:
            return
        async with self._lock:
            wanted = set(self._world.hosts())
            for host in [host for host in wanted if host not in self._sites]:
                await self._open(self._runner, host)
            gone = [host for host in self._sites if host not in wanted]
            for host in gone[: max(0, len(gone) - GONE_KEPT)]:
                await self._sites.pop(host).stop()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _open(self, runner: web.AppRunner, host: str) -> None:
        try:
            site = web.TCPSite(runner, *parts(host), backlog=BACKLOG)
            await site.start()
        except (OSError, ValueError) as error:
            if host not in self._failed:
                log.warning("cannot listen on %s: %s", host, error)
            self._failed.add(host)
            return
        self._sites[host] = site

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise web.HTTPBadGateway
        address, port = transport.get_extra_info("sockname")[:2]
        try:
            answer = await self._house.handle(f"{address}:{port}", await _call(request))
        except Cut:
            transport.abort()
            return web.Response()
        return _response(answer)


async def _call(request: web.Request) -> Call:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b" " * (BODY_MAX_BYTES + 1)  # The agent refuses it by its size.
    headers = tuple((name, value) for name, value in request.headers.items())
    authorization = request.headers.get("Authorization", "")
    return Call(request.method, request.path, authorization, body, str(request.rel_url), headers)


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type}
    return web.Response(status=answer.code, body=answer.body, headers=headers)
