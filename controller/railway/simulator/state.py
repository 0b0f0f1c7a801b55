"""What exists in the simulated world: plain data that is written down and read back as it is."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

TokenKind = Literal["project", "workspace", "account"]


@dataclass(slots=True)
class Project:
    id: str
    name: str
    workspace_id: str
    created_at: float


@dataclass(slots=True)
class Environment:
    id: str
    project_id: str
    name: str
    created_at: float
    fork_of: str | None = None
    patches: dict[str, float] = field(default_factory=dict)  # Workflow id -> when it is through.


@dataclass(slots=True)
class Token:
    id: str
    kind: TokenKind
    value: str
    created_at: float
    project_id: str | None = None  # A project token acts in one environment of one project.
    environment_id: str | None = None


@dataclass(slots=True)
class Service:
    id: str
    project_id: str
    name: str
    created_at: float
    visible_at: float
    gone_at: float | None = None  # Set when it is deleted: when nothing shows it any more.


@dataclass(slots=True)
class Domain:
    id: str
    host: str
    created_at: float
    visible_at: float
    target_port: int | None = None


@dataclass(slots=True)
class Process:
    """The program of one deployment between two of its starts; an agent's memory is in here."""

    up_at: float | None = None  # None: its port never answers.
    ready_at: float | None = None  # None: the agent never says it is ready.
    boots: int = 0
    stopped: bool = False
    provisioned: bool = False
    conversation_id: str | None = None
    invite_url: str | None = None


@dataclass(slots=True)
class Deployment:
    """One deployment: what it was made of, and the statuses it goes through by itself."""

    id: str
    created_at: float
    config: dict[str, Any]
    variables: dict[str, str]
    meta: dict[str, Any]
    stages: list[tuple[float, str]]  # (from when, DeploymentStatus), in order.
    starts_at: float  # When its container starts.
    process: Process


@dataclass(slots=True)
class Instance:
    """A service in one environment. `config` has the shape of `EnvironmentConfig.services.<id>`."""

    id: str
    service_id: str
    environment_id: str
    created_at: float
    visible_at: float
    settled_at: float  # Writes to it are refused before.
    config: dict[str, Any] = field(default_factory=dict)
    auto_deploys: bool = True
    domains: list[Domain] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)  # Oldest first.
    deleted_at: float | None = None
    gone_at: float | None = None

    @property
    def source(self) -> dict[str, Any]:
        return self.config.get("source") or {}

    @property
    def variables(self) -> dict[str, str]:
        held: dict[str, Any] = self.config.get("variables") or {}
        return {name: entry["value"] for name, entry in held.items()}


Thing = Project | Environment | Token | Service | Instance

_KINDS: dict[str, TypeAdapter[Any]] = {
    kind.__name__.lower(): TypeAdapter(kind)
    for kind in (Project, Environment, Token, Service, Instance)
}


def key_of(thing: Thing) -> str:
    """Where a thing is kept: `service/<id>`."""
    return f"{type(thing).__name__.lower()}/{thing.id}"


def write(thing: Thing) -> dict[str, Any]:
    """As JSON-able data."""
    written: dict[str, Any] = _KINDS[type(thing).__name__.lower()].dump_python(thing, mode="json")
    return written


def read(key: str, written: dict[str, Any]) -> Thing:
    """What `write` wrote, by its key."""
    thing: Thing = _KINDS[key.partition("/")[0]].validate_python(written)
    return thing


def iso(at: float) -> str:
    """A moment as Railway writes it: `2026-08-08T12:00:00.000Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
