"""`python -m tests.history FILE`: judge a recorded history by the laws; exit 0 where all hold, else 1."""

import argparse
import sys
from pathlib import Path

from tests.history import events
from tests.history.checker import LAWS, Checker
from tests.history.facts import Facts
from tests.history.laws import Broken
from tests.history.story import story


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    options.add_argument(
        "file", type=Path, help="a line of JSON for each event; - for standard input"
    )
    options.add_argument(
        "--handover",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="HANDOVER_TIMEOUT of the installation (default 60)",
    )
    options.add_argument("--quiet", action="store_true", help="no table, only what is broken")
    asked = options.parse_args()
    checker = Checker(Facts(asked.handover))
    seen: list[events.Line] = []
    try:
        with sys.stdin if str(asked.file) == "-" else asked.file.open() as file:
            for line in events.read(file):
                seen.append(line)
                checker.see(line)
    except Broken as broken:
        print(f"line {len(seen)}: {broken}\n\n{story(seen, broken.names)}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"{asked.file}: {error}", file=sys.stderr)
        return 2
    if not asked.quiet:
        report(checker, len(seen))
    return 0


def report(checker: Checker, lines: int) -> None:
    """How often each law was put to the test."""
    counts = ", ".join(f"{count} {name}" for name, count in checker.facts.counts.items())
    print(f"{lines} lines; {counts}; no law broken")
    for law in LAWS:
        print(f"{checker.met[law.__name__]:8} {law.__name__}")


if __name__ == "__main__":
    sys.exit(main())
