"""Events of events.k8s.io/v1: equal ones within ten minutes are a series, not a heap. Best effort."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.kubernetes.client import Api, Json
from api.records import Event, NotFound, RecordsError
from api.types import API_VERSION

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=10)
WRITES_MAX = 50  # In one go; what is beyond that is lost rather than late.
KNOWN_MAX = 2_000
NOTE_MAX = 1_000  # events.k8s.io allows 1,024 bytes.


@dataclass(slots=True)
class Series:
    """One event on record, how often it was told, and when last."""

    name: str
    last: datetime
    count: int = 1


class Recorder:
    """One process's events. What it told before it was restarted it tells anew."""

    def __init__(self, api: Api, me: str, now: Callable[[], datetime]) -> None:
        self._api = api
        self._me = me
        self._now = now
        self.known: dict[Event, Series] = {}

    async def note(self, events: Sequence[Event]) -> None:
        counts: dict[Event, int] = {}
        for event in events:
            counts[event] = counts.get(event, 0) + 1
        for event, count in list(counts.items())[:WRITES_MAX]:
            try:
                await self._tell(event, count)
            except RecordsError as error:
                log.debug("an event is lost: %s", error)

    async def _tell(self, event: Event, count: int) -> None:
        now = self._now()
        series = self.known.get(event)
        if (
            series is None
            or now - series.last >= WINDOW
            or not await self._again(event, series, count)
        ):
            name = f"{event.key.name[:200]}.{_digest(event, self._me, now)}"
            series = Series(name, now, count)
            await self._api.create(_path(event), self._object(event, series))
        self.known.pop(event, None)
        self.known[event] = series
        while len(self.known) > KNOWN_MAX:
            self.known.pop(next(iter(self.known)))

    async def _again(self, event: Event, series: Series, count: int) -> bool:
        """Counted where it is on record; False where it is gone: the server forgets, people delete."""
        now = self._now()
        told = {"count": series.count + count, "lastObservedTime": _micro(now)}
        try:
            await self._api.merge(f"{_path(event)}/{series.name}", {"series": told})
        except NotFound:
            return False
        series.count, series.last = series.count + count, now
        return True

    def _object(self, event: Event, series: Series) -> Json:
        at, key = _micro(series.last), event.key
        whole: Json = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": key.namespace},
            "eventTime": at,
            "reportingController": "pool.convos.org/agent-pool",
            "reportingInstance": self._me[:128],
            "action": event.reason,
            "reason": event.reason,
            "type": event.type,
            "note": event.message[:NOTE_MAX],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": event.kind,
                "namespace": key.namespace,
                "name": key.name,
            },
        }
        if series.count > 1:
            whole["series"] = {"count": series.count, "lastObservedTime": at}
        return whole


def _path(event: Event) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{event.key.namespace}/events"


def _digest(event: Event, me: str, now: datetime) -> str:
    parts = (me, event.kind, event.type, event.reason, event.message, now.isoformat())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _micro(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
