"""Simulated worlds for tests: a clock that is moved by hand, and everything at once unless told otherwise."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.railway.simulator import deploys
from controller.railway.simulator.agent import Answer, Call
from controller.railway.simulator.evidence import Memory, Writer
from controller.railway.simulator.faults import Faults, Next, Plan
from controller.railway.simulator.front import Front, Sent
from controller.railway.simulator.habits import AT_ONCE, Habits, Pace
from controller.railway.simulator.house import AgentHouse
from controller.railway.simulator.ratelimit import Budget, Edge
from controller.railway.simulator.state import Environment, Instance, Service, Token, TokenKind
from controller.railway.simulator.world import World

START = 1_790_000_000.0
TOKENS: dict[TokenKind, str] = {"project": "tok-p", "workspace": "tok-w", "account": "tok-a"}
AGENT = {
    "POOL_MODE": "true",
    "POOL_API_KEY": "key",
    "POOL_AUTH_CHOICE": "apiKey",
    "ANTHROPIC_API_KEY": "sk",
    "POOL_INSTANCE_ID": "a1b2c3d4",
    "PORT": "8080",
}


@dataclass
class Clock:
    """Seconds since 1970, moved by hand."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Lab:
    """A world with all that speaks for it, nothing of it on sockets."""

    clock: Clock
    world: World
    environment: Environment
    memory: Memory
    writer: Writer
    house: AgentHouse
    front: Front
    answers: list[Sent] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, str]:
        return self.environment.project_id, self.environment.id

    def token(self, kind: TokenKind = "project") -> Token:
        return next(t for t in self.world.tokens.values() if t.kind == kind)

    def service(self, name: str = "a", **source: str) -> Service:
        """An image service with an agent's variables, unless `source` says another."""
        wanted = source or {"image": "agent:1"}
        return self.world.create_service(*self.place, name, wanted, AGENT)

    def instance(self, service: Service) -> Instance:
        return self.world.instances[(service.id, self.environment.id)]

    def status(self, service: Service) -> str | None:
        latest = deploys.latest(self.instance(service), self.clock.now)
        return latest[1] if latest else None

    def agent(self, **variables: str) -> str:
        """The host of an agent that is up."""
        made = self.world.create_service(
            *self.place,
            f"agent-{len(self.world.services)}",
            {"image": "agent:1"},
            AGENT | variables,
        )
        return self.world.create_domain(made.id, self.environment.id).host

    async def ask(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        kind: TokenKind = "account",
        headers: Mapping[str, str] | None = None,
        has_query: bool = True,
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of the answer to one GraphQL request."""
        raw = json.dumps({"query": query, "variables": variables or {}}).encode()
        sent = await self.front.answer(raw, headers or auth(kind), has_query)
        self.answers.append(sent)
        is_json = sent.content_type == "application/json"
        return sent.status, json.loads(sent.body) if is_json else sent.body.decode()

    async def call(self, host: str, path: str, key: str = "key", **told: Any) -> Answer:
        """GET without anything to tell, POST with it."""
        method = "POST" if told else "GET"
        body = json.dumps(told).encode()
        return await self.house.handle(host, Call(method, path, f"Bearer {key}", body))

    def effects(self, name: str) -> list[Mapping[str, Any]]:
        self.writer.commit()
        return [line for line in self.memory.journal if line["effect"] == name]

    def fault(self, name: str, count: int = 1, match: str | None = None) -> None:
        self.world.faults.plan.next.append(Next(name=name, count=count, match=match))


def auth(kind: TokenKind) -> dict[str, str]:
    if kind == "project":
        return {"Project-Access-Token": TOKENS[kind]}
    return {"Authorization": f"Bearer {TOKENS[kind]}"}


def a_lab(
    *,
    pace: Pace = AT_ONCE,
    seed: int = 1,
    per_hour: int = 10_000,
    per_s: int = 1000,
    faults: Plan | None = None,
    programs: bool = False,
    **habits: Any,
) -> Lab:
    clock = Clock()
    world = World(
        clock,
        random.Random(seed),
        habits=Habits(**habits),
        pace=pace,
        faults=Faults.of(faults),
        programs=programs,
    )
    environment = world.found(TOKENS)
    memory = Memory()
    writer = Writer(world, memory)
    writer.commit()
    memory.journal.clear()
    front = Front(world, writer, Budget(clock, per_hour, per_s), Edge(clock), clock.sleep)
    house = AgentHouse(world, writer, clock.sleep)
    return Lab(clock, world, environment, memory, writer, house, front)
