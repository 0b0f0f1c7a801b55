"""The door: a request becomes a claim on record, and what becomes of the claim becomes the answer.

Plain asyncio over the records port, without sockets. Without `Prefer` a claim is made with onEmpty Fail and
answered 200 or 503, never 202; with it, onEmpty Wait, and 202 when the time is over.
An Idempotency-Key names the claim. The claim on record keeps the onEmpty it was made with, whatever a later
request of its key prefers: a plain request waits with a claim that may wait and never withdraws it; one that
may wait, and meets the refusal of a claim that could not, makes it anew as one that can.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from api.answers import (
    NO_IDLE,
    NO_POOL,
    NO_VERDICT,
    OTHER_BODY,
    UNDER_WAY,
    UNREACHABLE,
    WITHDRAWN,
    Answer,
    Failure,
    Queued,
    Shown,
    ShownClaims,
    failed,
    none_idle,
    served,
    shown,
    try_again,
)
from api.batching import Batcher
from api.records import (
    AlreadyExists,
    Conflict,
    Invalid,
    NotFound,
    Records,
    RecordsError,
    Unavailable,
)
from api.types import (
    DEFAULT_POOL,
    AgentClaim,
    ClaimPhase,
    ClaimSpec,
    Key,
    LocalRef,
    Meta,
    OnEmpty,
    key_of,
    pool_key,
)
from api.waiters import Closing, Waiters, Waiting

# Between tries of a write that met somebody else's; a cache that lags is given some 3 s.
_AGAIN_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_ABANDON_AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_FINISH_S = 5.0  # At a stop, for withdrawals of clients that hung up.


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request waits (DESIGN.md section 7)."""

    verdict_s: float = 10.0  # A claim that may not wait is withdrawn when nobody decided by then.
    answer_s: float = 120.0


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What one POST asks, already validated. `wait_s`: from `Prefer`; None without it."""

    agent_id: str
    instructions: str = field(repr=False)
    join_url: str | None = field(default=None, repr=False)
    pool: str = DEFAULT_POOL
    key: str | None = field(default=None, repr=False)
    wait_s: float | None = None


class _OtherBody(Exception):
    """The key's claim on record asks for something else."""


class _NoVerdict(Exception):
    """Nobody decided in time; the claim was withdrawn."""


class Door:
    """Takes claims, shows them, releases them, in one namespace. `new_name` makes an unused claim name."""

    def __init__(
        self,
        records: Records,
        waiters: Waiters,
        *,
        new_name: Callable[[], str],
        namespace: str,
        patience: Patience = Patience(),
    ) -> None:
        self._records = records
        self._waiters = waiters
        self._new_name = new_name
        self._namespace = namespace
        self._patience = patience
        self._inserts: Batcher[AgentClaim, AgentClaim] = Batcher(
            records.create_claims, records.together
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    async def claim(self, ask: ClaimRequest) -> Answer:
        """The whole of one POST. Cancelled, its client hung up: a claim without key is withdrawn."""
        wanted = self._wanted(ask)
        put = self._task(self._put(wanted))
        try:
            with self._waiters.watch(key_of(wanted)) as waiting:
                return await self._answer(wanted, put, waiting, self._deadline(ask))
        except _OtherBody:
            return Answer(409, Failure(error=OTHER_BODY), wanted.metadata.name)
        except Invalid as refused:
            return Answer(400, Failure(error=str(refused)))
        except RecordsError:
            self._abandon(ask, wanted, put)
            return try_again(UNREACHABLE, wanted.metadata.name)
        except asyncio.CancelledError:
            self._abandon(ask, wanted, put)
            raise

    async def read(self, name: str, wait_s: float = 0.0) -> Shown:
        """A claim now, or once it ended, at most so long from now. Raises NotFound, Unavailable."""
        key = Key(self._namespace, name)
        with self._waiters.watch(key) as waiting:
            claim = await self._records.claim(key)
            with suppress(TimeoutError, Closing):
                async with asyncio.timeout(wait_s):
                    await waiting.ended(claim)
        if wait_s and not claim.ended:
            claim = await self._records.claim(key)
        return shown(claim, await self._position(claim))

    async def newest(self) -> ShownClaims:
        """The newest claims. Raises Unavailable."""
        claims = await self._records.list_claims(self._namespace)
        return ShownClaims(claims=[shown(claim) for claim in claims])

    async def release(self, name: str) -> None:
        """Raises NotFound, Unavailable."""
        await self._records.delete_claim(await self._records.claim(Key(self._namespace, name)))

    async def close(self) -> None:
        """Whoever waits is answered now; withdrawals under way get a few seconds more."""
        self._waiters.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FINISH_S)

    # ---------------------------------------------------------------- one claim

    def _wanted(self, ask: ClaimRequest) -> AgentClaim:
        name = self._new_name() if ask.key is None else name_of(self._namespace, ask.key)
        spec = ClaimSpec(
            pool_ref=LocalRef(name=ask.pool),
            agent_id=ask.agent_id,
            instructions=ask.instructions,
            join_url=ask.join_url,
            on_empty=OnEmpty.FAIL if ask.wait_s is None else OnEmpty.WAIT,
        )
        return AgentClaim(metadata=Meta(name=name, namespace=self._namespace), spec=spec)

    def _deadline(self, ask: ClaimRequest) -> float:
        wait_s = self._patience.answer_s if ask.wait_s is None else ask.wait_s
        return asyncio.get_running_loop().time() + wait_s

    async def _answer(
        self,
        wanted: AgentClaim,
        put: "asyncio.Task[AgentClaim]",
        waiting: Waiting,
        deadline: float,
    ) -> Answer:
        """Follow the claim of this name to its end, or to the end of the request's patience."""
        while True:
            claim = await asyncio.shield(put)
            try:
                ended = await self._followed(claim, wanted.spec.on_empty, waiting, deadline)
            except _NoVerdict:
                return await self._unheard(wanted)
            except (TimeoutError, Closing):
                return await self._not_yet(claim, wanted.spec.on_empty)
            if ended is not None and not none_idle(ended):
                return served(ended) if ended.status.phase is ClaimPhase.READY else failed(ended)
            if ended is not None:
                await self._take_back(ended)
            if claim.spec.on_empty is wanted.spec.on_empty:
                return try_again(WITHDRAWN if ended is None else NO_IDLE, wanted.metadata.name)
            put = self._task(self._put(wanted))

    async def _followed(
        self, claim: AgentClaim, on_empty: OnEmpty, waiting: Waiting, deadline: float
    ) -> AgentClaim | None:
        """The claim's end; None when it is gone. Raises TimeoutError at the deadline, _NoVerdict, Closing."""
        if claim.spec.on_empty is OnEmpty.FAIL and on_empty is OnEmpty.FAIL:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.verdict_s):
                    return await waiting.ended(claim)
            if await self._withdraw(claim):
                raise _NoVerdict
        async with asyncio.timeout_at(deadline):
            return await waiting.ended(claim)

    async def _unheard(self, wanted: AgentClaim) -> Answer:
        """Withdrawn without a verdict: perhaps nobody is there to give one, perhaps there is no pool."""
        try:
            await self._records.pool(pool_key(wanted))
        except NotFound:
            return Answer(404, Failure(error=NO_POOL), wanted.metadata.name)
        return try_again(NO_VERDICT, wanted.metadata.name)

    async def _not_yet(self, claim: AgentClaim, on_empty: OnEmpty) -> Answer:
        name = claim.metadata.name
        if on_empty is OnEmpty.FAIL:
            return try_again(UNDER_WAY, name, located=True)
        with suppress(NotFound):
            claim = await self._records.claim(key_of(claim))
        position = await self._position(claim)
        body = Queued(claim=name, phase=claim.status.phase, position=position)
        return Answer(202, body, name, located=True)

    async def _position(self, claim: AgentClaim) -> int | None:
        return None if claim.ended else await self._records.queue_position(claim)

    # ---------------------------------------------------------------- its record

    async def _put(self, wanted: AgentClaim) -> AgentClaim:
        """The claim on record: made now, or earlier for the same key and wish. Raises _OtherBody."""
        for pause_s in _AGAIN_S:
            try:
                return await self._inserts.put(wanted)
            except AlreadyExists:
                there = await self._found(key_of(wanted))
            if there is not None and _wish(there) != _wish(wanted):
                raise _OtherBody
            if there is not None and not none_idle(there):
                return there
            if there is not None:
                await self._take_back(there)
            await asyncio.sleep(pause_s)
        raise Unavailable("the claim is taken and given back too often to be read")

    async def _found(self, key: Key) -> AgentClaim | None:
        try:
            return await self._records.claim(key)
        except NotFound:
            return None

    async def _take_back(self, refused: AgentClaim) -> None:
        """Delete a refusal, so that its key may try again; somebody else may have done so."""
        with suppress(NotFound, Conflict):
            await self._records.delete_claim(refused, unchanged=True)

    async def _withdraw(self, claim: AgentClaim) -> bool:
        """Delete it while it is Pending. False: it was promised an agent, or it ended."""
        uid = claim.metadata.uid
        for pause_s in _AGAIN_S:
            if claim.status.phase is not ClaimPhase.PENDING:
                return False
            try:
                await self._records.delete_claim(claim, unchanged=True)
                return True
            except NotFound:
                return True
            except Conflict:
                await asyncio.sleep(pause_s)
            found = await self._found(key_of(claim))
            if found is None or found.metadata.uid != uid:
                return True
            claim = found
        return False

    # ---------------------------------------------------------------- clients that hung up

    def _abandon(
        self, ask: ClaimRequest, wanted: AgentClaim, put: "asyncio.Task[AgentClaim]"
    ) -> None:
        """Nobody will hear of this claim: withdraw it, unless its key can ask for it again."""
        if ask.key is None:
            self._task(self._withdraw_abandoned(wanted, put))

    async def _withdraw_abandoned(
        self, wanted: AgentClaim, put: "asyncio.Task[AgentClaim]"
    ) -> None:
        await asyncio.wait([put])  # The insert goes on without its client.
        for pause_s in _ABANDON_AGAIN_S:
            with suppress(Unavailable):
                claim = await self._found(key_of(wanted))
                if claim is not None:
                    await self._withdraw(claim)
                return
            await asyncio.sleep(pause_s)

    def _task(self, work: Coroutine[Any, Any, AgentClaim | None]) -> "asyncio.Task[Any]":
        """A task that outlives the request, kept from the garbage collector."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Somebody who waited has it; nobody who hung up wants it.


def name_of(namespace: str, key: str) -> str:
    """The claim name of an Idempotency-Key: the same wherever and whenever it is asked."""
    return "c-" + hashlib.sha256(f"{namespace}\0{key}".encode()).hexdigest()[:40]


def _wish(claim: AgentClaim) -> tuple[str, str, str | None, str]:
    """What a key promises to mean again."""
    spec = claim.spec
    return spec.agent_id, spec.instructions, spec.join_url, spec.pool_ref.name
