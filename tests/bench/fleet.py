"""A fleet of agents that are warm already: their names, their addresses, and their rows on record."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.records import Installation
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    Condition,
    DeploymentRef,
    InstancePhase,
    RailwayRef,
)
from controller import lifecycle, naming, template
from controller.template import Recipe
from tests.builders import a_claim, an_instance

PROJECT, ENVIRONMENT = "bench-project", "bench-environment"
VARIABLES = {"INSTANCE_ANTHROPIC_API_KEY": "model-key"}
MADE = "2026-01-01T00:00:00.000Z"  # Long before any look: nothing of it may still be on its way.
INVITE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Member:
    """The `number`th agent of the fleet."""

    number: int

    @property
    def name(self) -> str:
        return f"b{self.number:07d}"

    @property
    def service_name(self) -> str:
        return naming.service_name("convos-agent-", self.name)

    @property
    def service_id(self) -> str:
        return f"service-{self.number}"

    @property
    def address(self) -> str:
        """One of its own for each: every 127.x.y.z is this machine."""
        n = self.number
        return f"127.{64 + (n >> 16)}.{(n >> 8) & 255}.{n & 255}"

    def url(self, port: int) -> str:
        return f"http://{self.address}:{port}"


def invite_of(address: str) -> str:
    start = f"https://dev.convos.org/v2?i={address}."
    return start + "x" * (INVITE_LENGTH - len(start))


def recipe_of(kept: Installation) -> Recipe:
    """As the controller of that installation has it, under the variables of a bench."""
    return Recipe(kept.owner_id, (kept.instance_secret,), VARIABLES)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Members as records, Idle, as if our controller had made them long ago."""

    recipe: Recipe
    endpoint: str
    agents_port: int

    def idle(self, pool: AgentPool, first: int, count: int) -> list[AgentInstance]:
        """Members `first` to `first + count - 1`, as they are to be on record."""
        made_of: dict[str, Any] = {
            "template_hash": template.template_hash(pool, self.recipe),
            "key_id": template.key_id(self.recipe.secret),
            "namespace": pool.metadata.namespace,
            "railway": RailwayRef(
                endpoint=self.endpoint, project_id=PROJECT, environment_id=ENVIRONMENT
            ),
            "phase": InstancePhase.IDLE,
            "ready_at": datetime.fromisoformat(MADE),
            "conditions": _conditions(),
        }
        return [self._idle(Member(n), made_of) for n in range(first, first + count)]

    def _idle(self, member: Member, made_of: dict[str, Any]) -> AgentInstance:
        return an_instance(
            name=member.name,
            service_name=member.service_name,
            service_id=member.service_id,
            url=member.url(self.agents_port),
            deployment=DeploymentRef(id=f"d-{member.name}", status="SUCCESS"),
            **made_of,
        )


def _conditions() -> tuple[Condition, ...]:
    """As the controller leaves them on an instance that became Idle."""
    now = datetime.now(UTC)
    status = an_instance(phase=InstancePhase.IDLE).status
    for kind in ("Created", "Exposed", "Deployed"):
        status = lifecycle.marked(status, kind, now)
    return lifecycle.marked(status, "Ready", now, "AgentReady").conditions


def ended_claim() -> AgentClaim:
    """A claim that found nobody idle."""
    refused = Condition(
        type="Ready",
        status="False",
        reason="NoneIdle",
        last_transition_time=datetime.now(UTC),
        observed_generation=1,
    )
    return a_claim(phase=ClaimPhase.FAILED, conditions=(refused,))
