"""The floor of a claim on Kubernetes: its four writes, straight at the API server, by one client.

Create the claim, Bound on it, the claimRef on an instance, Ready: the same objects, each patch over the
version that was read. No door, no agent, no watch, no second look; as the administrator, whom no rule of
fairness holds back.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp

from api.kubernetes.client import MERGE
from api.records import bound_status
from api.records.kubernetes_objects import PLURALS, object_path, path_of, written
from api.types import AgentClaim, AgentInstance, Attempt, ClaimPhase, ClaimRef
from tests.bench.fleet import invite_of
from tests.bench.load import INSTRUCTIONS
from tests.builders import a_claim

Json = dict[str, Any]


class BareClaims:
    """`claim(n)` gives the next of these instances away. `http`: of the administrator."""

    def __init__(self, http: aiohttp.ClientSession, free: Sequence[AgentInstance]) -> None:
        self._http = http
        self._free: Iterator[AgentInstance] = iter(free)

    async def claim(self, number: int) -> bool:
        try:
            await self._claim(number, next(self._free))
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True

    async def _claim(self, number: int, instance: AgentInstance) -> None:
        wish = a_claim(
            name=f"bare-{number}",
            namespace=instance.metadata.namespace,
            agent_id=f"agent-{number}",
            instructions=INSTRUCTIONS,
        )
        path = path_of(PLURALS[wish.kind], wish.metadata.namespace)
        made = await self._ask("POST", path, written(wish))
        attempt = Attempt(by="bare", at=datetime.now(UTC))
        bound = bound_status(wish, instance, attempt).wire()
        promised = await self._patch(wish, made, {"status": bound}, "status")
        ref = ClaimRef(name=wish.metadata.name, uid=made["metadata"]["uid"]).wire()
        await self._patch(instance, instance.wire(), {"spec": {"claimRef": ref}})
        said = {"inviteUrl": invite_of(instance.metadata.name), "conversationId": f"{number}"}
        ready = {"phase": ClaimPhase.READY, "joined": False, **said}
        await self._patch(wish, promised, {"status": ready}, "status")

    async def _patch(
        self, thing: AgentClaim | AgentInstance, read: Json, body: Json, part: str = ""
    ) -> Json:
        """Over the version that was read."""
        only = {"resourceVersion": read["metadata"]["resourceVersion"]}
        return await self._ask("PATCH", object_path(thing, part), {**body, "metadata": only})

    async def _ask(self, method: str, path: str, body: Json) -> Json:
        headers = {"Content-Type": MERGE} if method == "PATCH" else {}
        async with self._http.request(method, path, json=body, headers=headers) as answer:
            answer.raise_for_status()
            told: Json = await answer.json()
            return told
