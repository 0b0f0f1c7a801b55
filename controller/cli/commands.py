"""One function per command: arguments in, exit code out (None is 0)."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Coroutine
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import yaml

from api import logs
from api.settings import ApiSettings, LogFormat, LogLevel, Reader
from controller.cli import exits
from controller.cli.exits import Exit
from controller.cli.records import apply, claim, get, release, status
from controller.cli.store import database_url, environment
from controller.local.state import AlreadyRunning, StateFolder
from controller.settings import ControllerSettings

__all__ = ["apply", "claim", "get", "release", "status"]

DOWN_PATIENCE_S = 60.0


# ---------------------------------------------------------------- one process


def controller(_: argparse.Namespace) -> None:
    from controller.run import run

    environ = environment()
    settings = ControllerSettings.read(Reader(environ), environ)
    logs.hide(*settings.secrets(), _password(settings.database_url))
    _process(run(settings), "controller", settings.log_format, settings.log_level)


def api(_: argparse.Namespace) -> None:
    from api.sidecar import serve

    settings = ApiSettings.read(Reader(environment()))
    logs.hide(settings.api_key, _password(settings.database_url))
    _process(serve(settings), "api", settings.log_format, settings.log_level)


def _process(
    work: Coroutine[Any, Any, None], name: str, form: LogFormat, level: LogLevel
) -> None:
    """Run it on uvloop, which took a quarter off a claim's cost where it was measured."""
    import uvloop

    logs.configure(form, level, name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _password(url: str) -> str | None:
    from urllib.parse import urlsplit

    return urlsplit(url).password
