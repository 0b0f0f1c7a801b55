"""What complete looks at Railway say of one instance, and when absence may be believed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from api.types import AgentInstance, InstancePhase
from controller.railway import Service

# A new service may be missing from reads for seconds after the write (seen: up to 30 s for volumes).
READ_LAG = timedelta(seconds=30)
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
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
    since: datetime = (
        BEFORE_ALL  # When this process began to look: what others sent before is not in `wrote`.
    )
    wrote: Mapping[str, datetime] = field(default_factory=dict)  # Last write, by instance name.
    doubts: Mapping[str, datetime] = field(default_factory=dict)  # Last write without an answer.
    deletes: Mapping[str, datetime] = field(default_factory=dict)  # Last delete that was sent.
    scheme: str = "https"  # How agents are called; only a simulator's are http.

    def service(self, instance: AgentInstance) -> Service | None:
        return self.latest.find(instance) if self.latest else None

    def url(self, host: str) -> str:
        return f"{self.scheme}://{host}"

    def deleted(self, instance: AgentInstance) -> bool:
        """Whether this process has asked for its deletion."""
        return instance.metadata.name in self.deletes

    def shows_writes(self, instance: AgentInstance) -> bool:
        """Whether the newest look began so late that it shows everything we did to this service."""
        done = max(self._made(instance), self._wrote(instance))
        return self.latest is not None and self.latest.at > done + READ_LAG

    def missed(self, instance: AgentInstance) -> bool:
        """Whether the newest look began after everything we did to this service, and did not find it."""
        done = max(self._made(instance), self._wrote(instance))
        return self.latest is not None and self.latest.at > done and self.service(instance) is None

    def doubtful(self, instance: AgentInstance) -> bool:
        """A write went unanswered and no look since could show its effect: send nothing."""
        doubt = self.doubts.get(instance.metadata.name)
        return doubt is not None and not (self.latest and self.latest.at > doubt + DOUBT_LAG)

    def absent(self, instance: AgentInstance) -> bool:
        """Missing in two complete looks, both newer than our last write.

        What we made may show late, and so may what another process sent before its term ended: that was a
        create where no service is known yet. A delete of what is known to have existed is believed at once.
        """
        if self.latest is None or self.before is None:
            return False
        status = instance.status
        deleted = status.phase is InstancePhase.RETIRING and status.service_id is not None
        lag = timedelta() if deleted else READ_LAG
        others = BEFORE_ALL if status.service_id else self.since + READ_LAG
        since = max(self._made(instance) + READ_LAG, self._wrote(instance) + lag, others)
        looks = (self.latest, self.before)
        return all(look.at > since and look.find(instance) is None for look in looks)

    def _made(self, instance: AgentInstance) -> datetime:
        """When the last step of its making, by whomever, went on record."""
        created = instance.metadata.creation_timestamp or BEFORE_ALL
        times = [c.last_transition_time for c in instance.status.conditions if c.type != "Ready"]
        return max(created, *times, BEFORE_ALL)

    def _wrote(self, instance: AgentInstance) -> datetime:
        return self.wrote.get(instance.metadata.name, BEFORE_ALL)
