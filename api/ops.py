"""The second port of a process, without auth: is it ready, how is it doing, which version is it."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4


def ops_application(
    *, ready: Callable[[], str | None], registry: CollectorRegistry, version: str
) -> web.Application:
    """`ready` gives None, or in a few words why not."""

    async def readyz(_: web.Request) -> web.Response:
        trouble = ready()
        body = {"ok": True} if trouble is None else {"ok": False, "error": trouble}
        return web.json_response(body, status=200 if trouble is None else 503)

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def show_version(_: web.Request) -> web.Response:
        return web.json_response({"version": version})

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/version", show_version)
    return app


async def serve_ops(
    host: str,
    port: int,
    *,
    ready: Callable[[], str | None],
    registry: CollectorRegistry,
    version: str,
) -> web.AppRunner:
    """Listen until the runner's `cleanup()`. Raises OSError where the port is taken."""
    app = ops_application(ready=ready, registry=registry, version=version)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
