"""All simulated agents behind the edge: which one a host reaches, what goes wrong, and what is on record.

Before an agent acts on what it is told there is a line in `heard.jsonl`. One line for a call that it turns
away; two for one that it takes in: when it hears (`answered` null), and with the answer that it decided on.
`reached`: when the call came to the edge, where it may have waited since.
`instructionsSha256` stands only in lines of calls that were taken in. `/pool/status` calls leave no line.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from controller.railway.simulator import deploys
from controller.railway.simulator.agent import (
    FAILS,
    NONSENSE,
    WAITS,
    Agent,
    Answer,
    Call,
    Work,
    finish,
    page,
    work,
)
from controller.railway.simulator.evidence import Writer
from controller.railway.simulator.faults import HEARD
from controller.railway.simulator.habits import Span
from controller.railway.simulator.holdings import hashed
from controller.railway.simulator.state import Deployment, Domain, Instance, Service, iso
from controller.railway.simulator.world import World

SLOW_S: Span = (5.0, 30.0)
NOBODY = "Application not found"
SILENT = "Application failed to respond"
UNDONE = {"agent500": FAILS, "agentWaiting": WAITS}
Sleep = Callable[[float], Awaitable[None]]


class Cut(Exception):
    """The connection ends without an answer."""


class House(Protocol):
    """Who answers for a host. Raises Cut."""

    async def handle(self, host: str, call: Call) -> Answer: ...


def edge(code: int, message: str, rng: random.Random) -> Answer:
    """What Railway's edge says by itself."""
    request_id = rng.randbytes(8).hex()
    return Answer(
        code, {"status": "error", "code": code, "message": message, "request_id": request_id}
    )


@dataclass(frozen=True, slots=True)
class Reached:
    """What a host leads to. `at`: when that was asked, in seconds of the world's clock."""

    at: float
    service: Service
    instance: Instance
    domain: Domain
    deployment: Deployment
    status: str

    def names(self, call: Call) -> tuple[str, ...]:
        """What a fault's `match` may name."""
        return self.service.id, self.service.name, call.path


def reached(world: World, host: str) -> Reached | None:
    """The deployment that the edge sends this host's traffic to, if any ever came up."""
    found = world.at(host)
    served = deploys.serving(found[1], world.now) if found else None
    return Reached(world.now, *found, *served) if found and served else None


class AgentHouse:
    """Answers for every simulated agent."""

    def __init__(self, world: World, writer: Writer, sleep: Sleep = asyncio.sleep) -> None:
        self._world, self._writer, self.sleep = world, writer, sleep
        self._working: set[asyncio.Task[Answer]] = set()

    async def handle(self, host: str, call: Call) -> Answer:
        """Raises Cut where the caller gets no answer."""
        to = reached(self._world, host)
        if to is None:
            return edge(404, NOBODY, self._world.rng)
        fine = self._reaches(to)
        if fine and call.path.startswith("/pool/"):
            fine = await self._behaves(to, call)
        return await self._answer(to, call) if fine else edge(502, SILENT, self._world.rng)

    def _reaches(self, to: Reached) -> bool:
        """Not when crashed, stopped, asleep (traffic wakes it), still booting, or on another port."""
        process, port = to.deployment.process, to.deployment.variables.get("PORT")
        if to.status == "SLEEPING":
            self._world.wake(to.instance, to.deployment)
            self._writer.commit(op="wake")
        up = process.up_at is not None and process.up_at <= self._world.now
        here = to.domain.target_port is None or port in (None, str(to.domain.target_port))
        return to.status == "SUCCESS" and up and here and not process.stopped

    async def _behaves(self, to: Reached, call: Call) -> bool:
        def draw(name: str) -> bool:
            return self._world.faults.draw(name, to.names(call))

        if draw("agentUsed"):
            self.use(to)
        if draw("agentRestarted"):
            self._world.restart(to.instance, to.deployment)
            self._writer.commit(op="restart")
            return False
        if draw("agentDead"):
            return False
        if draw("agentSlow"):
            await self.sleep(self._world.faults.rng.uniform(*SLOW_S))
        return True

    async def _answer(self, to: Reached, call: Call) -> Answer:
        agent = Agent(to.deployment.variables, to.deployment.process, self._world.now)
        if (answer := agent.keyless(call)) is not None:
            return answer
        if (call.method, call.path) == ("GET", "/pool/status"):
            return agent.denied(call) or agent.status()
        if (call.method, call.path) != ("POST", "/pool/provision"):
            return page(404, f"Cannot {call.method} {call.path}")
        heard = agent.denied(call) or agent.hear(call.body, self._world.rng)
        if isinstance(heard, Answer):
            self._record(to, call.key, None, heard)
            return heard
        # A task of its own: the agent goes on when the caller is gone.
        task = asyncio.create_task(self._work(to, call, heard))
        self._working.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Answer]") -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # Nobody may be waiting for it any more.

    async def _work(self, to: Reached, call: Call, heard: Work) -> Answer:
        """Between hearing and answering it awaits; what it remembers is set after that."""
        process = to.deployment.process
        self._record(to, call.key, heard)
        fault = self._fault(to.names(call), heard)
        await self.sleep(self._world.rng.uniform(*self._world.pace.answer_s))
        there = to.instance.deleted_at is None
        if fault == "agentDies" and there:
            self._world.restart(to.instance, to.deployment)
            self._writer.commit(op="died")
        if to.deployment.process is not process or not there:
            raise Cut  # The program that heard it is no more.
        if fault in UNDONE:
            self._record(to, call.key, heard, UNDONE[fault])
            return UNDONE[fault]
        answer = self._finish(to, call.key, heard)
        if fault == "answerLost":
            raise Cut
        return NONSENSE if fault == "agentGarbage" else answer

    def _fault(self, targets: tuple[str, ...], heard: Work) -> str | None:
        names = [name for name in HEARD if name != "agentWaiting" or heard.join_url]
        return self._world.faults.first(names, targets)

    def use(self, to: Reached, instructions: str = "A stranger's.") -> None:
        """Somebody unknown, who has the key, provisions it; a provisioned one turns strangers away too."""
        if to.deployment.process.provisioned:
            return
        key = to.deployment.variables.get("POOL_API_KEY", "")
        told = work("Stranger", instructions, None, self._world.rng)
        self._record(to, key, told)
        self._finish(to, key, told)

    def _finish(self, to: Reached, key: str | None, heard: Work) -> Answer:
        answer = finish(to.deployment.process, heard)
        self._record(to, key, heard, answer)
        self._world.touch(to.instance)
        self._writer.commit(op="provision")
        return answer

    def _record(
        self, to: Reached, key: str | None, heard: Work | None, answer: Answer | None = None
    ) -> None:
        line = {
            "at": iso(self._world.now),
            "service": to.service.id,
            "instanceId": to.deployment.variables.get("POOL_INSTANCE_ID"),
            "path": "/pool/provision",
            "keyHash": hashed(key) if key else None,
            "name": heard.name if heard else None,
            "instructionsSha256": heard.instructions_sha256 if heard else None,
            "answered": answer.code if answer else None,
            "conversationId": answer.said.get("conversationId") if answer else None,
            "reached": iso(to.at),
        }
        self._writer.evidence.hear(line)
