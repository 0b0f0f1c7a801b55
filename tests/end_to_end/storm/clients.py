"""Customers: each asks by its key until it is answered, hangs up, changes sidecars, comes again, releases."""

import asyncio
import contextlib
import json
import random
import socket
import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import aiohttp

from tests.end_to_end.storm.recorder import Recorder
from tests.end_to_end.storm.stage import Stage
from tests.history.events import Answered, wish_of

FINAL = (200, 400, 409, 500)
PLAIN_TRIES = 4  # Without `Prefer` nobody waits in line: after so many refusals a client does.
SCRIPTS = ("tokyo-trip-planner", "東京の旅", "помощник", "chef")  # With and without a slug.


@dataclass(frozen=True, slots=True)
class Wish:
    """What one client wants, always the same."""

    actor: str
    key: str
    agent_id: str
    instructions: str
    join_url: str | None

    @property
    def wish(self) -> str:
        return wish_of(self.instructions)

    @property
    def body(self) -> dict[str, str]:
        said = {"agentId": self.agent_id, "instructions": self.instructions}
        return said | ({"joinUrl": self.join_url} if self.join_url else {})


class Clients:
    """`come(count, within_s)` returns when every one of them was answered."""

    def __init__(self, stage: Stage, recorder: Recorder, seed: int) -> None:
        self._stage, self._recorder = stage, recorder
        self._rng = random.Random(f"clients {seed}")
        self._sockets: WeakSet[socket.socket] = WeakSet()
        connector = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=self._new_socket)
        self._http = aiohttp.ClientSession(connector=connector)
        self._headers = {"Authorization": f"Bearer {stage.key}"}
        self.answered: set[str] = set()  # Keys.
        self.hung_up = 0

    async def close(self) -> None:
        await self._http.close()

    async def come(self, count: int, within_s: float) -> None:
        """In bursts and one by one."""
        delays = [self._rng.uniform(0, within_s) for _ in range(count // 2)]
        while len(delays) < count:
            burst_at = self._rng.uniform(0, within_s)
            size = min(self._rng.randint(5, 40), count - len(delays))
            delays += [burst_at + self._rng.random() / 5 for _ in range(size)]
        async with asyncio.TaskGroup() as group:
            for n, delay_s in enumerate(delays):
                group.create_task(self._customer(n, delay_s), name=f"customer-{n}")

    async def _customer(self, n: int, delay_s: float) -> None:
        rng = random.Random(f"{self._rng.random()} {n}")
        wish = Wish(
            actor=f"customer-{n}",
            key=f"key-{n}",
            agent_id=f"{rng.choice(SCRIPTS)} {n}" if rng.random() < 0.2 else "客",
            instructions=f"Serve wish {n}. {'x' * rng.choice((10, 10, 10, 2000))}",
            join_url="https://dev.convos.org/v2?i=group" if rng.random() < 0.1 else None,
        )
        await asyncio.sleep(delay_s)
        answer = await self._until_answered(wish, rng)
        self.answered.add(wish.key)
        if rng.random() < 0.15:
            await asyncio.sleep(rng.uniform(0, 5))
            await self._until_answered(wish, rng)
        if answer["status"] == 200 and rng.random() < 0.1:
            await asyncio.sleep(rng.uniform(0, 5))
            await self._release(wish, answer["claim"])

    async def _until_answered(self, wish: Wish, rng: random.Random) -> dict[str, Any]:
        """The first answer that ends it, however often it takes."""
        since = self._recorder.asked(wish.actor, wish.key, wish.wish)
        waits, tries = rng.random() < 0.7, 0
        while True:
            tries += 1
            prefer = rng.choice((5, 20, 60)) if waits or tries > PLAIN_TRIES else None
            status, answer = await self._post(wish, prefer, rng)
            if status in FINAL:
                self._recorder.answered(
                    Answered(
                        actor=wish.actor,
                        key=wish.key,
                        claim=answer.get("claim", ""),
                        wish=wish.wish,
                        since=since,
                        status=status,
                        instance=answer.get("instanceId"),
                        conversation=answer.get("conversationId"),
                    )
                )
                return {**answer, "status": status}
            await asyncio.sleep(rng.uniform(0.2, 2.0))

    async def _post(
        self, wish: Wish, prefer_s: int | None, rng: random.Random
    ) -> tuple[int, dict[str, Any]]:
        """One POST to either sidecar; 0: no answer, or this client hung up."""
        headers = {**self._headers, "Idempotency-Key": wish.key}
        if prefer_s is not None:
            headers["Prefer"] = f"wait={prefer_s}"
        patience_s = rng.choice((0.1, 0.5, 3.0, 30.0, 90.0, 90.0, 90.0))
        url = f"{rng.choice(self._stage.sidecars)}/api/pool/claim"
        query = (
            {"qr": "none"} if rng.random() < 0.9 else {}
        )  # A picture costs the most of an answer.
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(patience_s),
                self._http.post(url, params=query, json=wish.body, headers=headers) as response,
            ):
                text = await response.text()
                return response.status, dict(json.loads(text)) if text else {}
        except (aiohttp.ClientError, OSError, ValueError):
            if time.monotonic() - began >= patience_s:
                self.hung_up += 1
            return 0, {}

    async def _release(self, wish: Wish, claim: str) -> None:
        self._recorder.releases(wish.actor, claim)
        for _ in range(20):
            with contextlib.suppress(aiohttp.ClientError, OSError):
                url = f"{random.choice(self._stage.sidecars)}/api/pool/claims/{claim}"
                async with asyncio.timeout(10), self._http.delete(url, headers=self._headers) as r:
                    if r.status in (204, 404):
                        return
            await asyncio.sleep(1)

    # ---------------------------------------------------------------- their sockets

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        made = socket.socket(*address[:3])
        self._sockets.add(made)
        return made

    def cut(self, rng: random.Random) -> int:
        """Break some of the connections, whatever they are in the middle of; how many."""
        chosen = [one for one in self._sockets if one.fileno() >= 0 and rng.random() < 0.5]
        for one in chosen:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(chosen)
