"""What the Railway port is asked to make, for tests of it."""

from api.types import RepoSource, Source
from controller.railway import Make
from controller.railway.simulator.inprocess import SimulatedRailway
from controller.railway.simulator.state import TokenKind
from tests.simulator.builders import AGENT, Lab

IMAGE = Source(image="agent:1")
REPO = Source(repo=RepoSource(name="o/r"))


def a_make(
    source: object = IMAGE,
    *,
    name: str = "a",
    branch: str | None = None,
    healthcheck_path: str | None = None,
    **variables: str,
) -> Make:
    assert isinstance(source, Source)
    if branch is not None:
        source = Source(repo=RepoSource(name="o/r", branch=branch))
    values = AGENT | {"POOL_OWNER": "o/default/p"} | variables
    return Make(name, source, values, healthcheck_path=healthcheck_path)


def railway_of(lab: Lab, kind: TokenKind = "project") -> SimulatedRailway:
    return SimulatedRailway(lab.world, lab.token(kind), lab.environment, lab.writer)
