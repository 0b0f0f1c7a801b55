"""`python -m controller.cli`: the command `agent-pool` without being installed."""

import sys

from controller.cli.main import main

sys.exit(main())
