"""The ports as one simulated process has them: the product's and the simulator's own, over a bad network.

Requests to Railway and to agents go their way in the world, whatever becomes of the process that sent them.
Records are asked in the process itself: what it does in two writes is half done when it dies in between.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import Context
from hashlib import sha256
from typing import Any, TypeVar

from api.records import RecordsError, Unavailable
from api.records.memory import MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from controller.agents import Agents, Heard, Letter, Reply, Status
from controller.railway import Access, Allowance, Make, Observation, Railway, Unclear
from tests.storm.facts import Facts
from tests.storm.processes import ACTOR
from tests.storm.weather import ON_THE_WAY_S, Weather

T = TypeVar("T")
Work = Callable[[], Awaitable[T]]


class Network:
    """What all wires of one world share."""

    def __init__(self, weather: Weather, facts: Facts, rng: random.Random) -> None:
        self.weather, self.facts, self.rng = weather, facts, rng

    def send(self, work: Work[T], after_s: float = 0.0) -> "asyncio.Task[tuple[Any, Any]]":
        """Let this happen in the world; its result and its error, one of them None."""
        context = Context()
        context.run(ACTOR.set, ACTOR.get())
        loop = asyncio.get_running_loop()
        return loop.create_task(_outcome(work, after_s), context=context)

    async def answer(self, sent: "asyncio.Task[tuple[Any, Any]]") -> Any:
        result, error = await asyncio.shield(sent)
        if error is not None:
            raise error
        return result


async def _outcome(work: Work[T], after_s: float) -> tuple[T | None, Exception | None]:
    await asyncio.sleep(after_s)
    try:
        return await work(), None
    except Exception as error:
        return None, error


class StormRecords(MemoryRecords):
    """Records that may not answer: before the write, after it, or the write comes late."""

    def __init__(self, store: MemoryStore, shape: Shape, weather: Weather) -> None:
        super().__init__(store, shape, pause=lambda op: weather.pause(op, may_refuse=True))
        self._weather = weather

    async def _write(self, op: str, effect: Callable[[], T]) -> T:
        late_s = self._weather.late_s(op)
        if late_s is None:
            return await super()._write(op, effect)
        context = Context()
        context.run(ACTOR.set, f"{ACTOR.get()}, late")
        late_s += self._weather.very_late_s()
        asyncio.get_running_loop().call_later(late_s, _attempt, effect, context=context)
        await self._weather.pause(op)
        raise Unavailable(f"no answer to {op}")


def _attempt(effect: Callable[[], Any]) -> None:
    try:
        effect()
    except RecordsError:
        return


class WiredRailway:
    """The `Railway` port of one process."""

    def __init__(self, there: Railway, network: Network) -> None:
        self._there, self._network = there, network

    @property
    def endpoint(self) -> str:
        return self._there.endpoint

    @property
    def allowance(self) -> Allowance:
        return self._there.allowance

    async def _read(self, op: str, work: Work[T]) -> T:
        network = self._network
        await network.weather.pause(op)
        answer: T = await network.answer(network.send(work))
        await network.weather.pause(op)
        return answer

    async def _write(self, op: str, work: Work[T]) -> T:
        late_s = self._network.weather.late_s()
        if late_s is None:
            return await self._read(op, work)
        self._network.send(work, late_s)
        await self._network.weather.pause(op)
        raise Unclear(f"no answer to {op}")

    async def probe(self) -> Access:
        return await self._read("probe", self._there.probe)

    async def observe(self) -> Observation:
        return await self._read("observe", self._there.observe)

    async def owner_of(self, service_id: str) -> str | None:
        return await self._read("owner of", lambda: self._there.owner_of(service_id))

    async def create_empty(self, name: str) -> str:
        return await self._write("create", lambda: self._there.create_empty(name))

    async def create_whole(self, make: Make) -> str:
        return await self._write("create", lambda: self._there.create_whole(make))

    async def create_domain(self, service_id: str) -> str:
        return await self._write("domain", lambda: self._there.create_domain(service_id))

    async def patch(self, service_id: str, make: Make) -> None:
        await self._write("patch", lambda: self._there.patch(service_id, make))

    async def update_settings(self, service_id: str, make: Make) -> None:
        await self._write("settings", lambda: self._there.update_settings(service_id, make))

    async def deploy(self, service_id: str) -> None:
        await self._write("deploy", lambda: self._there.deploy(service_id))

    async def auto_deploy_off(self, service_id: str) -> None:
        await self._write("auto-deploy off", lambda: self._there.auto_deploy_off(service_id))

    async def rename(self, service_id: str, name: str) -> None:
        await self._write("rename", lambda: self._there.rename(service_id, name))

    async def delete(self, service_id: str) -> None:
        await self._write("delete", lambda: self._there.delete(service_id))

    async def close(self) -> None:
        pass


class WiredAgents:
    """The `Agents` port of one process."""

    def __init__(self, there: Agents, network: Network) -> None:
        self._there, self._network = there, network

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        network = self._network
        await network.weather.pause("status")
        if network.rng.random() < network.weather.rates.refuse:
            return Status(reached=False, refused=network.rng.random() < 0.5)
        said: Status = await network.answer(network.send(lambda: self._there.status(url, keys)))
        await network.weather.pause("status")
        return said

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        """Sent at once: a process stopped between its look at the clock and its first byte for longer than
        its attempt lasts would tell after its time, and no clock of its own could keep it from that."""
        network = self._network
        if network.rng.random() < network.weather.rates.refuse:
            return Reply(Heard.UNREACHED)
        call = network.facts.told(sha256(letter.instructions.encode()).hexdigest(), url)

        async def arrive() -> Reply:
            network.facts.arrived(call)
            try:
                return await self._there.provision(url, keys, letter)
            finally:
                network.facts.hung_up(call)

        on_the_way_s = min(network.weather.late_s() or 0.0, ON_THE_WAY_S)
        reply: Reply = await network.answer(network.send(arrive, on_the_way_s))
        await network.weather.pause("provision")
        return reply

    async def close(self) -> None:
        pass
