"""`python -m controller.railway.simulator`: the simulator alone."""

import argparse
import asyncio
import logging
import sys

from controller.railway.simulator.command import add_arguments, config_from
from controller.railway.simulator.files import InUse
from controller.railway.simulator.server import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulator", description="A Railway of our own.")
    add_arguments(parser)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(run(config_from(parser.parse_args())))
    except (InUse, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
