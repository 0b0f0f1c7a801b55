"""The arguments of every command, with its help and examples."""

import argparse
from typing import TypeAlias

from controller.local.state import DEFAULT_STATE

_STORE = """
The store is found by --database-url, then DATABASE_URL (also in .env), then <state>/run.json of a
running `agent-pool up`; with --records kubernetes by KUBECONFIG, the pod, or kubectl's usual file."""
_IMPORT = """
Records with a status are an import: what `agent-pool get pools,claims,instances -o yaml` printed of another
store moves in, claimed agents too, and goes on under its controller (docs/moving.md). Refused while the
controller of the source runs, for an export older than 15 minutes or cut off, and where records of the same
names are. Until all is there nothing is acted upon; cut off, the same two commands complete it. The secret of
the agents' keys is read from the source itself, found as always (DATABASE_URL, KUBECONFIG, --state), and
printed nowhere; where the source cannot be reached from here, `get --installation` sends it along."""
_EXPORT = """
The three kinds together as yaml or json are an export, which `agent-pool apply` moves into another store:
printed are the records whole (instructions, inline env values and invites in clear), the installation's id
and who leads. The secret that the agents' keys derive from is printed with --installation only, and never in
a table. Tables show no instructions."""
_EPILOG = """exit codes: 0 ok, 1 failed, 2 usage or setting, 4 not found, 5 timed out
Every command has --help with examples."""


def parser_of_everything(*, simulator: bool) -> argparse.ArgumentParser:
    """`simulator`: with its options too, which takes half a second to import."""
    parser = argparse.ArgumentParser(
        prog="agent-pool",
        description="Keeps AI agents warm on Railway and hands them out in seconds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _local(commands)
    _processes(commands, simulator)
    _records(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(
    commands: Commands, name: str, says: str, examples: str, store: bool = False
) -> argparse.ArgumentParser:
    shown = "\n".join(f"  agent-pool {line}" for line in examples.splitlines())
    parser = commands.add_parser(
        name,
        help=says,
        description=says[:1].upper() + says[1:] + "." + (_STORE if store else ""),
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if store:
        parser.add_argument(
            "--database-url", metavar="URL", help="the store (better: DATABASE_URL)"
        )
        _which_store(parser)
        parser.add_argument("-n", "--namespace", help="default: POOL_NAMESPACE, else `default`")
    return parser


def _which_store(parser: argparse.ArgumentParser) -> None:
    kinds, says = ("postgres", "kubernetes"), "which store (POOL_RECORDS, else postgres)"
    parser.add_argument("--records", choices=kinds, default="", help=says)


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", default=str(DEFAULT_STATE), metavar="DIR", help="state folder (%(default)s)"
    )


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "yaml", "name"), default="table"
    )


def _local(commands: Commands) -> None:
    up = _command(
        commands,
        "up",
        "start everything on this machine: the store, simulated Railway, controller, sidecar",
        "up\nup --records kubernetes\nup --state /var/lib/agent-pool\nup --simulator '--pace slow'",
    )
    _which_store(up)
    up.add_argument(
        "--simulator", default="", metavar="ARGUMENTS", help="further arguments of `simulator`"
    )
    down = _command(commands, "down", "stop what `up` started", "down\ndown --state DIR")
    status = _command(
        commands, "status", "what runs, and how full each pool is", "status\nstatus -o json", True
    )
    psql = _command(
        commands, "psql", "open psql on the store", "psql\npsql -- -c 'TABLE agent_pools'", True
    )
    psql.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for psql, after --")
    for parser in (up, down, status, psql):
        _state(parser)
    _output(status)


def _processes(commands: Commands, with_simulator: bool) -> None:
    for process in (
        _command(commands, "controller", "run the controller alone", "controller"),
        _command(commands, "api", "run the sidecar (the REST door) alone", "api"),
    ):
        _which_store(process)
    simulator = _command(
        commands,
        "simulator",
        "run the simulated Railway alone",
        "simulator --state .state\nsimulator --agent-command 'node server.js'",
    )
    if with_simulator:
        from controller.railway.simulator.command import add_arguments

        add_arguments(simulator)
    migrate = _command(commands, "migrate", "bring the store's schema up to date", "migrate", True)
    _state(migrate)
    crds = _command(
        commands,
        "crds",
        "print the custom resource definitions, for kubectl",
        "crds | kubectl apply --server-side -f -\ncrds --output-dir crds",
    )
    crds.add_argument(
        "--output-dir", metavar="DIR", help="a file for each there, instead of printing"
    )
    version = _command(commands, "version", "show the version", "version\nversion -o json")
    _output(version)


def _records(commands: Commands) -> None:
    _apply(commands)
    _get(commands)
    _claim(commands)
    release = _command(
        commands,
        "release",
        "delete claims; what becomes of the agent is the claim's reclaimPolicy's affair",
        "release tokyo-trip-planner-x7k2p",
        True,
    )
    release.add_argument("names", nargs="+", metavar="NAME")
    _state(release)


def _apply(commands: Commands) -> None:
    apply = _command(
        commands,
        "apply",
        "make pools and claims as manifests say; only what is declared changes",
        "apply -f deploy/examples/pool.yaml\napply -f DIR\n"
        "get pools,claims,instances -o yaml --records postgres |"
        " agent-pool apply --records kubernetes -f -",
        True,
    )
    apply.description = f"{apply.description}\n{_IMPORT}"
    apply.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE|DIR|-",
        help="may be repeated",
    )
    _home(apply)
    _state(apply)


def _get(commands: Commands) -> None:
    get = _command(
        commands,
        "get",
        "show pools, claims and instances",
        "get pools\nget pools,claims\nget claims NAME -o yaml\nget instances -o name\n"
        "get pools,claims,instances -o yaml --installation >pool.yaml",
        True,
    )
    get.description = f"{get.description}\n{_EXPORT}"
    get.add_argument("kinds", metavar="KINDS", help="pools, claims, instances; several by commas")
    get.add_argument("names", nargs="*", metavar="NAME")
    get.add_argument(
        "--installation",
        action="store_true",
        help="with the three kinds and -o yaml or json: also the Secret that says which installation"
        " this is, the secret of its agents' keys IN CLEAR among it",
    )
    _output(get)
    _home(get)
    _state(get)


def _home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        default="",
        metavar="NAMESPACE",
        help="Kubernetes: where the controller runs, with its leases and its Secret"
        " (the records' namespace)",
    )


def _claim(commands: Commands) -> None:
    claim = _command(
        commands,
        "claim",
        "claim an agent, wait for it, show its invite",
        "claim tokyo-trip-planner --instructions 'You plan trips to Tokyo.'\n"
        "claim helper --instructions-file prompt.txt --pool big --wait 5m\n"
        "claim helper --instructions-file - --wait 0 -o name <prompt.txt",
        True,
    )
    claim.add_argument("agent_id", metavar="AGENT_ID", help="what the agent is called")
    told = claim.add_mutually_exclusive_group(required=True)
    told.add_argument("--instructions", metavar="TEXT")
    told.add_argument("--instructions-file", metavar="FILE", help="- is standard input")
    claim.add_argument("--pool", default="default", help="(%(default)s)")
    claim.add_argument("--name", help="of the claim; default: from AGENT_ID")
    claim.add_argument("--join-url", metavar="URL", help="join this conversation, open no new one")
    claim.add_argument("--timeout", metavar="10m", help="the claim's own; default: the pool's")
    claim.add_argument("--on-empty", choices=("Wait", "Fail"), default="Wait", help="(%(default)s)")
    claim.add_argument("--reclaim-policy", choices=("Retain", "Delete"), default="Retain")
    claim.add_argument("--wait", default="2m", metavar="2m", help="0: do not (%(default)s)")
    claim.add_argument("--no-qr", action="store_true", help="without the QR code")
    _output(claim)
    _state(claim)
