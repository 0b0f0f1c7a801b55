"""The commands that run or stop something, one function each; those on records are in `records`."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from api import logs
from api.settings import Reader
from controller.cli import exits
from controller.cli.exits import Exit
from controller.cli.store import database_url, environment
from controller.local.state import StateFolder
from controller.settings import ControllerSettings

DOWN_PATIENCE_S = 60.0


# ---------------------------------------------------------------- one process


def controller(arguments: argparse.Namespace) -> None:
    import uvloop

    from controller.run import run

    environ = _choosing(arguments)
    settings = ControllerSettings.read(Reader(environ), environ)
    logs.hide(*settings.secrets(), urlsplit(settings.store.database_url).password)
    logs.configure(settings.log_format, settings.log_level, "controller")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))


def api(arguments: argparse.Namespace) -> None:
    from api.__main__ import run

    run(_choosing(arguments))


def _choosing(arguments: argparse.Namespace) -> Mapping[str, str]:
    """The environment, with the store that the flag chooses."""
    chosen = {"POOL_RECORDS": arguments.records} if arguments.records else {}
    return {**environment(), **chosen}


def simulator(arguments: argparse.Namespace) -> None:
    from controller.railway.simulator.command import config_from
    from controller.railway.simulator.files import InUse
    from controller.railway.simulator.server import run

    logs.configure("auto", "info", "simulator")
    try:
        asyncio.run(run(config_from(arguments)))
    except InUse as error:
        raise Exit(exits.USAGE, f"--state: {error}") from None
    except OSError as error:
        raise Exit(exits.USAGE, f"--port, --agent-port or --state: {error}") from None


def migrate(arguments: argparse.Namespace) -> None:
    from api.records.migrate import migrate as bring_up

    applied = asyncio.run(bring_up(database_url(arguments)))
    print("\n".join(f"{name} applied" for name in applied) or "up to date")


def crds(arguments: argparse.Namespace) -> None:
    from api.crds import everything

    if arguments.output_dir is None:
        print("---\n".join(everything().values()), end="")
        return
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in everything().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name} written")


def version(arguments: argparse.Namespace) -> None:
    said = {"version": installed("agent-pool")}
    match arguments.output:
        case "json":
            print(json.dumps(said))
        case "yaml":
            print(yaml.safe_dump(said), end="")
        case _:
            print(f"agent-pool {said['version']}")


def psql(arguments: argparse.Namespace) -> None:
    """Becomes psql. What it needs to know travels in its environment: arguments can be read by anybody."""
    from controller.local.psql import psql_environment, psql_program

    url = database_url(arguments)
    environ = {**os.environ, **psql_environment(url)}
    os.execve(psql_program(), ["psql", *arguments.arguments], environ)  # noqa: S606


# ---------------------------------------------------------------- everything here


def up(arguments: argparse.Namespace) -> None:
    from controller.local.plan import make_plan
    from controller.local.progress import Progress
    from controller.local.up import up as start

    state = StateFolder(Path(arguments.state))
    environ = _choosing(arguments)
    state.make()
    with state.locked():
        plan = make_plan(environ, state, arguments.simulator)
        asyncio.run(start(plan, Progress()))


def down(arguments: argparse.Namespace) -> None:
    """Asks the running `up` to stop, and waits until it has."""
    state = StateFolder(Path(arguments.state))
    pid = state.holder()
    if pid is None:
        print(f"nothing runs in {state.folder}")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_PATIENCE_S
    while state.holder() == pid:
        if time.monotonic() > deadline:
            raise Exit(exits.TIMED_OUT, f"pid {pid} was asked to stop and still runs")
        time.sleep(0.1)
    print(f"stopped (pid {pid})")
