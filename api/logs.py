"""One line per event: JSON for programs, a short form on a terminal, and a last net for secrets.

`log.info("bound", extra={"claim": name, "instance": id, "pool": pool})`: what is in `extra` becomes fields.
"""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from api.settings import LogFormat, LogLevel

HIDDEN = "***"
SHORTEST_SECRET = 6  # Shorter ones ("dev") would tear up ordinary words.
LINE_MAX = 16 * 1024
QUIET = ("httpx", "httpcore", "aiohttp.access", "asyncio", "graphql")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ABOUT = ("claim", "instance", "pool")

_secrets: set[str] = set()


def hide(*secrets: str | None) -> None:
    """From now on each of these is `***` in every line of this process, tracebacks included."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST_SECRET:
            _secrets.update({secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]})


def redact(text: str) -> str:
    """The text without what was hidden; the longest first, since one may contain another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def configure(form: LogFormat, level: LogLevel, process: str, stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (stderr). `auto` is the console form on a terminal."""
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(ConsoleLines() if console else JsonLines(process))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """`{at, level, logger, process, message, claim?, instance?, pool?, ...}`, one object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "message": _message(record),
            **_extras(record),
        }
        if trace := _trace(self, record):
            line["error"] = trace
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class ConsoleLines(logging.Formatter):
    """`12:00:01.250 info  controller.reconcile: bound  claim=c-1 instance=k3x9…`"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {k}={v}" for k, v in _extras(record).items())
        line = f"{at} {record.levelname.lower():7} {record.name}: {_message(record)}"
        trace = _trace(self, record)
        return redact(f"{line} {fields}".rstrip() + (f"\n{trace}" if trace else ""))


def _message(record: logging.LogRecord) -> str:
    return record.getMessage()[:LINE_MAX]


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info)[-LINE_MAX:] if record.exc_info else ""


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`; claim, instance and pool first."""
    given = {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
    return dict(_first(given))


def _first(given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((k, given[k]) for k in _ABOUT if k in given)
    yield from ((k, v) for k, v in given.items() if k not in _ABOUT)
