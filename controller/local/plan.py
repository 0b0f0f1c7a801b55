"""What `up` will run: decided, filled in and checked before anything starts."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from api.settings import BY_NAME, INSTANCE_PREFIX, ApiSettings, Reader, SettingError
from controller.local.state import StateFolder, port_problem
from controller.settings import ControllerSettings

SEED_REPO = "xmtplabs/convos-agent-railway-template"
PLACEHOLDER_KEY = "simulated-agents-need-no-key"
_SOURCE = ("REPO", "BRANCH", "IMAGE")
_UNKNOWN_YET = {"DATABASE_URL": "postgresql://127.0.0.1/", "RAILWAY_API_TOKEN": "unknown yet"}


@dataclass(frozen=True, slots=True)
class Plan:
    """`environ` is what the parts are told; what only a running part can tell comes later."""

    state: StateFolder
    environ: Mapping[str, str] = field(repr=False)
    api: ApiSettings
    controller: ControllerSettings
    simulator_port: int
    agent_port: int
    own_postgres: bool
    simulated: bool
    simulator_arguments: tuple[str, ...]
    notes: tuple[str, ...]  # For a person: what was filled in.

    @property
    def url(self) -> str:
        """Where the sidecar is reached from this machine."""
        return f"http://{_reachable(self.api.host)}:{self.api.port}"

    @property
    def ops(self) -> dict[str, str]:
        host = _reachable(self.api.host)
        ports = {"api": self.api.ops_port, "controller": self.controller.ops_port}
        return {name: f"http://{host}:{port}" for name, port in ports.items()}


def make_plan(environ: Mapping[str, str], state: StateFolder, simulator: str = "") -> Plan:
    """`simulator`: further arguments for it. Raises SettingError for whatever is known to be wrong."""
    on_kubernetes = environ.get("POOL_RECORDS", "").strip() == "kubernetes"
    own_postgres = not environ.get("DATABASE_URL", "").strip()
    simulated = not environ.get("RAILWAY_API_TOKEN", "").strip()
    filled, notes = dict(environ), []
    if on_kubernetes and filled.pop("KUBECONFIG", "").strip():
        notes = ["KUBECONFIG is not used: `up` runs an API server of its own"]
    if not filled.get("POOL_API_KEY", "").strip():
        filled["POOL_API_KEY"] = state.api_key()
    if simulated:
        notes += [*_not_used(filled), *_fill_in_a_pool(filled)]
        filled.update(RAILWAY_ENDPOINT="", AGENT_SCHEME="")
    known = {**_UNKNOWN_YET, **{k: v for k, v in filled.items() if v.strip()}}
    reader = Reader(known)
    return Plan(
        state=state,
        environ=filled,
        api=ApiSettings.read(reader),
        controller=ControllerSettings.read(reader, known),
        simulator_port=reader.port("SIMULATOR_PORT"),
        agent_port=reader.port("SIMULATOR_AGENT_PORT"),
        own_postgres=own_postgres,
        simulated=simulated,
        simulator_arguments=tuple(shlex.split(simulator)),
        notes=tuple(notes),
    )


def _not_used(environ: Mapping[str, str]) -> list[str]:
    """What somebody set who meant the real Railway."""
    return [
        f"RAILWAY_API_TOKEN is not set: Railway is simulated, and {name} is not used"
        for name in ("RAILWAY_ENDPOINT", "RAILWAY_PROJECT_ID", "RAILWAY_ENVIRONMENT_ID")
        if environ.get(name, "").strip()
    ]


def _fill_in_a_pool(environ: dict[str, str]) -> list[str]:
    """Simulated, with no pool declared: the seed's, so that there is one to claim from."""
    if any(environ.get(f"RAILWAY_SOURCE_{part}", "").strip() for part in _SOURCE):
        return []
    environ["RAILWAY_SOURCE_REPO"] = SEED_REPO
    notes = [f"RAILWAY_SOURCE_REPO is not set: the pool `default` simulates {SEED_REPO}"]
    if not any(
        k.startswith(INSTANCE_PREFIX) and k.endswith("_API_KEY") and v for k, v in environ.items()
    ):
        environ["INSTANCE_ANTHROPIC_API_KEY"] = PLACEHOLDER_KEY
        notes.append(
            "INSTANCE_ANTHROPIC_API_KEY is not set: the simulated agents get a placeholder"
        )
    return notes


def ports_wanted(plan: Plan) -> list[tuple[str, str, int]]:
    """Variable, host and port of whatever will listen. Two that are the same: SettingError."""
    host, loopback = plan.api.host, "127.0.0.1"
    wanted = [("PORT", host, plan.api.port), ("API_OPS_PORT", host, plan.api.ops_port)]
    wanted.append(("CONTROLLER_OPS_PORT", host, plan.controller.ops_port))
    if plan.simulated:
        wanted.append(("SIMULATOR_PORT", loopback, plan.simulator_port))
        wanted.append(("SIMULATOR_AGENT_PORT", loopback, plan.agent_port))
    for i, (name, _, port) in enumerate(wanted):
        for other, _, same in wanted[:i]:
            if port == same:
                raise SettingError(
                    name, f"is {port}, and so is {other}: set one of them to another port"
                )
    return wanted


def taken_port(plan: Plan) -> SettingError | None:
    """The first of them that somebody else has."""
    for name, host, port in ports_wanted(plan):
        if problem := port_problem(host, port):
            if "is taken" in problem:
                return SettingError(
                    name, f"{problem}; set {name} to another one, or stop who has it"
                )
            return SettingError("HOST", f"{problem}; set it or {name} to another one")
    return None


def environment_of(part: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What that part is told: no setting that it does not read."""
    theirs = {s.name for s in BY_NAME.values() if part not in s.readers}
    return {
        name: value
        for name, value in environ.items()
        if name not in theirs and (part == "controller" or not name.startswith(INSTANCE_PREFIX))
    }


def command(*words: str) -> list[str]:
    """Our own command line in this very Python."""
    return [sys.executable, "-m", "controller.cli", *words]


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - All addresses: this one is among them.
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
