"""`agent-pool`: reads arguments, runs one command, turns what went wrong into one line and an exit code.

Commands are imported when they run: `agent-pool version` needs no database client.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from api.manifests import ManifestError
from api.records import NotFound, RecordsError
from api.settings import SettingError
from controller.cli import exits
from controller.cli.arguments import parser_of_everything
from controller.cli.exits import Exit

ON_RECORDS = {"apply", "claim", "get", "release", "status"}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 ok, 1 failed, 2 usage or setting, 4 not found, 5 timed out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal without ✓ is no reason to fail.
    words = sys.argv[1:] if argv is None else argv
    arguments = parser_of_everything(simulator="simulator" in words).parse_args(words)
    try:
        return _run(arguments)
    except BrokenPipeError:  # `agent-pool get claims | head`: nobody reads on, which is fine.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        code, text = _verdict(error)
        if text:
            print(f"agent-pool: {text}", file=sys.stderr)
        return code


def _run(arguments: argparse.Namespace) -> int:
    room = "records" if arguments.command in ON_RECORDS else "commands"
    command = getattr(import_module(f"controller.cli.{room}"), arguments.command)
    result = command(arguments)
    return exits.OK if result is None else int(result)


def _verdict(error: Exception) -> tuple[int, str]:
    """Exit code and text; raises what is no affair of the user's: a bug shows its traceback."""
    from controller.local.state import AlreadyRunning
    from controller.local.supervisor import PartFailed

    match error:
        case Exit():
            return error.code, str(error)
        case SettingError():
            return exits.USAGE, str(error)
        case PartFailed():
            return exits.USAGE if error.code == exits.USAGE else exits.FAILED, str(error)
        case NotFound():
            return exits.NOT_FOUND, str(error)
        case RecordsError() | ManifestError() | AlreadyRunning():
            return exits.FAILED, str(error)
        case OSError() if error.filename:
            return exits.USAGE, f"{Path(os.fsdecode(error.filename))}: {error.strerror}"
        case _:
            raise error
