"""The command line of the simulator: its options, and what they mean."""

import argparse
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

from controller.railway.simulator.habits import PACES, Habits
from controller.railway.simulator.ratelimit import ResetFormat
from controller.railway.simulator.server import AGENT_PORT, PORT, TOKEN_KINDS, SimulatorConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the simulator's options to a parser; read them with `config_from`."""
    add = parser.add_argument
    add("--state", type=Path, default=Path(".state"), metavar="DIR", help="where its world is kept")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=PORT, help="its GraphQL (default: %(default)s; 0: any)")
    add(
        "--agent-port",
        type=int,
        default=AGENT_PORT,
        help="port of every agent, each at a 127.x.y.z of its own (Linux; default: %(default)s)",
    )
    add("--seed", type=int, help="same ids and times again; by default they differ each time")
    add(
        "--token",
        choices=TOKEN_KINDS,
        default="project",
        help="kind of the token that it tells (default: %(default)s)",
    )
    add(
        "--pace",
        choices=sorted(PACES),
        default="fast",
        help="how long builds, boots and answers take (default: %(default)s)",
    )
    add("--requests-per-hour", type=int, default=10_000, metavar="N", help="(default: %(default)s)")
    add("--requests-per-second", type=int, default=50, metavar="N", help="(default: %(default)s)")
    add(
        "--rate-limit-reset",
        choices=get_args(ResetFormat),
        default="unix",
        help="form of X-RateLimit-Reset (default: %(default)s)",
    )
    add(
        "--habit",
        action="append",
        default=[],
        type=habit,
        metavar="NAME=VALUE",
        help=f"a disputed habit of Railway's: {', '.join(f.name for f in fields(Habits))}",
    )
    add(
        "--agent-command",
        type=shlex.split,
        default=[],
        metavar="CMD",
        help="run this program for each deployed service; it must listen on PORT",
    )


def config_from(args: argparse.Namespace) -> SimulatorConfig:
    """What `add_arguments` read."""
    return SimulatorConfig(
        state=args.state,
        host=args.host,
        port=args.port,
        agent_port=args.agent_port,
        seed=args.seed,
        token_kind=args.token,
        habits=replace(Habits(), **dict(args.habit)),
        pace=PACES[args.pace],
        requests_per_hour=args.requests_per_hour,
        requests_per_s=args.requests_per_second,
        reset_format=args.rate_limit_reset,
        agent_command=tuple(args.agent_command),
    )


def habit(text: str) -> tuple[str, bool | int | None]:
    """`project_token_may_patch=true`, `services_most=5`. Raises argparse's error, naming the mend."""
    name, _, value = text.partition("=")
    known = {field.name for field in fields(Habits)}
    words: dict[str, bool | None] = {"true": True, "false": False, "none": None}
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(sorted(known))}")
    if value.lower() in words:
        return name, words[value.lower()]
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{name} wants true, false, none or a number")
    return name, int(value)
