"""Logs: one line per event, with the names it is about, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from api import logs
from api.settings import LogFormat, LogLevel

SECRET = 'canary "quoted" \\ secret'


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(form: LogFormat = "json", level: LogLevel = "info") -> io.StringIO:
    out = io.StringIO()
    logs.configure(form, level, "controller", out)
    return out


def only(out: io.StringIO) -> dict[str, Any]:
    (line,) = out.getvalue().splitlines()
    said: dict[str, Any] = json.loads(line)
    return said


def test_a_json_line_says_what_where_and_about_which_claim() -> None:
    out = lines()
    about = {"pool": "default", "claim": "c-1", "instance": "k3x9aaaa", "took_s": 0.2}
    logging.getLogger("controller.reconcile").info("bound %d", 1, extra=about)
    said = only(out)
    assert said.pop("at").endswith("+00:00")
    assert said == {
        "level": "info",
        "logger": "controller.reconcile",
        "process": "controller",
        "message": "bound 1",
        **about,
    }


def test_the_console_form_is_one_short_line() -> None:
    out = lines("console")
    logging.getLogger("x").warning("slow", extra={"pool": "p", "claim": "c"})
    assert out.getvalue().rstrip().endswith("warning x: slow  claim=c pool=p")


def test_auto_is_json_where_nobody_looks() -> None:
    out = lines("auto")
    logging.getLogger("x").info("hello")
    assert only(out)["message"] == "hello"


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_is_hidden_is_in_no_line_not_even_in_a_traceback(form: LogFormat) -> None:
    logs.hide(SECRET, None, "")
    out = lines(form)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("x").exception(
            "told %s", SECRET, extra={"url": f"a{SECRET}b", "l": [SECRET]}
        )
    assert "canary" not in out.getvalue()
    assert out.getvalue().count(logs.HIDDEN) >= 4


def test_words_too_short_to_be_secrets_are_left_alone() -> None:
    logs.hide("dev")
    assert logs.redact("a developer") == "a developer"


def test_clients_and_access_logs_are_quiet_and_the_level_holds() -> None:
    out = lines(level="info")
    for name in ("httpx", "aiohttp.access"):
        logging.getLogger(name).info("GET /")
    logging.getLogger("x").debug("detail")
    assert out.getvalue() == ""


def test_a_line_has_a_bound() -> None:
    out = lines()
    logging.getLogger("x").info("y" * 100_000)
    assert len(out.getvalue()) < logs.LINE_MAX + 500
