"""`python -m controller` runs the controller."""

import sys

from controller.cli.main import main

sys.exit(main(["controller", *sys.argv[1:]]))
