"""What complete looks at Railway say of one instance, and when absence may be believed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from api.types import AgentInstance, InstancePhase
from controller.railway import Service

# A new service may be missing from reads for seconds after the write (seen: up to 30 s for volumes).
READ_LAG = timedelta(seconds=30)
DOUBT_LAG = timedelta(seconds=10)  # Most writes show within 10 s; a repeat collides or is counted.


@dataclass(frozen=True)
class Look:
    """One complete look: when it began (store time), and every service in the environment."""

    at: datetime
    services: tuple[Service, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Service]:
        return {s.id: s for s in self.services}

    @cached_property
    def by_name(self) -> Mapping[str, Service]:
        return {s.name.casefold(): s for s in self.services}

    def find(self, instance: AgentInstance) -> Service | None:
        """By serviceId once known; before that by the name that only our intent carries."""
        if instance.status.service_id is not None:
            return self.by_id.get(instance.status.service_id)
        return self.by_name.get(instance.spec.service_name.casefold())

    def carries(self, instance_id: str) -> bool:
        """Whether any service has this id anywhere in its name."""
        return any(instance_id in s.name.casefold() for s in self.services)


@dataclass(frozen=True)
class Sight:
    """What two complete looks, and our own writes since, say. No look yet: nothing is known."""

    latest: Look | None = None
    before: Look | None = None
    wrote: Mapping[str, datetime] = field(default_factory=dict)  # Last write, by instance name.
    doubts: Mapping[str, datetime] = field(default_factory=dict)  # Last write without an answer.
    scheme: str = "https"  # How agents are called; only a simulator's are http.

    def service(self, instance: AgentInstance) -> Service | None:
        return self.latest.find(instance) if self.latest else None

    def url(self, host: str) -> str:
        return f"{self.scheme}://{host}"

    def wrote_to(self, instance: AgentInstance) -> bool:
        return instance.metadata.name in self.wrote

    def is_newer_than_writes(self, instance: AgentInstance) -> bool:
        """Whether the newest look began after everything we did to this service."""
        return self.latest is not None and self.latest.at > self._last_write(instance)

    def doubtful(self, instance: AgentInstance) -> bool:
        """A write went unanswered and no look since could show its effect: send nothing."""
        doubt = self.doubts.get(instance.metadata.name)
        return doubt is not None and not (self.latest and self.latest.at > doubt + DOUBT_LAG)

    def absent(self, instance: AgentInstance) -> bool:
        """Missing in two complete looks, both newer than our last write and its read lag."""
        if self.latest is None or self.before is None:
            return False
        retiring = instance.status.phase is InstancePhase.RETIRING
        since = self._last_write(instance) + (timedelta() if retiring else READ_LAG)
        looks = (self.latest, self.before)
        return all(look.at > since and look.find(instance) is None for look in looks)

    def _last_write(self, instance: AgentInstance) -> datetime:
        created = instance.metadata.creation_timestamp
        times = [c.last_transition_time for c in instance.status.conditions if c.type != "Ready"]
        times += [t for t in (created, self.wrote.get(instance.metadata.name)) if t is not None]
        return max(times, default=datetime.min.replace(tzinfo=UTC))
