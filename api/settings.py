"""Every setting: one table, read once per process into a frozen object.

`.env` in the working directory is read too; the real environment wins. Whatever is wrong with a setting
is a SettingError: one line that names the variable and the mend, exit code 2.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self, TypeVar, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import TypeAdapter

from api.scalars import Name, parse_duration
from api.types import DEFAULT_NAMESPACE

EXIT_SETTING = 2
EVERY_NAMESPACE = "*"
DOTENV_MAX_BYTES = 1024 * 1024
LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
StoreKind = Literal["postgres", "kubernetes"]
Value = TypeVar("Value")


class SettingError(Exception):
    """A setting is missing, bad or unknown. One line: the variable, what is wrong, the mend; no value."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `default` None: not set. `readers`: who reads it; `up` is the supervisor."""

    name: str
    default: str | None
    readers: tuple[str, ...]
    description: str
    secret: bool = False


_BOTH = ("api", "controller")
SETTINGS: tuple[Setting, ...] = (
    Setting("HOST", "127.0.0.1", _BOTH, "address the sidecar and the ops ports listen on"),
    Setting("PORT", "3001", ("api",), "port of the sidecar"),
    Setting("POOL_API_KEY", None, ("api",), "key of the API (Bearer token); `up` makes one", True),
    Setting("DATABASE_URL", None, _BOTH, "Postgres; `up` starts one of its own without it", True),
    Setting("POOL_RECORDS", "postgres", _BOTH, "where records are: postgres or kubernetes"),
    Setting("KUBECONFIG", None, _BOTH, "Kubernetes: as kubectl reads it; not needed in a pod"),
    Setting("POOL_NAMESPACE", DEFAULT_NAMESPACE, _BOTH, "namespace that this installation serves"),
    Setting(
        "RAILWAY_API_TOKEN", None, ("controller",), "Railway token; `up` simulates without", True
    ),
    Setting("RAILWAY_PROJECT_ID", None, ("controller",), "Railway project, needed with a token"),
    Setting("RAILWAY_ENVIRONMENT_ID", None, ("controller",), "Railway environment, likewise"),
    Setting(
        "RAILWAY_ENDPOINT",
        "https://backboard.railway.com/graphql/v2",
        ("controller",),
        "Railway's GraphQL API",
    ),
    Setting("RAILWAY_SOURCE_REPO", None, ("controller",), "pool `default`: GitHub repo to deploy"),
    Setting("RAILWAY_SOURCE_BRANCH", None, ("controller",), "pool `default`: branch of that repo"),
    Setting(
        "RAILWAY_SOURCE_IMAGE", None, ("controller",), "pool `default`: image instead of a repo"
    ),
    Setting("POOL_MIN_IDLE", None, ("controller",), "pool `default`: warm instances wanted (3)"),
    Setting("POOL_MAX_TOTAL", None, ("controller",), "pool `default`: instances at most (10)"),
    Setting(
        "INSTANCE_ANTHROPIC_API_KEY", None, ("controller",), "model key of each instance", True
    ),
    Setting("INSTANCE_XMTP_ENV", None, ("controller",), "XMTP environment of each instance (dev)"),
    Setting(
        "INSTANCE_SETUP_PASSWORD", None, ("controller",), "password of its /setup (derived)", True
    ),
    Setting("POOL_AUTH_CHOICE", "apiKey", ("controller",), "the agents' model provider"),
    Setting(
        "POOL_INSTANCE_SECRET",
        None,
        ("controller",),
        "keys of instances derive from it (kept)",
        True,
    ),
    Setting(
        "POOL_INSTANCE_SECRET_OLD", None, ("controller",), "earlier ones, separated by commas", True
    ),
    Setting("TICK_INTERVAL_MS", "30000", ("controller",), "a full look each so many milliseconds"),
    Setting(
        "PROBE_INTERVAL", "30s", ("controller",), "idle agents are asked for their status each"
    ),
    Setting("HANDOVER_TIMEOUT", "60s", ("controller",), "an agent silent for so long is given up"),
    Setting("HANDOVER_CONCURRENCY", "100", ("controller",), "agents spoken to at the same time"),
    Setting("CREATE_CONCURRENCY", "5", ("controller",), "services created at the same time"),
    Setting(
        "AGENT_SCHEME", "https", ("controller",), "`http` only with a RAILWAY_ENDPOINT on loopback"
    ),
    Setting("API_OPS_PORT", "9101", ("api",), "sidecar: /readyz, /metrics, /version, no key"),
    Setting("CONTROLLER_OPS_PORT", "9102", ("controller",), "controller: the same"),
    Setting("SIMULATOR_PORT", "9103", ("up",), "simulated Railway: its API"),
    Setting("SIMULATOR_AGENT_PORT", "9180", ("up",), "simulated agents: port of each on 127.x.y.z"),
    Setting("LOG_FORMAT", "auto", _BOTH, "json, console, or auto: console on a terminal"),
    Setting("LOG_LEVEL", "info", _BOTH, "debug, info, warning or error"),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


INSTANCE_PREFIX = "INSTANCE_"  # Any other INSTANCE_<NAME> reaches each instance as <NAME>.


# ---------------------------------------------------------------- .env, and names nobody reads

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_BARE_COMMENT = re.compile(r"\s+#.*$")
_OURS = ("POOL_", "HANDOVER_", "CONTROLLER_", "API_OPS_", "RAILWAY_SOURCE_", "TICK_", "SIMULATOR_")
# Kubernetes sets these for a Service that happens to be called `pool` or `controller`.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)\w*)")
# What Railway itself sets, or reads, in a service (docs.railway.com, variables reference).
_RAILWAYS_OWN = re.compile(
    r"RAILWAY_(TOKEN|ENVIRONMENT|STATIC_URL|RUN_UID|RUN_AS_ROOT|DOCKERFILE_PATH|SHM_SIZE_BYTES"
    r"|(PROJECT|ENVIRONMENT|SERVICE)_NAME|(PUBLIC|PRIVATE)_DOMAIN"
    r"|(SERVICE|TCP|REPLICA|DEPLOYMENT|SNAPSHOT|VOLUME|GIT|HEALTHCHECK|BETA)_\w+)"
)


def load_environment(environ: Mapping[str, str], cwd: Path) -> Mapping[str, str]:
    """`.env` of that folder under the real environment. Raises SettingError, also for unknown names."""
    together = {**_read_dotenv(cwd / ".env"), **environ}
    for name in sorted(together):
        if problem := _unknown(name, BY_NAME):
            raise SettingError(name, problem)
    return together


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    if path.stat().st_size > DOTENV_MAX_BYTES:
        raise SettingError(
            ".env", f"is larger than {DOTENV_MAX_BYTES} bytes; is it the right file?"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(".env", "cannot be read as UTF-8 text") from error
    return dict(
        _dotenv_line(number, line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def _dotenv_line(number: int, line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise SettingError(".env", f"line {number} is not NAME=value")
    name, value = found.groups()
    if not value.startswith(('"', "'")):
        return name, _BARE_COMMENT.sub("", value)
    quoted = re.fullmatch(r"(['\"])(.*)\1\s*(#.*)?", value)
    if quoted is None:
        raise SettingError(".env", f"line {number}: the quote after {name}= is not closed")
    return name, quoted[2]


def _unknown(name: str, known: Collection[str]) -> str | None:
    """What to say of a name that looks like ours and is read by nobody; None where it is fine."""
    if name in known or _SERVICE_LINK.fullmatch(name) or _RAILWAYS_OWN.fullmatch(name):
        return None
    near = get_close_matches(name, known, n=1, cutoff=0.85)
    if not name.startswith(_OURS) and not (near and name.startswith("RAILWAY_")):
        return None
    mend = f"did you mean {near[0]}?" if near else "remove it (the README lists every setting)"
    return f"is not a setting of ours: {mend}"


# ---------------------------------------------------------------- reading


class Reader:
    """Reads settings by name, with the table's defaults. An empty value is no value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: set[str] = set()  # For the test that holds the table and the classes together.

    def text(self, name: str) -> str | None:
        self.asked.add(name)
        return self._environ.get(name, "").strip() or BY_NAME[name].default

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise SettingError(name, f"is not set ({BY_NAME[name].description})")
        return value

    def parsed(self, name: str, parse: Callable[[str], Value], wanted: str) -> Value:
        """The value through `parse`, whose ValueError becomes one line that says what is wanted."""
        try:
            return parse(self.required(name))
        except ValueError:
            raise SettingError(name, f"must be {wanted}") from None

    def integer(self, name: str, low: int, high: int) -> int:
        return self.parsed(name, _between(int, low, high), f"a number from {low} to {high}")

    def integer_or_none(self, name: str, low: int, high: int) -> int | None:
        return None if self.text(name) is None else self.integer(name, low, high)

    def port(self, name: str) -> int:
        return self.integer(name, 1, 65535)

    def seconds(self, name: str, low: float, high: float) -> float:
        """`90`, `90s` and `1m30s` are the same."""
        wanted = f"a duration such as 45s or 10m, from {low:g} to {high:g} seconds"
        return self.parsed(name, _between(_seconds, low, high), wanted)

    def choice(self, name: str, of: tuple[str, ...]) -> str:
        return self.parsed(name, lambda value: of[of.index(value)], f"one of {', '.join(of)}")

    def database_url(self) -> str:
        return self.parsed(
            "DATABASE_URL", _database_url, "postgresql://user:password@host/database"
        )

    def store(self) -> "StoreSettings":
        """Where the records are, and what is needed to reach them."""
        kind = self.choice("POOL_RECORDS", get_args(StoreKind))
        kubeconfig = self.text("KUBECONFIG") or ""
        if kind == "kubernetes":
            self.asked.add("DATABASE_URL")
            return StoreSettings("kubernetes", kubeconfig=kubeconfig)
        return StoreSettings("postgres", self.database_url())

    def scope(self, store: "StoreSettings") -> str | None:
        """The one namespace that the controller looks at; None, on Kubernetes for `*`: all."""
        if self.text("POOL_NAMESPACE") != EVERY_NAMESPACE:
            return self.namespace()
        if store.kind != "kubernetes":
            raise SettingError("POOL_NAMESPACE", "* is for Kubernetes: name one namespace")
        return None

    def namespace(self) -> str:
        check = TypeAdapter[str](Name).validate_python
        return self.parsed("POOL_NAMESPACE", check, "lower-case letters, digits, - and .")

    def log_format(self) -> LogFormat:
        return self.choice("LOG_FORMAT", get_args(LogFormat))  # type: ignore[return-value]

    def log_level(self) -> LogLevel:
        return self.choice("LOG_LEVEL", get_args(LogLevel))  # type: ignore[return-value]


def _between(parse: Callable[[str], Value], low: float, high: float) -> Callable[[str], Value]:
    def checked(text: str) -> Value:
        value = parse(text)
        if not low <= value <= high:  # type: ignore[operator]
            raise ValueError
        return value

    return checked


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_duration(text).total_seconds()


def _database_url(text: str) -> str:
    url = urlsplit(text)
    _ = url.port  # Raises ValueError where it is no number.
    if url.scheme not in ("postgres", "postgresql") or not (
        url.hostname or "host" in parse_qs(url.query)
    ):
        raise ValueError
    return text


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Which store the records are in, and where it is."""

    kind: StoreKind
    database_url: str = field(default="", repr=False)
    kubeconfig: str = ""  # A path; "" in a pod, or for the usual one.


# ---------------------------------------------------------------- the sidecar's


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the sidecar reads."""

    api_key: str = field(repr=False)
    store: StoreSettings
    host: str = "127.0.0.1"
    port: int = 3001
    ops_port: int = 9101
    namespace: str = DEFAULT_NAMESPACE
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Raises SettingError."""
        return cls(
            api_key=reader.required("POOL_API_KEY"),
            store=reader.store(),
            host=reader.required("HOST"),
            port=reader.port("PORT"),
            ops_port=reader.port("API_OPS_PORT"),
            namespace=reader.namespace(),
            log_format=reader.log_format(),
            log_level=reader.log_level(),
        )
