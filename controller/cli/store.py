"""Which store a command talks to: a flag, then a variable, then a running `up`."""

import argparse
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from api.records import Records
from api.records.opening import open_records
from api.settings import Reader, SettingError, StoreSettings, load_environment
from controller.local.state import StateFolder


def environment() -> Mapping[str, str]:
    """The process's environment over `.env`. Raises SettingError."""
    return load_environment(os.environ, Path.cwd())


def is_named(arguments: argparse.Namespace) -> bool:
    """Whether a flag or a variable says which store."""
    environ = environment()
    named = ("DATABASE_URL", "KUBECONFIG" if _kind(arguments) == "kubernetes" else "")
    return bool(arguments.database_url or any(environ.get(n, "").strip() for n in named))


def settings(arguments: argparse.Namespace) -> StoreSettings:
    """Raises SettingError where none of the three is there."""
    environ = dict(environment())
    if arguments.database_url:
        return StoreSettings(
            "postgres", Reader({"DATABASE_URL": arguments.database_url}).database_url()
        )
    kind = _kind(arguments)
    if kind:
        environ["POOL_RECORDS"] = kind
    if is_named(arguments):
        return Reader(environ).store()
    folder = StateFolder(Path(arguments.state))
    running = (
        folder.read_running() if folder.holder() else None
    )  # A kill -9 leaves one that leads nowhere.
    if running is not None and running.kubeconfig and kind != "postgres":
        return StoreSettings("kubernetes", kubeconfig=running.kubeconfig)
    if running is not None and running.database_url and kind != "kubernetes":
        return StoreSettings("postgres", running.database_url)
    if kind == "kubernetes":  # In a pod, or with the usual kubeconfig.
        return Reader(environ).store()
    what = "no Postgres runs" if running else "nothing runs"
    raise SettingError(
        "DATABASE_URL",
        f"is not set, and {what} in {arguments.state}; set it, give --state, or start `agent-pool up`",
    )


def _kind(arguments: argparse.Namespace) -> str:
    return arguments.records or environment().get("POOL_RECORDS", "").strip()


def database_url(arguments: argparse.Namespace) -> str:
    """Of commands that only Postgres knows. Raises SettingError."""
    found = settings(arguments)
    if found.kind != "postgres":
        raise SettingError("POOL_RECORDS", "is kubernetes, which has no database: use kubectl")
    return found.database_url


def namespace(arguments: argparse.Namespace) -> str:
    flag = arguments.namespace
    return Reader({"POOL_NAMESPACE": flag} if flag else environment()).namespace()


def home(arguments: argparse.Namespace) -> str:
    """Of commands that move: where the controller runs. The records' namespace unless told."""
    return str(arguments.home or namespace(arguments))


@asynccontextmanager
async def records(arguments: argparse.Namespace) -> AsyncIterator[Records]:
    """The store, open for one command."""
    where = home(arguments) if "home" in arguments else ""
    opened = await open_records(settings(arguments), scope=namespace(arguments), home=where)
    try:
        yield opened
    finally:
        await opened.close()
