"""`python -m tests.bench`: what it costs and how fast it is here, beside floors of the same run."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping

from tests.bench import kubernetes_rows, records_rows, rest_rows, small_rows
from tests.bench.table import REPORT, Row, Table
from tests.progress import Bar

Rows = Callable[[int], AsyncIterator[Row]]
# In the order in which they run.
ALL: Mapping[str, Rows] = {
    "poisson45": rest_rows.poisson45,
    "poisson45-kubernetes": rest_rows.poisson45_kubernetes,
    "burst300": rest_rows.burst300,
    "burst300-kubernetes": rest_rows.burst300_kubernetes,
    "saturation": rest_rows.saturation,
    "saturation-kubernetes": rest_rows.saturation_kubernetes,
    "saturation_qr": rest_rows.saturation_qr,
    "seconds": rest_rows.seconds,
    "control": records_rows.control_plane,
    "writes": records_rows.writes,
    "writes-kubernetes": kubernetes_rows.writes,
    "qr": small_rows.qr,
    "railway": small_rows.railway,
    "scale": records_rows.scale,
    "scale-kubernetes": kubernetes_rows.scale,
    "rest": records_rows.rest,
    "rest-kubernetes": kubernetes_rows.rest,
    "start": small_rows.start,
}
REPEAT = 3


def main() -> int:
    """1 where an aim was missed and `--strict` asks for it; a bench is no test."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = ", ".join(ALL)
    options.add_argument("--only", nargs="+", choices=ALL, metavar="ROW", help=f"of {names}")
    options.add_argument("--repeat", type=int, default=REPEAT, help=f"each row, default {REPEAT}")
    options.add_argument("--strict", action="store_true", help="exit 1 where an aim is missed")
    asked = options.parse_args()
    if asked.repeat < 1:
        options.error("--repeat: at least 1")
    table = asyncio.run(measured(asked.only or list(ALL), asked.repeat))
    print("\n".join(table.lines()))
    print(f"written to {REPORT.name} in build/", file=sys.stderr)
    missed = [row for row in table.rows if row.met is False]
    return 1 if asked.strict and missed else 0


async def measured(names: list[str], repeat: int) -> Table:
    """Row by row; each is told as it comes, and written, so that a run that is cut off leaves what it has."""
    table, bar = Table(), Bar("bench", len(names))
    for done, name in enumerate(names):
        bar.at(done, name)
        began = time.monotonic()
        async for row in ALL[name](repeat):
            table.rows.append(row)
        table.write()
        bar.say(f"{name}: {time.monotonic() - began:.0f} s")
    bar.at(len(names))
    bar.end()
    return table


if __name__ == "__main__":
    sys.exit(main())
