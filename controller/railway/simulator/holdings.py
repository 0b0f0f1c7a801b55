"""What the simulated Railway holds: finding it, and keeping track of what changed. No I/O.

Every change is kept as "touched" until `take` hands it to who writes it down. Time passes by itself: all
that lies ahead (a status, a lag, a deletion) is laid down as a moment.
"""

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from typing import Any

from controller.railway.simulator.faults import Faults
from controller.railway.simulator.habits import Habits, Pace
from controller.railway.simulator.state import (
    Deployment,
    Domain,
    Environment,
    Instance,
    Project,
    Service,
    Thing,
    Token,
    TokenKind,
    key_of,
    read,
    write,
)

NO_INSTANCE = "ServiceInstance not found"
ADDRESSES_TRIED = 1000

Addresses = Callable[[str, str, int], str]
"""(service id, `<service>-<environment>`, how many it got before) -> host of a new domain."""


class Refusal(Exception):
    """Railway's own message, and the code it stands under."""

    def __init__(self, message: str, code: str = "INTERNAL_SERVER_ERROR") -> None:
        super().__init__(message)
        self.message, self.code = message, code


@dataclass(frozen=True, slots=True)
class Change:
    """What happened since the last `take`: things to keep, keys to drop, and lines for the journal."""

    put: dict[str, dict[str, Any]]
    drop: list[str]
    effects: list[dict[str, Any]]


def railway_address(service_id: str, label: str, before: int) -> str:
    """A host as Railway makes it; the first is plain, later ones have a suffix."""
    suffix = f"-{sha256(f'{service_id}/{before}'.encode()).hexdigest()[:4]}" if before else ""
    return f"{label}{suffix}.up.railway.app"


def hashed(value: str) -> str:
    return sha256(value.encode()).hexdigest()


class Holdings:
    """Projects, environments, services, instances and tokens: what is there, and what a read shows."""

    def __init__(
        self,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        habits: Habits | None = None,
        pace: Pace | None = None,
        faults: Faults | None = None,
        addresses: Addresses = railway_address,
        programs: bool = False,
    ) -> None:
        self.clock, self.rng = clock, rng
        self.habits, self.pace = habits or Habits(), pace or Pace()
        self.faults = faults or Faults.of()
        self._addresses = addresses
        self.programs = programs
        self.projects: dict[str, Project] = {}
        self.environments: dict[str, Environment] = {}
        self.services: dict[str, Service] = {}
        self.instances: dict[tuple[str, str], Instance] = {}  # By service and environment.
        self.tokens: dict[str, Token] = {}
        self._hosts: dict[str, tuple[str, str]] = {}
        self._touched: dict[str, Thing | None] = {}
        self._effects: list[dict[str, Any]] = []
        self._next_gone_at = inf
        self._omits = False  # Whether the last list lacked something.

    # ---------------------------------------------------------------- founding, keeping

    @property
    def now(self) -> float:
        return self.clock()

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def found(self, tokens: Mapping[TokenKind, str]) -> Environment:
        """One project with one environment, `production`, and a token of each kind given."""
        project = Project(self.new_id(), "agents", self.new_id(), self.now)
        self.keep(project)
        environment = self.add_environment(project.id, "production")
        for kind, value in tokens.items():
            scope = (project.id, environment.id) if kind == "project" else (None, None)
            self.keep(Token(self.new_id(), kind, value, self.now, *scope))
        return environment

    def add_environment(
        self, project_id: str, name: str, fork_of: str | None = None
    ) -> Environment:
        environment = Environment(self.new_id(), project_id, name, self.now, fork_of)
        self.keep(environment)
        return environment

    def restore(self, written: Mapping[str, dict[str, Any]]) -> None:
        """Put back what was written down."""
        for key, thing in written.items():
            self.keep(read(key, thing))
        self._touched.clear()

    def take(self) -> Change:
        """What happened since the last call, to be written down before anybody is answered."""
        self._sweep()
        touched, self._touched = self._touched, {}
        effects, self._effects = self._effects, []
        put = {key: write(thing) for key, thing in touched.items() if thing is not None}
        return Change(put, [key for key, thing in touched.items() if thing is None], effects)

    def touch(self, thing: Thing) -> None:
        self._touched[key_of(thing)] = thing

    def effect(self, name: str, service: Service | None = None, **more: Any) -> None:
        """A line for the journal; never a variable's value."""
        who = {"service": service.id, "name": service.name} if service else {}
        self._effects.append({"effect": name, **who, **more})

    def keep(self, thing: Thing) -> None:
        match thing:
            case Project():
                self.projects[thing.id] = thing
            case Environment():
                self.environments[thing.id] = thing
            case Token():
                self.tokens[thing.value] = thing
            case Service():
                self.services[thing.id] = thing
                self._next_gone_at = min(self._next_gone_at, thing.gone_at or inf)
            case Instance():
                where = (thing.service_id, thing.environment_id)
                self.instances[where] = thing
                self._hosts |= {domain.host: where for domain in thing.domains}
                self._next_gone_at = min(self._next_gone_at, thing.gone_at or inf)
        self.touch(thing)

    def leave(self, thing: Service | Instance, gone_at: float) -> None:
        """It is deleted, and gone by then."""
        thing.gone_at = gone_at
        self.keep(thing)

    def _sweep(self) -> None:
        """Forget what is gone by now."""
        now = self.now
        if now < self._next_gone_at:
            return
        for instance in [i for i in self.instances.values() if _gone(i, now)]:
            del self.instances[(instance.service_id, instance.environment_id)]
            self._touched[key_of(instance)] = None
            for domain in instance.domains:
                self.free_host(domain.host)
        for service in [s for s in self.services.values() if _gone(s, now)]:
            del self.services[service.id]
            self._touched[key_of(service)] = None
            self.effect("serviceGone", service)
        left: list[Service | Instance] = [*self.instances.values(), *self.services.values()]
        self._next_gone_at = min((t.gone_at for t in left if t.gone_at is not None), default=inf)

    # ---------------------------------------------------------------- reading

    def shows(self, thing: Service | Instance | Domain) -> bool:
        """Whether a read shows it by now."""
        gone_at = None if isinstance(thing, Domain) else thing.gone_at
        return thing.visible_at <= self.now and (gone_at is None or self.now < gone_at)

    def shown_deleted(self, instance: Instance) -> bool:
        """Whether a read shows `deletedAt`: only in the second half of the time a deletion takes."""
        if instance.deleted_at is None or instance.gone_at is None:
            return False
        return self.now >= (instance.deleted_at + instance.gone_at) / 2

    def seen_in(self, environment_id: str) -> list[Instance]:
        """The instances that a list of this environment shows, oldest first."""
        found = self.instances.values()
        return [i for i in found if i.environment_id == environment_id and self.shows(i)]

    def listed(self, environment_id: str) -> list[Instance]:
        """What a list of this environment says: `seen_in`, but for one where it is `omitted`."""
        shown = self.seen_in(environment_id)
        self._omits = bool(shown) and not self._omits and self.faults.draw("omitted")
        if self._omits:
            shown.remove(self.faults.rng.choice(shown))
        return shown

    def at(self, host: str) -> tuple[Service, Instance, Domain] | None:
        """What traffic to this host reaches, unless it was deleted."""
        where = self._hosts.get(host)
        instance = self.instances.get(where) if where else None
        if instance is None or instance.deleted_at is not None:
            return None
        domain = next(d for d in instance.domains if d.host == host)
        return self.services[instance.service_id], instance, domain

    def hosts(self) -> Iterable[str]:
        return self._hosts.keys()

    def new_host(self, service_id: str, label: str, before: int) -> str:
        """An address that nobody has."""
        for n in range(before, before + ADDRESSES_TRIED):
            if (host := self._addresses(service_id, label, n)) not in self._hosts:
                return host
        raise Refusal("Problem processing request")

    def free_host(self, host: str) -> None:
        self._hosts.pop(host, None)

    def service(self, service_id: str) -> Service:
        """A service that is not deleted. Refused otherwise in the words used for all that is gone."""
        service = self.services.get(service_id)
        if service is None or service.gone_at is not None:
            raise Refusal("Not Authorized")
        return service

    def instance(self, service_id: str, environment_id: str) -> Instance:
        """An instance that may be written to."""
        self.service(service_id)
        instance = self.instances.get((service_id, environment_id))
        if instance is None or instance.deleted_at is not None or instance.settled_at > self.now:
            raise Refusal(NO_INSTANCE)
        return instance

    def instances_of(self, service_id: str) -> list[Instance]:
        found = self.instances.values()
        return [i for i in found if i.service_id == service_id and i.deleted_at is None]

    def service_of(self, instance: Instance) -> Service:
        return self.services[instance.service_id]

    def domain(self, domain_id: str) -> tuple[Instance, Domain]:
        for instance in self.instances.values():
            for domain in instance.domains:
                if domain.id == domain_id and instance.deleted_at is None:
                    return instance, domain
        raise Refusal("Not Authorized")

    def deployment(self, deployment_id: str) -> tuple[Instance, Deployment]:
        for instance in self.instances.values():
            for deployment in instance.deployments:
                if deployment.id == deployment_id and deployment.created_at <= self.now:
                    return instance, deployment
        raise Refusal("Deployment not found")


def _gone(thing: Service | Instance, now: float) -> bool:
    return thing.gone_at is not None and thing.gone_at <= now
