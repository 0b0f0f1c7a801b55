"""`python -m api`: the sidecar alone, from the environment and `.env`."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from api import logs
from api.settings import EXIT_SETTING, ApiSettings, Reader, SettingError, load_environment
from api.sidecar import serve


def run(environ: Mapping[str, str]) -> None:
    """Until it is told to stop; on uvloop, which took a quarter off a claim's cost where it was measured.
    Raises SettingError."""
    settings = ApiSettings.read(Reader(environ))
    logs.hide(settings.api_key, urlsplit(settings.store.database_url).password)
    logs.configure(settings.log_format, settings.log_level, "api")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def main() -> int:
    try:
        run(load_environment(os.environ, Path.cwd()))
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
