"""The sidecar as a process: settings become records, a door and two ports; SIGTERM ends it in order."""

import asyncio
import logging
import secrets
import signal
import time
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CollectorRegistry

from api.auth import Auth, Slowdown
from api.door import Door, Patience
from api.ops import serve_ops
from api.records import Records, RecordsError
from api.records.opening import open_or_refuse
from api.replenish import Replenish
from api.rest import Rest
from api.rest_http import Guard, JsonRunner
from api.rest_metrics import RestMetrics
from api.settings import ApiSettings, SettingError
from api.waiters import Waiters

SHUTDOWN_S = 5.0  # For answers that are being sent, once nobody waits any more.
PULSE_S = 5.0  # How often the records are asked whether they are there, for /readyz.

logger = logging.getLogger(__name__)


class Sidecar:
    """One door over these records, on sockets."""

    def __init__(
        self,
        records: Records,
        *,
        api_key: str,
        namespace: str,
        version: str,
        patience: Patience = Patience(),  # noqa: B008
    ) -> None:
        self._records = records
        self._waiters = Waiters(records)
        self._registry = CollectorRegistry()
        self._door = Door(
            records, self._waiters, new_name=_new_name, namespace=namespace, patience=patience
        )
        metrics = RestMetrics(self._registry, lambda: len(self._waiters))
        auth = Auth(api_key, clock=time.time, new_token=lambda: secrets.token_urlsafe(16))
        rest = Rest(
            door=self._door,
            replenish=Replenish(records, self._waiters, namespace),
            records=records,
            guard=Guard(auth, Slowdown(time.monotonic), metrics),
            metrics=metrics,
            namespace=namespace,
            version=version,
        )
        self._version = version
        self._runner = JsonRunner(rest.application(), shutdown_timeout=SHUTDOWN_S)
        self._ops: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: str | None = "not looked at yet"

    async def start(self, host: str, port: int, ops_port: int) -> None:
        """Listen. Raises SettingError where a port is taken."""
        self._tasks = [asyncio.create_task(self._waiters.run()), asyncio.create_task(self._pulse())]
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise _taken("PORT", host, port) from error
        try:
            self._ops = await serve_ops(
                host,
                ops_port,
                ready=lambda: self._trouble,
                registry=self._registry,
                version=self._version,
            )
        except OSError as error:
            raise _taken("API_OPS_PORT", host, ops_port) from error

    @property
    def ports(self) -> tuple[int, int]:
        """Where it listens: the door, and the ops port."""
        ops = self._ops.addresses[0][1] if self._ops else 0
        return self._runner.addresses[0][1], ops

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; raises what a task of ours died of."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            task.result()

    async def stop(self) -> None:
        """Take nothing new, answer whoever waits, then go."""
        for site in list(self._runner.sites):
            await site.stop()
        await self._door.close()
        await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ops is not None:
            await self._ops.cleanup()

    async def _pulse(self) -> None:
        while True:
            try:
                await self._records.now()
                self._trouble = None
            except RecordsError:
                self._trouble = "the records cannot be reached"
            await asyncio.sleep(PULSE_S)


async def serve(settings: ApiSettings) -> None:
    """Until SIGTERM or SIGINT. Raises SettingError where a port is taken or the records are not there."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    records = await open_or_refuse(settings.store, scope=settings.namespace)
    sidecar = Sidecar(
        records,
        api_key=settings.api_key,
        namespace=settings.namespace,
        version=version("agent-pool"),
    )
    try:
        await sidecar.start(settings.host, settings.port, settings.ops_port)
        logger.info("the sidecar listens on %s:%s", settings.host, settings.port)
        await sidecar.run(stop)
        logger.info("the sidecar stops")
    finally:
        await sidecar.stop()
        await records.close()


def _taken(variable: str, host: str, port: int) -> SettingError:
    return SettingError(variable, f"cannot listen on {host}:{port}; is it taken? Choose another.")


def _new_name() -> str:
    return f"claim-{secrets.token_hex(8)}"
