"""A bar for long runs: it lives on a terminal's last line; elsewhere a line stands for each tenth."""

import sys
import time

from controller.local.progress import Progress

WIDTH = 30


class Bar:
    """`at(done, said)` as work is done; `end()` takes it away."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._began = time.monotonic()
        self._progress = Progress(sys.stderr)
        self._tenth = 0

    def at(self, done: int, said: str = "") -> None:
        gone_s = time.monotonic() - self._began
        left_s = gone_s * (self._total - done) / max(done, 1)
        filled = WIDTH * done // max(self._total, 1)
        bar = "#" * filled + "-" * (WIDTH - filled)
        time_left = f"{left_s:.0f} s left" if done < self._total else f"{gone_s:.0f} s"
        text = f"{self._name} [{bar}] {done:,} of {self._total:,}, {time_left}  {said}"
        if sys.stderr.isatty():
            self._progress.live(text)
        elif (tenth := 10 * done // max(self._total, 1)) > self._tenth:
            self._tenth = tenth
            self._progress.say(text.rstrip())

    def say(self, text: str) -> None:
        """A line that stays above the bar."""
        self._progress.say(text)

    def end(self) -> None:
        self._progress.clear()
