"""One Railway environment: what complete looks showed, what we sent since, and what we may send now."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf

from api.types import AgentInstance, InstancePhase, Key
from controller.course import CREATES, Verb
from controller.railway import (
    Access,
    Gone,
    Make,
    NameTaken,
    NoCapacity,
    NotAuthorized,
    NotReady,
    Railway,
    RailwayError,
    RateLimited,
    Service,
    Unclear,
)
from controller.railway.budget import Budget, Lane
from controller.sight import Look, Sight
from controller.sizing import Weather
from controller.storetime import StoreTime

log = logging.getLogger(__name__)

BREATH_S = 0.001  # The least to wait: less might not move a clock, and we would ask for ever.
WAIT_IN_LINE_S = 2.0  # Longer than this nobody waits with a worker in hand.
ROOM_HOLDS_S = 5.0  # What was read for a create is believed for so long, waiting in line included.
NO_CAPACITY_AGAIN_S = 300.0  # Somebody must free or buy room; meanwhile one try now and then.
FORGET_WRITES_AFTER = timedelta(minutes=10)
OWNERS_PER_LOOK = (
    20  # Unknown services whose owner is read after one look; the rest wait their turn.
)


class Environment:
    """Holds no truth: a restart looks again. `owner_id`: whose services are ours. `may_act`: whether this
    process leads, asked right before each request, however long that waited in line."""

    def __init__(
        self,
        railway: Railway,
        *,
        owner_id: str,
        time: StoreTime,
        clock: Callable[[], float],
        scheme: str,
        may_act: Callable[[], bool] = lambda: True,
        budget: Budget | None = None,
    ) -> None:
        self._railway = railway
        self._owner_id = owner_id
        self._time = time
        self._clock = clock
        self._may_act = may_act
        self._budget = budget or Budget()
        self._wrote: dict[str, datetime] = {}
        self._doubts: dict[str, datetime] = {}
        self._deletes: dict[str, datetime] = {}
        self._owners: dict[tuple[str, bool], str | None] = {}
        self._unknown: tuple[Service, ...] = ()
        self.sight = Sight(
            wrote=self._wrote, doubts=self._doubts, deletes=self._deletes, scheme=scheme
        )
        self._full = ""  # Railway has no room for more: what it said,
        self._full_until = 0.0  # and until when it is not asked again.
        self.access: Access | None = None
        self.weather = Weather(None, "NotLookedYet")
        self.requests = 0

    # ---------------------------------------------------------------- looking

    async def look(self, at: datetime) -> None:
        """One complete look, begun after `at` (store time), or the reason why there was none."""
        await self._admit(Lane.LOOK)
        try:
            if self.access is None:
                self.access = await self._railway.probe()
                await self._admit(Lane.LOOK)
            found = await self._railway.observe()
        except NotReady as error:  # Refused before anything was sent.
            self.weather = Weather(False, "Unreachable", "Railway's API cannot be reached")
            raise Unclear(str(error)) from None
        except RailwayError as error:
            self._note_blind(error)
            raise
        self.requests += found.requests - 1
        self._budget.spent(found.requests - 1, self._clock())
        self._told()
        self.weather = self._seen_weather()
        latest = Look(at, self._recognised(found.services))
        since = self.sight.since if self.sight.latest else at
        self.sight = replace(self.sight, latest=latest, before=self.sight.latest, since=since)
        for stamps in (self._wrote, self._doubts, self._deletes):
            for name in [n for n, then in stamps.items() if at - then > FORGET_WRITES_AFTER]:
                del stamps[name]

    def _recognised(self, found: tuple[Service, ...]) -> tuple[Service, ...]:
        """Of what has not changed since the last look, the same objects: who rests is known by them."""
        before = self.sight.latest.by_id if self.sight.latest else {}
        return tuple(before[s.id] if before.get(s.id) == s else s for s in found)

    async def learn_owners(self, instances: Iterable[AgentInstance]) -> None:
        """Read, once, whose each service is that no record of ours explains."""
        known = [i for i in instances if i.status.phase is not InstancePhase.GONE]
        ids = {i.status.service_id for i in known}
        nameless = (i for i in known if i.status.service_id is None)
        names = {i.spec.service_name.casefold() for i in nameless}
        seen = self.sight.latest.services if self.sight.latest else ()
        self._unknown = tuple(s for s in seen if s.id not in ids and s.name.casefold() not in names)
        unread = [s for s in self._unknown if (s.id, s.has_source) not in self._owners]
        try:
            for service in unread[:OWNERS_PER_LOOK]:
                await self._admit(Lane.LOOK_MORE)
                owner = await self._railway.owner_of(service.id)
                self._told()
                self._owners[service.id, service.has_source] = owner
                if owner and owner.startswith(f"{self._owner_id}/"):
                    said = "no record explains the service %s (%s): left alone, and counted"
                    log.warning(said, service.name, service.id, extra={"owner": owner})
        except RailwayError as error:  # Until it is read it counts by its name; looks go on.
            log.info("owners are read later: %s", error)

    def orphans(self, pool: Key, prefix: str) -> list[Service]:
        """Services with our owner's mark for this pool and no record; and those that bear its prefix,
        until their owner is read or while they are empty: better one too few than one too many."""
        return [s for s in self._unknown if self._belongs(s, pool, prefix)]

    def orphan_counts(self) -> Counter[str]:
        """By `namespace/pool`, also where there is no such pool: services with our mark, no record."""
        owners = (self._owners.get((s.id, s.has_source)) for s in self._unknown)
        ours = (o.partition("/") for o in owners if o)
        return Counter(pool for owner_id, _, pool in ours if owner_id == self._owner_id)

    def _belongs(self, service: Service, pool: Key, prefix: str) -> bool:
        owner = self._owners.get((service.id, service.has_source))
        if owner is None and not self._is_foreign(service):
            return service.name.casefold().startswith(prefix)
        return owner == f"{self._owner_id}/{pool.namespace}/{pool.name}"

    def _is_foreign(self, service: Service) -> bool:
        """Its variables were read. An empty one has none yet, and may be ours: it goes by its name."""
        return service.has_source and (service.id, service.has_source) in self._owners

    def next_look_s(self, moving: bool, tick_s: float) -> float:
        pages = max(1, -(-len(self.sight.latest.services) // 500) if self.sight.latest else 1)
        return self._budget.look_every_s(moving, pages, tick_s, self._clock())

    # ---------------------------------------------------------------- acting

    async def perform(
        self,
        verb: Verb,
        instance: AgentInstance,
        make: Make | None,
        lane: Lane,
        until: float = inf,
    ) -> dict[str, str]:
        """Send one request for this instance, not after `until`; what it found (`service_id`, `url`).

        Raises RailwayError; where the effect may have happened, nothing more is sent before a look.
        """
        name = instance.metadata.name
        creates = verb in CREATES
        if creates and self._clock() < self._full_until:
            raise NoCapacity(self._full)
        found = await self._guarded(name, lane, lambda: self._send(verb, instance, make), until)
        if creates:
            self._full = ""
        return found

    def begins(self, instance: AgentInstance) -> float:
        """A create is about to be sent: from now on nobody here takes its service for missing. What is read
        for it from now on holds until the moment returned (by `clock`)."""
        self._wrote[instance.metadata.name] = self._time.now()
        return self._clock() + ROOM_HOLDS_S

    def doubt(self, instance: AgentInstance) -> None:
        """Something was done that is not on record: nothing more before a look can show it."""
        self._doubts[instance.metadata.name] = self._time.now()

    async def rename(self, instance: AgentInstance, new_name: str) -> None:
        service_id = instance.status.service_id or ""

        async def send() -> dict[str, str]:
            await self._railway.rename(service_id, new_name)
            return {}

        await self._guarded(instance.metadata.name, Lane.RENAME, send)

    async def _guarded(
        self,
        name: str,
        lane: Lane,
        send: Callable[[], Awaitable[dict[str, str]]],
        until: float = inf,
    ) -> dict[str, str]:
        await self._admit(lane, until)
        self._wrote[name] = self._time.now()
        try:
            found = await send()
        except (Unclear, NameTaken, NotAuthorized, Gone) as error:
            self._doubts[name] = self._time.now()
            self._note(error)
            raise
        except asyncio.CancelledError:
            self._doubts[name] = self._time.now()
            raise
        except RailwayError as error:
            self._note(error)
            raise
        finally:
            self._wrote[name] = self._time.now()
        self._told()
        return found

    async def _send(self, verb: Verb, instance: AgentInstance, make: Make | None) -> dict[str, str]:
        railway, service_id = self._railway, instance.status.service_id or ""
        match verb:
            case Verb.CREATE_EMPTY:
                return {"service_id": await railway.create_empty(instance.spec.service_name)}
            case Verb.CREATE_WHOLE if make is not None:
                return {"service_id": await railway.create_whole(make)}
            case Verb.CREATE_DOMAIN:
                return {"url": self.sight.url(await railway.create_domain(service_id))}
            case Verb.PATCH if make is not None:
                await railway.patch(service_id, make)
            case Verb.UPDATE_SETTINGS if make is not None:
                await railway.update_settings(service_id, make)
            case Verb.AUTO_DEPLOY_OFF:
                await railway.auto_deploy_off(service_id)
            case Verb.DEPLOY:
                await railway.deploy(service_id)
            case Verb.DELETE:
                self._deletes[instance.metadata.name] = self._time.now()
                await railway.delete(service_id)
        return {}

    # ---------------------------------------------------------------- the budget

    async def _admit(self, lane: Lane, until: float = inf) -> None:
        """Take one request from the budget; RateLimited where it would have to wait for long, and NotReady
        where another process may lead by now, or it is later than `until`: this one was stopped, or its
        records do not answer."""
        wait_s = self._budget.wait_s(lane, self._clock())
        while wait_s > 0:  # Others may take what came free meanwhile.
            if wait_s > WAIT_IN_LINE_S:
                self._note_held_back()
                raise RateLimited("held back: " + (self._says() or "budget"), wait_s)
            await asyncio.sleep(max(wait_s, BREATH_S))
            wait_s = self._budget.wait_s(lane, self._clock())
        if not self._may_act():
            raise NotReady("the lease has run out")
        if self._clock() > until:
            raise NotReady("what was read for it is too old")
        self._budget.spent(1, self._clock())
        self.requests += 1

    def _note_held_back(self) -> None:
        """The status says so from now on, and not only after the next look, which may be far off."""
        if self.weather.reachable and not self.weather.message and (said := self._says()):
            log.warning(said)
            self.weather = self._seen_weather()

    def _says(self) -> str | None:
        return self._budget.says(self._clock())

    def _told(self) -> None:
        self._budget.told(self._railway.allowance, self._clock())

    def _note(self, error: RailwayError) -> None:
        """What this failure says of Railway as a whole."""
        now = self._clock()
        self._told()
        if isinstance(error, RateLimited):
            self._budget.closed_until(now + error.after_s)
            self.weather = Weather(False, "RateLimited", self._says() or str(error))
        elif isinstance(error, Unclear):
            self.weather = Weather(False, "NoAnswer", "Railway's API gave no usable answer")
        elif isinstance(error, NoCapacity):
            self._full, self._full_until = str(error), now + NO_CAPACITY_AGAIN_S
            self.weather = self._seen_weather()

    def _note_blind(self, error: RailwayError) -> None:
        """No look came of it."""
        self._note(error)
        if isinstance(error, NotAuthorized):
            self.weather = Weather(False, "NotAuthorized", "Railway refuses RAILWAY_API_TOKEN")
        elif not isinstance(error, RateLimited | Unclear):
            self.weather = Weather(False, type(error).__name__, str(error))

    def _seen_weather(self) -> Weather:
        """Full until a create succeeds, so that the status does not flap between two tries."""
        if self._full:
            return Weather(True, "NoCapacity", self._full)
        return Weather(True, "Observed", self._says() or "")
