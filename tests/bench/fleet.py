"""A fleet of agents that are warm already: their names, their addresses, and their rows on record."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from api.records import Installation
from api.records.columns import instance_status_columns
from api.types import AgentPool, InstancePhase
from controller import lifecycle, naming, template
from controller.template import Recipe
from tests.bench.sql import connected
from tests.builders import an_instance

PROJECT, ENVIRONMENT = "bench-project", "bench-environment"
VARIABLES = {"INSTANCE_ANTHROPIC_API_KEY": "model-key"}
MADE = "2026-01-01T00:00:00.000Z"  # Long before any look: nothing of it may still be on its way.
INVITE_LENGTH = 200

INSERT = """
INSERT INTO agent_instances (namespace, name, created_at, pool, service_name, template_hash, key_id,
    railway_endpoint, railway_project_id, railway_environment_id)
SELECT 'default', f.name, $2, 'default', f.service_name, $3, $4, $5, $6, $7
FROM jsonb_to_recordset($1) AS f (name text, service_name text, service_id text, url text)
"""
MAKE_IDLE = """
UPDATE agent_instances i SET phase = 'Idle', service_id = f.service_id, url = f.url, ready_at = $2,
    deployment_id = 'd-' || f.name, deployment_status = 'SUCCESS', conditions = $3
FROM jsonb_to_recordset($1) AS f (name text, service_name text, service_id text, url text)
WHERE i.namespace = 'default' AND i.name = f.name
"""
ENDED = """
INSERT INTO agent_claims (name, pool, agent_id, instructions, on_empty)
SELECT 'ended-' || g, 'default', 'agent-' || g, 'Long served.', 'Fail' FROM generate_series(1, $1::int) g
"""
END = """
UPDATE agent_claims SET phase = 'Failed', conditions = $1 WHERE phase = 'Pending'
"""


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


@dataclass(frozen=True, slots=True)
class Fleet:
    """Puts members on record, Idle, as if our controller had made them long ago."""

    dsn: str
    installation: Installation
    endpoint: str
    agents_port: int

    @property
    def recipe(self) -> Recipe:
        kept = self.installation
        return Recipe(kept.owner_id, (kept.instance_secret,), VARIABLES)

    async def add(self, pool: AgentPool, first: int, count: int) -> None:
        """Members `first` to `first + count - 1`."""
        members = [Member(n) for n in range(first, first + count)]
        rows = json.dumps(
            [
                {
                    "name": m.name,
                    "service_name": m.service_name,
                    "service_id": m.service_id,
                    "url": m.url(self.agents_port),
                }
                for m in members
            ]
        )
        made, recipe = datetime.fromisoformat(MADE), self.recipe
        hashed = template.template_hash(pool, recipe)
        place = (self.endpoint, PROJECT, ENVIRONMENT)
        async with connected(self.dsn) as db:
            await db.execute(INSERT, rows, made, hashed, template.key_id(recipe.secret), *place)
            await db.execute(MAKE_IDLE, rows, made, json.dumps(self._conditions()))
            await db.execute("ANALYZE agent_instances")

    def _conditions(self) -> list[dict[str, object]]:
        """As the controller leaves them on an instance that became Idle."""
        now = datetime.now(UTC)
        status = an_instance(phase=InstancePhase.IDLE).status
        for kind in ("Created", "Exposed", "Deployed"):
            status = lifecycle.marked(status, kind, now)
        status = lifecycle.marked(status, "Ready", now, "AgentReady")
        shown = an_instance().model_copy(update={"status": status})
        conditions: list[dict[str, object]] = instance_status_columns(shown)["conditions"]
        return conditions


async def add_ended_claims(dsn: str, count: int) -> None:
    """So many claims that ended, kept on record."""
    failed = {
        "type": "Ready",
        "status": "False",
        "reason": "NoneIdle",
        "message": "",
        "lastTransitionTime": datetime.now(UTC).isoformat(),
        "observedGeneration": 1,
    }
    async with connected(dsn) as db:
        await db.execute(ENDED, count, timeout=600)
        await db.execute(END, json.dumps([failed]), timeout=600)
        await db.execute("VACUUM ANALYZE agent_claims", timeout=600)
