"""The ports as one simulated process has them: the product's and the simulator's own, over a bad network.

Requests to Railway and to agents go their way in the world, whatever becomes of the process that sent them.
Records are asked in the process itself: what it does in two writes is half done when it dies in between.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar

import httpx

from api.records import RecordsError, Unavailable
from api.records.memory import LAG_MAX, MemoryRecords, Shape
from api.records.memory_store import MemoryStore
from api.records.memory_tables import Tables
from controller.agents import Agents, Heard, Letter, Reply, Status
from controller.railway import (
    Access,
    Allowance,
    Make,
    NoCapacity,
    NotReady,
    Observation,
    Railway,
    RateLimited,
    Refused,
    Unclear,
)
from controller.railway.simulator.front import Front, Sent
from tests.storm.processes import ACTOR
from tests.storm.weather import CALM, LATE_S, ON_THE_WAY_S, STATUS_LATE, Weather
from tests.storm.witness import Witness

T = TypeVar("T")
Work = Callable[[], Awaitable[T]]


class Network:
    """What all wires of one world share."""

    def __init__(self, weather: Weather, witness: Witness, rng: random.Random) -> None:
        self.weather, self.witness, self.rng = weather, witness, rng

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
    """Records that may not answer: before the write, after it, or the write comes late. `lag`: of watches
    while it storms."""

    def __init__(self, store: MemoryStore, shape: Shape, weather: Weather, lag: int) -> None:
        super().__init__(store, shape, pause=lambda op: weather.pause(op, may_refuse=True))
        self._weather, self._lag = weather, lag

    async def _look(self, op: str) -> Tables:
        self.lag = LAG_MAX if self._weather.rates is CALM else self._lag
        return await super()._look(op)

    async def _write(self, op: str, effect: Callable[[], T]) -> T:
        late_s = self._weather.late_s(op)
        if late_s is None:
            return await super()._write(op, effect)
        context = Context()
        context.run(ACTOR.set, f"{ACTOR.get()}, late")
        late_s += self._weather.very_late_s()
        asyncio.get_running_loop().call_later(late_s, _attempt, effect, context=context)
        await self._weather.while_late(op)
        raise Unavailable(f"no answer to {op}")


def _attempt(effect: Callable[[], Any]) -> None:
    try:
        effect()
    except RecordsError:
        return


class WiredRailway:
    """The `Railway` port of one process, all requests of which go through `_through`.

    `straight`: the port sends its requests through our network itself, as the real client does.
    """

    def __init__(self, there: Railway, network: Network, *, straight: bool) -> None:
        self._there, self._network, self._straight = there, network, straight

    @property
    def endpoint(self) -> str:
        return self._there.endpoint

    @property
    def allowance(self) -> Allowance:
        return self._there.allowance

    async def _through(self, what: str, target: str, work: Work[T]) -> T:
        """One request, and what its sender learnt of it."""
        witness = self._network.witness
        witness.requested(what, target, "sent")
        outcome = "lost"
        try:
            answer = await (work() if self._straight else self._sent(what, target, work))
            outcome = "done"
            return answer
        except (RateLimited, NotReady, NoCapacity, Refused):
            outcome = "refused"
            raise
        finally:
            witness.requested(what, target, outcome)

    async def _sent(self, what: str, target: str, work: Work[T]) -> T:
        """A look is answered or not; a write that is given up may come late."""
        network = self._network
        late_s = network.weather.late_s(what) if target else None
        await network.weather.pause(what)
        if late_s is not None:
            network.send(work, late_s)
            raise Unclear(f"no answer to {what}")
        answer: T = await network.answer(network.send(work))
        await network.weather.pause(what)
        return answer

    async def probe(self) -> Access:
        return await self._through("probe", "", self._there.probe)

    async def observe(self) -> Observation:
        return await self._through("look", "", self._there.observe)

    async def owner_of(self, service_id: str) -> str | None:
        return await self._through("owner of", "", lambda: self._there.owner_of(service_id))

    async def create_empty(self, name: str) -> str:
        return await self._through("create", name, lambda: self._there.create_empty(name))

    async def create_whole(self, make: Make) -> str:
        return await self._through("create", make.name, lambda: self._there.create_whole(make))

    async def create_domain(self, service_id: str) -> str:
        return await self._through(
            "domain", service_id, lambda: self._there.create_domain(service_id)
        )

    async def patch(self, service_id: str, make: Make) -> None:
        await self._through("patch", service_id, lambda: self._there.patch(service_id, make))

    async def update_settings(self, service_id: str, make: Make) -> None:
        await self._through(
            "settings", service_id, lambda: self._there.update_settings(service_id, make)
        )

    async def deploy(self, service_id: str) -> None:
        await self._through("deploy", service_id, lambda: self._there.deploy(service_id))

    async def auto_deploy_off(self, service_id: str) -> None:
        await self._through(
            "auto-deploy off", service_id, lambda: self._there.auto_deploy_off(service_id)
        )

    async def rename(self, service_id: str, name: str) -> None:
        await self._through("rename", service_id, lambda: self._there.rename(service_id, name))

    async def delete(self, service_id: str) -> None:
        await self._through("delete", service_id, lambda: self._there.delete(service_id))

    async def close(self) -> None:
        pass


class WiredHttp(httpx.AsyncBaseTransport):
    """The way of the real client's requests to the simulator's real front, over no socket."""

    def __init__(self, front: Front, network: Network) -> None:
        self._front, self._network = front, network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raw, weather = await request.aread(), self._network.weather

        async def arrive() -> Sent:
            return await self._front.answer(raw, request.headers, bool(request.url.query))

        late_s = weather.late_s("request")
        await weather.pause("request")
        if late_s is not None:
            self._network.send(arrive, late_s)
            raise httpx.ReadTimeout("no answer")
        sent: Sent = await self._network.answer(self._network.send(arrive))
        await weather.pause("request")
        headers = {**sent.headers, "Content-Type": sent.content_type}
        return httpx.Response(sent.status, stream=_Body(sent.body, weather), headers=headers)


class _Body(httpx.AsyncByteStream):
    """An answer's body, which comes a moment after its head."""

    def __init__(self, body: bytes, weather: Weather) -> None:
        self._body, self._weather = body, weather

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self._weather.pause("body")
        yield self._body

    async def aclose(self) -> None:
        await self._weather.pause("close")


class WiredAgents:
    """The `Agents` port of one process."""

    def __init__(self, there: Agents, network: Network) -> None:
        self._there, self._network = there, network

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        network, weather = self._network, self._network.weather
        await weather.pause("status")
        if weather.unlucky(weather.rates.refuse, "status is not reached"):
            return Status(reached=False, refused=network.rng.random() < 0.5)
        said: Status = await network.answer(network.send(lambda: self._there.status(url, keys)))
        await weather.pause("status")
        # What it says was true when it left.
        if weather.unlucky(STATUS_LATE * weather.rates.late, "status is late"):
            await asyncio.sleep(network.rng.uniform(*LATE_S))
        return said

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        """Sent at once: a process stopped between its look at the clock and its first byte for longer than
        its attempt lasts would tell after its time, and no clock of its own could keep it from that."""
        network, weather = self._network, self._network.weather
        if weather.unlucky(weather.rates.refuse, "provision is not reached"):
            return Reply(Heard.UNREACHED)
        network.witness.told(letter.instructions, url, over=False)

        async def arrive() -> Reply:
            try:
                return await self._there.provision(url, keys, letter)
            finally:
                network.witness.told(letter.instructions, url, over=True)

        on_the_way_s = min(weather.late_s("provision") or 0.0, ON_THE_WAY_S)
        reply: Reply = await network.answer(network.send(arrive, on_the_way_s))
        await weather.pause("provision")
        network.witness.replied(letter.instructions, url, str(reply.heard))
        return reply

    async def close(self) -> None:
        pass
