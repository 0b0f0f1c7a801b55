"""What a person sees while things start: one line a step; the last one lives on a terminal."""

import shutil
import sys
from typing import TextIO

_CLEAR = "\r\x1b[2K"


class Progress:
    """`say` writes a line that stays; `live` one that the next replaces, on a terminal.

    Elsewhere `live` writes only what differs from the last, so that a file holds no noise.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._living = ""

    def say(self, text: str) -> None:
        self._write(f"{self._clear()}{text}\n")
        self._living = ""

    def live(self, text: str) -> None:
        if self._terminal:
            text = text[
                : shutil.get_terminal_size().columns - 1
            ]  # A longer one could not be replaced.
        if text == self._living:
            return
        self._write(f"{self._clear()}{text}" if self._terminal else f"{text}\n")
        self._living = text

    def clear(self) -> None:
        """Take the live line away."""
        self._write(self._clear())
        self._living = ""

    def _clear(self) -> str:
        return _CLEAR if self._terminal and self._living else ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
