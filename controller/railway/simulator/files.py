"""The state folder: the world itself, the journal of what happened to it, and what agents heard.

| file | what |
|---|---|
| `world.jsonl` | a line for each change: the things it put and dropped, and its journal lines. The truth |
| `journal.jsonl` | what happened, without any variable's value; completed from `world.jsonl` at a start |
| `heard.jsonl` | what agents were told, each line before the agent acts on it |

A line is one write to a file opened for appending: a kill -9 leaves whole lines, and perhaps a last one cut
off, which counts as never written. A change is on file before anybody is answered.
"""

import fcntl
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.railway.simulator.evidence import HEARD_SHOWN
from controller.railway.simulator.holdings import Change

COMPACT_AT_BYTES = 32 * 1024 * 1024  # Of world.jsonl since it was last written as a whole.


class InUse(Exception):
    """Another simulator keeps its world in this folder."""


class StateFiles:
    """Evidence that outlives the process. Raises InUse at once when another one has the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._world = folder / "world.jsonl"
        self._lock = os.open(folder / "simulator.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InUse(f"another simulator runs in {folder}") from None
        self._journal = _Appended(folder / "journal.jsonl")
        self._heard = _Appended(folder / "heard.jsonl")
        self.heard: deque[Mapping[str, Any]] = deque(_lines(self._heard.path), HEARD_SHOWN)
        self.things: dict[str, dict[str, Any]] = {}  # What the world was, by key.
        self.n = 0  # Of the last change.
        self._catch_up()
        self._log = self._compacted()

    def write(self, change: Change, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write a change down, then its lines into the journal."""
        if change.put or change.drop:
            self.n += 1
            lines = [{"n": self.n, **line} for line in lines]
            self._fold(change.put, change.drop)
            entry = {"n": self.n, "put": change.put, "drop": change.drop, "journal": lines}
            self._log.append([entry])
        self._journal.append(lines)
        if self._log.size > COMPACT_AT_BYTES:
            self._log.close()
            self._log = self._compacted()

    def hear(self, line: Mapping[str, Any]) -> None:
        self._heard.append([line])
        self.heard.append(line)

    def close(self) -> None:
        for appended in (self._journal, self._heard, self._log):
            appended.close()
        os.close(self._lock)

    def _fold(self, put: Mapping[str, dict[str, Any]], drop: Sequence[str]) -> None:
        self.things.update(put)
        for key in drop:
            self.things.pop(key, None)

    def _catch_up(self) -> None:
        """Read the world back, and complete the journal where a kill came between the two files."""
        journalled = [line["n"] for line in _lines(self._journal.path) if "n" in line]
        last = max(journalled, default=0)
        for entry in _lines(self._world):
            self._fold(entry["put"], entry["drop"])
            self.n = entry["n"]
            if self.n >= last:
                there = journalled.count(last) if self.n == last else 0
                self._journal.append(entry["journal"][there:])

    def _compacted(self) -> "_Appended":
        """Write the world as one line into a new file, in place of the old one."""
        fresh = _Appended(self._world.with_suffix(".new"), empty=True)
        fresh.append([{"n": self.n, "put": self.things, "drop": [], "journal": []}])
        os.replace(fresh.path, self._world)
        fresh.size = 0  # Counts what has come since.
        return fresh


class _Appended:
    """A file of JSON lines, open for appending, readable by its owner alone."""

    def __init__(self, path: Path, *, empty: bool = False) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if empty else 0)
        self._file = os.open(path, flags, 0o600)
        whole = path.read_bytes()
        self.size = whole.rfind(b"\n") + 1
        if self.size < len(whole):
            os.ftruncate(self._file, self.size)

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        left = memoryview(text.encode())
        self.size += len(left)
        while left:
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        os.close(self._file)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a last one without its end is none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)
