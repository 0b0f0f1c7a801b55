"""Which store a command talks to: a flag, then a variable, then a running `up`."""

import argparse
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from api.records.postgres import PostgresRecords
from api.settings import Reader, SettingError, load_environment
from controller.local.state import StateFolder


def environment() -> Mapping[str, str]:
    """The process's environment over `.env`. Raises SettingError."""
    return load_environment(os.environ, Path.cwd())


def is_named(arguments: argparse.Namespace) -> bool:
    """Whether a flag or a variable says which store."""
    return bool(arguments.database_url or environment().get("DATABASE_URL", "").strip())


def database_url(arguments: argparse.Namespace) -> str:
    """Raises SettingError where none of the three is there."""
    environ = environment()
    flag = arguments.database_url
    if is_named(arguments):
        return Reader({"DATABASE_URL": flag} if flag else environ).database_url()
    folder = StateFolder(Path(arguments.state))
    running = folder.read_running()
    if running is None or folder.holder() is None:  # One left by a kill -9 leads nowhere.
        problem = f"is not set, and nothing runs in {arguments.state}"
        raise SettingError(
            "DATABASE_URL", f"{problem}; set it, give --state, or start `agent-pool up`"
        )
    return running.database_url


def namespace(arguments: argparse.Namespace) -> str:
    flag = arguments.namespace
    return Reader({"POOL_NAMESPACE": flag} if flag else environment()).namespace()


@asynccontextmanager
async def records(arguments: argparse.Namespace) -> AsyncIterator[PostgresRecords]:
    """The store, open for one command."""
    opened = await PostgresRecords.connect(database_url(arguments))
    try:
        yield opened
    finally:
        await opened.close()
