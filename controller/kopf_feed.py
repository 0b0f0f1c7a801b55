"""kopf as the doorbell: what it sees of the three kinds reaches the records' cache; no more is asked of it.

Only `on.event`: no finalizer, no annotation, no timer, not one PATCH (facts/kubernetes.md 1.2 to 1.6). It
lives in a thread and a loop of its own, since it cancels what runs beside it when it ends, and is started
again when it does. It says nothing of what vanished while it was not looking: a list after each of its own
lists, and each ten minutes, finds that.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import kopf
import uvloop

from api.kubernetes.client import Api, Json
from api.kubernetes.config import Cluster
from api.kubernetes.reflector import SWEEP_EVERY_S, Sink
from api.records import RecordsError
from api.types import API_VERSION

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 1.0
AGAIN_MAX_S = 5.0
LISTED_AGAIN_AFTER_S = 0.5  # After the last event of a list of kopf's.
SILENCE_S = 70.0  # Bookmarks come each minute.
ENDS_WITHIN_S = 2.0  # So long may kopf take to end by itself; it is deaf meanwhile.
CANCELLED_EACH_S = 0.2  # And then all it has left is cancelled, this often,
CANCELLED_TIMES = 10  # and so many times at most.
IDENTITY: Any = (
    "agent-pool"  # Said to nobody; else kopf asks for our user's name, and a pod's has none.
)
LOGIN_LASTS = timedelta(minutes=10)  # A pod's token is rotated; kopf reads it anew then.

Hear = Callable[[str, str | None, Json], None]


class KopfFeed:
    """A feed for `KubernetesRecords`. `scope`: the namespace to watch, None for all; a watch that says
    nothing for `silence_s` is dead."""

    def __init__(
        self,
        scope: str | None,
        *,
        silence_s: float = SILENCE_S,
        sweep_every_s: float = SWEEP_EVERY_S,
    ) -> None:
        self._scope = scope
        self._silence_s = silence_s
        self._sweep_every_s = sweep_every_s

    async def __call__(self, api: Api, paths: Mapping[str, str], sink: Sink) -> None:
        """For ever: lists, then listens; cancelled, kopf ends too."""
        lists = _Lists(api, paths, sink, self._sweep_every_s)
        loop = asyncio.get_running_loop()

        def hear(plural: str, kind: str | None, thing: Json) -> None:
            if kind is None:
                lists.soon()
            sink.changed(plural, kind or "MODIFIED", thing)

        def from_its_thread(plural: str, kind: str | None, thing: Json) -> None:
            _in(loop, hear, plural, kind, thing)

        async with asyncio.TaskGroup() as group:
            group.create_task(lists.run())
            group.create_task(
                self._keep_ringing(api.cluster, tuple(paths), from_its_thread, sink, lists)
            )

    async def _keep_ringing(
        self,
        cluster: Cluster,
        plurals: tuple[str, ...],
        hear: Hear,
        sink: Sink,
        lists: "_Lists",
    ) -> None:
        while True:
            registry = _registry(cluster, plurals, hear)
            ringing = _Ringing(self._scope, registry, self._silence_s)
            try:
                await ringing.run()
            finally:
                ringing.stop()
            log.warning("kopf has ended; it is started again")
            for plural in plurals:
                sink.broken(plural, "kopf has ended")
            await asyncio.sleep(AGAIN_AFTER_S)
            lists.soon()


class _Lists:
    """Lists of everything: at the start, soon after kopf's own, and each ten minutes."""

    def __init__(
        self, api: Api, paths: Mapping[str, str], sink: Sink, sweep_every_s: float
    ) -> None:
        self._api = api
        self._paths = paths
        self._sink = sink
        self._sweep_every_s = sweep_every_s
        self._due = asyncio.Event()

    def soon(self) -> None:
        self._due.set()

    async def run(self) -> None:
        while True:
            self._due.clear()
            for plural, path in self._paths.items():
                await self._list(plural, path)
            try:
                async with asyncio.timeout(self._sweep_every_s):
                    await self._due.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(LISTED_AGAIN_AFTER_S)

    async def _list(self, plural: str, path: str) -> None:
        while True:
            try:
                objects, version = await self._api.list(path)
            except RecordsError as error:
                self._sink.broken(plural, str(error))
                await asyncio.sleep(AGAIN_AFTER_S)
            else:
                await self._sink.replace(plural, objects, int(version))
                return


class _Ringing:
    """One life of kopf, in a thread."""

    def __init__(
        self, scope: str | None, registry: kopf.OperatorRegistry, silence_s: float
    ) -> None:
        self._scope = scope
        self._registry = registry
        self._silence_s = silence_s
        self._loop = uvloop.new_event_loop()  # Its thread's.
        self._flag = asyncio.Event()

    async def run(self) -> None:
        """Until it ends by itself, or is left."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def live() -> None:
            try:
                self._live()
            finally:
                _in(loop, ended.set)

        threading.Thread(target=live, name="kopf", daemon=True).start()
        await ended.wait()

    def stop(self) -> None:
        """Also before it runs: the flag is raised then as soon as it does."""
        _in(self._loop, self._flag.set)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._operate())
        except Exception as error:
            log.warning("kopf: %s", type(error).__name__)
        finally:
            self._loop.close()

    async def _operate(self) -> None:
        settings = kopf.OperatorSettings()
        configure(settings)
        settings.watching.inactivity_timeout = self._silence_s
        ours = asyncio.all_tasks()
        roots = await kopf.spawn_tasks(
            registry=self._registry,
            settings=settings,
            clusterwide=self._scope is None,
            namespaces=[] if self._scope is None else [self._scope],
            stop_flag=self._flag,
            standalone=True,
            identity=IDENTITY,
        )
        life = asyncio.create_task(kopf.run_tasks(roots, ignored=ours))
        await asyncio.wait(roots, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({life}, timeout=ENDS_WITHIN_S)
        await _none_left(ours)
        if life.done() and not life.cancelled():
            life.result()


async def _none_left(ours: set["asyncio.Task[Any]"]) -> None:
    """Cancels all tasks but ours until they have ended. kopf itself waits for that without bound, and its
    workers are not missed if the task that counts them was cancelled with them (1.45, `Scheduler.close`)."""
    left = asyncio.all_tasks() - ours
    for _ in range(CANCELLED_TIMES):
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCELLED_EACH_S)
        left = asyncio.all_tasks() - ours
    log.warning("kopf does not end; %d of its tasks are left behind", len(left))


def _in(loop: asyncio.AbstractEventLoop, act: Callable[..., None], *said: Any) -> None:
    """Between our loop and kopf's, either of which may be over: then nobody listens any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act, *said)


def _registry(cluster: Cluster, plurals: tuple[str, ...], hear: Hear) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    group, version = API_VERSION.split("/")

    def listen(plural: str) -> None:
        async def rung(event: Any, **_: Any) -> None:
            hear(plural, event["type"], dict(event["object"]))

        kopf.on.event(group, version, plural, registry=registry, id=plural)(rung)

    for plural in plurals:
        listen(plural)
    kopf.on.login(registry=registry, id="login")(_login(cluster))
    return registry


def _login(cluster: Cluster) -> Callable[..., Awaitable[kopf.AiohttpSession]]:
    """As we are known to the server ourselves; the token is read anew each time."""

    async def login(**_: Any) -> kopf.AiohttpSession:
        token = cluster.token()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=cluster.tls, limit=0),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        return kopf.AiohttpSession(
            server=cluster.server,
            default_namespace=cluster.namespace,
            aiohttp_session=session,
            expiration=datetime.now(UTC) + LOGIN_LASTS if token else None,
        )

    return login


def configure(settings: kopf.OperatorSettings) -> None:
    """facts/kubernetes.md 1.6: never a PATCH, never gives up, half the memory."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 0.1
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = Backoffs()
    settings.networking.enforce_retry_after = True
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.process.ultimate_exiting_timeout = None  # The process is ours to end.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


class Backoffs:
    """0.5 s, doubled up to 5 s, without end; anew for each request. Claims wait for it after an outage."""

    def __iter__(self) -> Iterator[float]:
        wait_s = 0.5
        while True:
            yield min(wait_s, AGAIN_MAX_S)
            wait_s *= 2


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing: there is no handler that would compare."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """Keeps nothing: there is no handler that would be tried again."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence
