"""What the controller reads, once, into a frozen object; the table is `api.settings.SETTINGS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from api.settings import (
    BY_NAME,
    INSTANCE_PREFIX,
    LogFormat,
    LogLevel,
    Reader,
    SettingError,
    StoreSettings,
)
from api.types import DEFAULT_NAMESPACE, PoolSpec, RepoSource, Source
from controller.template import AUTH_VARIABLES

RAILWAY_ENDPOINT = BY_NAME["RAILWAY_ENDPOINT"].default or ""
INSTANCE_SECRET_MIN_BYTES = 32
POOL_MAX = 10_000  # The kinds' own bound.
SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Everything the controller was told. Times are in seconds."""

    store: StoreSettings
    railway_token: str = field(repr=False)
    railway_endpoint: str = RAILWAY_ENDPOINT
    railway_project_id: str | None = None
    railway_environment_id: str | None = None
    scope: str | None = DEFAULT_NAMESPACE  # None: every namespace.
    source_repo: str | None = None
    source_branch: str | None = None
    source_image: str | None = None
    min_idle: int | None = None
    max_total: int | None = None
    auth_choice: str = "apiKey"
    instance_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    instance_secret: bytes | None = field(default=None, repr=False)
    instance_secrets_old: tuple[bytes, ...] = field(default=(), repr=False)
    tick_interval_s: float = 30.0
    probe_interval_s: float = 30.0
    handover_timeout_s: float = 60.0
    handover_concurrency: int = 100
    create_concurrency: int = 5
    agent_scheme: Literal["http", "https"] = "https"
    host: str = "127.0.0.1"
    ops_port: int = 9102
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"

    @classmethod
    def read(cls, reader: Reader, environ: Mapping[str, str]) -> Self:
        """`environ` is the one behind `reader`: the INSTANCE_* come from it. Raises SettingError."""
        store = reader.store()
        settings = cls(
            store=store,
            railway_token=reader.required("RAILWAY_API_TOKEN"),
            railway_endpoint=reader.parsed("RAILWAY_ENDPOINT", _endpoint, "an https:// URL"),
            railway_project_id=reader.text("RAILWAY_PROJECT_ID"),
            railway_environment_id=reader.text("RAILWAY_ENVIRONMENT_ID"),
            scope=reader.scope(store),
            source_repo=reader.text("RAILWAY_SOURCE_REPO"),
            source_branch=reader.text("RAILWAY_SOURCE_BRANCH"),
            source_image=reader.text("RAILWAY_SOURCE_IMAGE"),
            min_idle=reader.integer_or_none("POOL_MIN_IDLE", 0, POOL_MAX),
            max_total=reader.integer_or_none("POOL_MAX_TOTAL", 0, POOL_MAX),
            auth_choice=reader.choice("POOL_AUTH_CHOICE", tuple(AUTH_VARIABLES)),
            instance_variables=_instance_variables(reader, environ),
            instance_secret=_secret(reader.text("POOL_INSTANCE_SECRET"), "POOL_INSTANCE_SECRET"),
            instance_secrets_old=_old_secrets(reader.text("POOL_INSTANCE_SECRET_OLD")),
            tick_interval_s=reader.integer("TICK_INTERVAL_MS", 100, 3_600_000) / 1000,
            probe_interval_s=reader.seconds("PROBE_INTERVAL", 1, 3600),
            handover_timeout_s=reader.seconds("HANDOVER_TIMEOUT", 1, 3600),
            handover_concurrency=reader.integer("HANDOVER_CONCURRENCY", 1, 10_000),
            create_concurrency=reader.integer("CREATE_CONCURRENCY", 1, 1000),
            agent_scheme=_scheme(reader),
            host=reader.required("HOST"),
            ops_port=reader.port("CONTROLLER_OPS_PORT"),
            log_format=reader.log_format(),
            log_level=reader.log_level(),
        )
        settings._check()
        return settings

    @property
    def namespace(self) -> str:
        """Where the pool `default` is that variables declare."""
        return self.scope or DEFAULT_NAMESPACE

    def _check(self) -> None:
        """What two settings must be together."""
        if self.source_repo and self.source_image:
            raise SettingError("RAILWAY_SOURCE_IMAGE", "set it or RAILWAY_SOURCE_REPO, not both")
        if self.source_branch and not self.source_repo:
            raise SettingError("RAILWAY_SOURCE_BRANCH", "needs RAILWAY_SOURCE_REPO")
        if self.agent_scheme == "http" and not is_loopback(self.railway_endpoint):
            raise SettingError("AGENT_SCHEME", "http is only for a RAILWAY_ENDPOINT on loopback")
        self.source()

    def source(self) -> Source | None:
        """What the pool `default` is made of; None where no variable declares it. Raises SettingError."""
        if self.source_image:
            return _checked("RAILWAY_SOURCE_IMAGE", lambda: Source(image=self.source_image))
        if not self.source_repo:
            return None
        repo = _checked(
            "RAILWAY_SOURCE_REPO",
            lambda: RepoSource(name=self.source_repo or "", branch=self.source_branch),
        )
        return Source(repo=repo)

    def pool_size(self) -> tuple[int, int, str | None]:
        """minIdle and maxTotal of the pool `default`, and a warning where minIdle had to be clamped."""
        most = _default("max_total") if self.max_total is None else self.max_total
        wanted = _default("min_idle") if self.min_idle is None else self.min_idle
        if wanted <= most:
            return wanted, most, None
        return most, most, f"POOL_MIN_IDLE {wanted} is more than POOL_MAX_TOTAL: {most} is used"

    def instance_secrets(self, kept: bytes) -> tuple[bytes, ...]:
        """The one in use first. The one `kept` in the store stays known: instances may be older than
        the variable."""
        if self.instance_secret is None:
            return (kept, *self.instance_secrets_old)
        return (self.instance_secret, *self.instance_secrets_old, kept)

    def secrets(self) -> tuple[str, ...]:
        """Whatever must never appear in a line of a log."""
        own = (self.instance_secret, *self.instance_secrets_old)
        named = (v for k, v in self.instance_variables.items() if k.endswith(SECRET_ENDINGS))
        return (self.railway_token, *(s.decode() for s in own if s), *named)


def is_loopback(url: str) -> bool:
    """Whether the host of that URL is this machine by its very name."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoint(text: str) -> str:
    url = urlsplit(text)
    if not url.hostname or not (
        url.scheme == "https" or (url.scheme == "http" and is_loopback(text))
    ):
        raise ValueError
    return text


def _scheme(reader: Reader) -> Literal["http", "https"]:
    return "http" if reader.choice("AGENT_SCHEME", ("https", "http")) == "http" else "https"


def _instance_variables(reader: Reader, environ: Mapping[str, str]) -> Mapping[str, str]:
    """All INSTANCE_* as they are named, prefix included; empty ones count as unset."""
    reader.asked.update(name for name in BY_NAME if name.startswith(INSTANCE_PREFIX))
    return {k: v for k, v in environ.items() if k.startswith(INSTANCE_PREFIX) and v.strip()}


def _secret(text: str | None, name: str) -> bytes | None:
    if text is not None and len(text.encode()) < INSTANCE_SECRET_MIN_BYTES:
        raise SettingError(name, f"must have at least {INSTANCE_SECRET_MIN_BYTES} bytes, at random")
    return text.encode() if text is not None else None


def _old_secrets(text: str | None) -> tuple[bytes, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    return tuple(s for p in parts if (s := _secret(p, "POOL_INSTANCE_SECRET_OLD")))


def _checked(name: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except ValidationError as error:
        raise SettingError(name, f"is refused: {error.errors()[0]['msg']}") from None


def _default(name: str) -> int:
    return int(PoolSpec.model_fields[name].default)
