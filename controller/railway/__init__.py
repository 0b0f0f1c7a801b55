"""What exists on Railway: one port, its values, and errors named for what the caller must do.

The only package that knows Railway's words. Facts behind it: Railway's public GraphQL API as of August 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from api.types import Source


class RailwayError(Exception):
    """Railway did not do it. The text is safe to show: Railway's message, never a variable's value."""


class NameTaken(RailwayError):
    """A service of that name exists: look, and adopt it if it is ours."""


class Gone(RailwayError):
    """It does not exist, not yet visible, or not for this token. Fine for a delete; else look again."""


class NotAuthorized(RailwayError):
    """Dead token, forbidden, or already deleted: the same text for all three. Look, do not repeat."""


class NotReady(RailwayError):
    """Too early (instance not there yet, another patch in flight). Nothing happened; again in 5 s."""


class NoCapacity(RailwayError):
    """A quota or a plan limit. Wait long, and say so in the status."""


class Refused(RailwayError):
    """Railway will not do this as asked. Not again until the spec changes."""


class RateLimited(RailwayError):
    """Nothing happened. Not before `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Unclear(RailwayError):
    """No answer, half an answer or null: it may have happened. Never resend a write; look first."""


@dataclass(frozen=True, slots=True)
class Access:
    """What our token may do, probed once at start."""

    kind: Literal["project", "workspace", "account"]
    may_patch: bool  # environmentPatchCommit
    project_id: str  # The project and environment that we act in.
    environment_id: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """The newest deployment of a service, in Railway's words (DeploymentStatus)."""

    id: str
    status: str
    created_at: datetime | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """One service as one look saw it in our environment."""

    id: str
    name: str
    domain: str | None = None  # Host of the first service domain, without scheme.
    has_source: bool = False
    from_repo: bool = False  # A push to it deploys, unless auto-deploy is off.
    deployment: Deployment | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One complete look at one environment: all pages, no nulls. There is no other kind."""

    services: tuple[Service, ...]
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Make:
    """All that a service is made from: a pure function of record and settings."""

    name: str
    source: Source
    variables: Mapping[str, str] = field(repr=False)
    port: int = 8080
    healthcheck_path: str | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the last answer's X-RateLimit-* said, and how long Retry-After told us to wait."""

    limit: int | None = None
    remaining: int | None = None
    reset_in_s: float | None = None


class Railway(Protocol):
    """One environment of one project. Each method is one HTTP request (`observe`: one per 500 services).

    Any may raise RailwayError's kinds; Unclear means the effect may have happened.
    """

    @property
    def endpoint(self) -> str: ...

    @property
    def allowance(self) -> Allowance: ...

    async def probe(self) -> Access:
        """Find out what the token is and may do. Raises NotAuthorized where it may do nothing."""
        ...

    async def observe(self) -> Observation: ...

    async def owner_of(self, service_id: str) -> str | None:
        """The service's POOL_OWNER variable, None when it has none. No other variable is kept or shown."""
        ...

    async def create_empty(self, name: str) -> str:
        """An empty service (no source, no deployment); its id. Raises NameTaken."""
        ...

    async def create_whole(self, make: Make) -> str:
        """Service with source and variables at once: deploys at once; its id. Raises NameTaken."""
        ...

    async def create_domain(self, service_id: str) -> str:
        """Another domain for the service (not idempotent); its host."""
        ...

    async def patch(self, service_id: str, make: Make) -> None:
        """Source, variables and settings in one environment patch: exactly one deployment; idempotent."""
        ...

    async def update_settings(self, service_id: str, make: Make) -> None:
        """Health check path (and root directory) by serviceInstanceUpdate; deploys nothing."""
        ...

    async def deploy(self, service_id: str) -> None:
        """Start a deployment of what the service is set to."""
        ...

    async def auto_deploy_off(self, service_id: str) -> None:
        """A push to the repository deploys nothing from now on."""
        ...

    async def rename(self, service_id: str, name: str) -> None: ...

    async def delete(self, service_id: str) -> None: ...

    async def close(self) -> None: ...
