"""What a person sees while things start: a line that lives on a terminal, plain lines elsewhere."""

import io

from api.types import Condition
from controller.local.filling import describe, stalled
from controller.local.progress import Progress
from tests.builders import NOW, a_pool


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_live_line_is_replaced() -> None:
    out = Terminal()
    progress = Progress(out)
    progress.live("starting")
    progress.live("starting")
    progress.say("started")
    assert out.getvalue() == "starting\r\x1b[2Kstarted\n"


def test_on_a_terminal_it_never_wraps_and_can_be_taken_away() -> None:
    out = Terminal()
    progress = Progress(out)
    progress.live("x" * 5000)
    progress.clear()
    progress.clear()
    assert len(out.getvalue()) < 1000
    assert out.getvalue().endswith("\r\x1b[2K")


def test_elsewhere_each_change_is_a_line() -> None:
    out = io.StringIO()
    progress = Progress(out)
    for text in ("a", "a", "b"):
        progress.live(text)
    progress.say("done")
    progress.clear()
    assert out.getvalue() == "a\nb\ndone\n"


def test_a_pool_is_described_in_one_line_with_what_stalls_it() -> None:
    stall = Condition(
        type="Stalled",
        status="True",
        reason="TemplateFailing",
        message="3 failed",
        last_transition_time=NOW,
    )
    pool = a_pool(idle=1, provisioning=2, failed=3, conditions=(stall,), min_idle=4)
    assert stalled(pool) == stall
    assert stalled(a_pool()) is None
    assert describe(pool) == (
        "pool default: █████··············· 1 of 4 idle, 2 starting, 3 failed"
        " (TemplateFailing: 3 failed)"
    )
    assert describe(a_pool(min_idle=0)).startswith("pool default: ████████████████████ 0 of 0 idle")
