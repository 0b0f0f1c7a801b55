"""The rows of a bench: what was measured, beside floor and aim, as a table and as `build/bench.json`."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

SCHEMA = 1
ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "build" / "bench.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `values`: one for each repetition; the median stands for them. `aim`: at most that much of
    what costs, at least that much of what is gained; `of_floor`: the aim is a share of the floor."""

    name: str
    metric: str
    values: Sequence[float]
    unit: str
    floor: float | None = None
    aim: float | None = None
    at_least: bool = False
    of_floor: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def wanted(self) -> float | None:
        """The aim in the row's own unit."""
        if self.of_floor is not None and self.floor is not None:
            return self.of_floor * self.floor
        return self.aim

    @property
    def met(self) -> bool | None:
        """None where nothing was aimed at."""
        if (wanted := self.wanted) is None:
            return None
        return self.value >= wanted if self.at_least else self.value <= wanted

    def wire(self) -> dict[str, Any]:
        """DESIGN.md section 10, and beside it all values and what one should know."""
        return {
            "name": self.name,
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "ratio": self.ratio,
            "aim": self.wanted,
            "met": self.met,
            "values": list(self.values),
            "note": self.note,
        }


HEAD = ("row", "metric", "median", "spread", "unit", "floor", "of floor", "aim", "met")


@dataclass(slots=True)
class Table:
    """Rows as they come."""

    rows: list[Row] = field(default_factory=list)

    def lines(self) -> list[str]:
        cells = [HEAD, *map(_cells, self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
        return [line.rstrip() for line in text]

    def write(self, file: Path = REPORT) -> None:
        said = {
            "schema": SCHEMA,
            "commit": _commit(),
            "machine": machine(),
            "rows": [row.wire() for row in self.rows],
        }
        file.parent.mkdir(exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(said, indent=1) + "\n")
        fresh.replace(file)


def _cells(row: Row) -> tuple[str, ...]:
    spread = (
        f"{number(min(row.values))} .. {number(max(row.values))}" if len(row.values) > 1 else ""
    )
    sign = "" if row.wanted is None else ">= " if row.at_least else "<= "
    met = "" if row.met is None else "yes" if row.met else "NO"
    return (
        row.name,
        row.metric,
        number(row.value),
        spread,
        row.unit,
        number(row.floor),
        number(row.ratio),
        f"{sign}{number(row.wanted)}",
        met,
    )


def number(value: float | None) -> str:
    """Three figures that count."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures were taken on: cores, memory, versions; no name of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memoryGiB": round(memory / 2**30, 1),
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or f"unknown ({sys.version_info.major})"
