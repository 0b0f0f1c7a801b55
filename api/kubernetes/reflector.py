"""One kind followed for ever: listed, then watched from there; a gap that cannot be closed is listed anew."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from api.kubernetes.client import Api, Expired, Json
from api.records import RecordsError

log = logging.getLogger(__name__)

AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 10.0
SWEEP_EVERY_S = 600.0  # A list beside the watch: a deletion that no event told is found by it.


class Sink(Protocol):
    """Where it tells what it sees. Objects as the server writes them; versions are whole numbers."""

    async def replace(self, plural: str, objects: Sequence[Json], version: int) -> None:
        """All there were at that version."""
        ...

    def changed(self, plural: str, kind: str, thing: Json) -> None:
        """`kind`: ADDED, MODIFIED or DELETED."""
        ...

    def broken(self, plural: str, why: str) -> None:
        """Nothing is heard for now; a list follows."""
        ...


class Feed(Protocol):
    """Tells a sink for ever what there is and what changes. `paths`: of each plural to be followed."""

    async def __call__(self, api: Api, paths: Mapping[str, str], sink: Sink) -> None: ...


async def reflect(
    api: Api, paths: Mapping[str, str], sink: Sink, *, sweep_every_s: float = SWEEP_EVERY_S
) -> None:
    """The feed that has no need of anything else: a reflector for each of them."""
    async with asyncio.TaskGroup() as group:
        for plural, path in paths.items():
            group.create_task(Reflector(api, path, plural, sink, sweep_every_s).run())


class Reflector:
    """`run()` until cancelled; it survives whatever the server does."""

    def __init__(self, api: Api, path: str, plural: str, sink: Sink, sweep_every_s: float) -> None:
        self._api = api
        self._path = path
        self._plural = plural
        self._sink = sink
        self._sweep_every_s = sweep_every_s

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._sweep())

    async def _follow(self) -> None:
        version, again_s = "", AGAIN_FIRST_S
        while True:
            try:
                if not version:
                    version = await self._list()
                async for kind, thing in self._api.watch(self._path, version):
                    version, again_s = thing["metadata"]["resourceVersion"], AGAIN_FIRST_S
                    if kind != "BOOKMARK":
                        self._sink.changed(self._plural, kind, thing)
            except Expired:
                version = ""
            except (RecordsError, KeyError) as error:
                log.info("%s: %s; again in %.1f s", self._plural, error, again_s)
                version = ""
                self._sink.broken(self._plural, str(error))
                await asyncio.sleep(again_s)
                again_s = min(again_s * 2, AGAIN_MAX_S)

    async def _list(self) -> str:
        objects, version = await self._api.list(self._path)
        await self._sink.replace(self._plural, objects, int(version))
        return version

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            try:
                await self._list()
            except RecordsError as error:
                log.info("%s: the sweep comes later: %s", self._plural, error)
