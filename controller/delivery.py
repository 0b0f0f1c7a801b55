"""Carries the hand-over of bound claims: asks `handover.decide`, does it, asks again. Many at a time."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from api.batching import Batcher
from api.conditions import condition
from api.records import Outcome, Records, RecordsError, Unavailable
from api.types import AgentClaim, AgentInstance, ClaimPhase
from controller.agents import Agents, Heard, Letter, Reply
from controller.handover import (
    Ask,
    Rules,
    Talk,
    Tell,
    Wait,
    Write,
    decide,
    is_fresh,
    time_to_tell_s,
)
from controller.storetime import StoreTime

log = logging.getLogger(__name__)

# A write whose answer was lost is made again, if it still fits: what the agent said must not be forgotten.
WRITE_AGAIN_S = 1.0
# A lease that ran out is ours again, where nobody else took it; else the end of our term ends all calls.
MAY_ACT_AGAIN_S = 0.5
# No pass carries a view of the records for longer: what had ended when it looked has not begun anew.
VIEWS_LAST_S = 30.0
Written = tuple[
    float, AgentClaim | None
]  # Since when it may have been on record; None: did not fit.
NOT_HEARD = (Heard.UNREACHED, Heard.WRONG_KEY)  # Many in a row: our network, or our secret.


@dataclass(frozen=True, slots=True)
class Promise:
    """A claim and its instance, both sides agreeing on record."""

    claim: AgentClaim
    instance: AgentInstance
    deadline: datetime


class Deliveries:
    """One task for each promise. `calls_at_once` bounds the open calls, not the tasks."""

    def __init__(
        self,
        records: Records,
        agents: Agents,
        *,
        keys: Callable[[AgentInstance], tuple[str, ...]],
        rules: Rules,
        time: StoreTime,
        clock: Callable[[], float],
        may_act: Callable[[], bool],
        calls_at_once: int,
    ) -> None:
        self._agents = agents
        self._keys = keys
        self._rules = rules
        self._time = time
        self._clock = clock
        self._may_act = may_act
        self._calls = asyncio.Semaphore(calls_at_once)
        self._records = records
        self._writes: Batcher[Outcome, Written] = Batcher(self._settle, records.together)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}  # By claim and instance.
        self._ended_at: dict[tuple[str, str], float] = {}  # The latest, oldest first.
        self.unreached = 0  # Agents in a row, of whomever, that no call got through to.
        self.ended: Counter[str] = Counter()  # By the phase that a hand-over came to.

    def start(self, promise: Promise, *, bound_at: float | None = None) -> None:
        """See to it that somebody carries this promise; nothing when somebody does already.

        `bound_at`: when this process began to write the bind. Without it a call may still be at work.
        """
        uid, attempt = promise.claim.metadata.uid, promise.claim.status.attempt
        key = (uid, promise.instance.metadata.uid)
        if key in self._tasks or attempt is None or self._has_just_ended(key):
            return
        talk = Talk(attempt.by, self._clock(), silent=True)
        if bound_at is not None and attempt.by == self._rules.me:
            talk = Talk(attempt.by, bound_at, bound_here=True)
        task = asyncio.create_task(self._carry(promise, talk), name=f"claim {uid}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def _has_just_ended(self, key: tuple[str, str]) -> bool:
        """Whether who calls for it may have looked before it ended: a full pass takes its time."""
        now = self._clock()
        while self._ended_at and now - next(iter(self._ended_at.values())) > VIEWS_LAST_S:
            del self._ended_at[next(iter(self._ended_at))]
        return key in self._ended_at

    def __len__(self) -> int:
        return len(self._tasks)

    async def stop(self) -> None:
        """Cut the calls: whoever leads next asks the agents what became of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, promise: Promise, talk: Talk) -> None:
        try:
            await self._until_ended(promise, talk)
        except RecordsError as error:  # What is on record now, the next look will tell.
            extra = {"claim": promise.claim.metadata.name}
            log.warning("hand-over interrupted: %s", type(error).__name__, extra=extra)

    async def _until_ended(self, promise: Promise, talk: Talk) -> None:
        claim, instance = promise.claim, promise.instance
        while True:
            if not self._may_act():
                await asyncio.sleep(MAY_ACT_AGAIN_S)
                continue
            now = self._time.now()
            match decide(claim, talk, promise.deadline, now, self._clock(), self._rules):
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case Ask():
                    talk = await self._ask(instance, talk)
                case Tell():
                    talk = await self._tell(claim, instance, talk)
                case Write() as step:
                    try:
                        began, written = await self._writes.put(
                            Outcome(claim, step.status, step.mark)
                        )
                    except Unavailable:
                        await asyncio.sleep(WRITE_AGAIN_S)
                        continue
                    if written is None or written.status.phase is not ClaimPhase.BOUND:
                        self._end(written, instance)
                        return
                    claim, talk = written, talk.taken(self._rules.me, began)

    async def _settle(self, outcomes: Sequence[Outcome]) -> list[Written]:
        """An attempt is as old as its own write, and not as its wait in line: where that takes longer than
        an attempt is fresh, whoever renews it would come too late for ever."""
        began = self._clock()
        return [(began, written) for written in await self._records.settle(outcomes)]

    async def _ask(self, instance: AgentInstance, talk: Talk) -> Talk:
        async with self._calls:
            status = await self._agents.status(instance.status.url or "", self._keys(instance))
        return talk.asked(status, self._clock())

    async def _tell(self, claim: AgentClaim, instance: AgentInstance, talk: Talk) -> Talk:
        spec = claim.spec
        letter = Letter(spec.agent_id, spec.instructions, spec.join_url)
        async with self._calls:
            mono = self._clock()
            if not self._may_act() or not is_fresh(talk, mono, self._rules):
                return talk  # We waited in line for too long: decide anew.
            try:
                async with asyncio.timeout(time_to_tell_s(talk, mono, self._rules)):
                    reply = await self._agents.provision(
                        instance.status.url or "", self._keys(instance), letter
                    )
            except TimeoutError:
                reply = Reply(Heard.SILENT, detail="no answer in time")
        extra = {"claim": claim.metadata.name, "instance": instance.metadata.name}
        # Where it is done, "claim is Ready" follows.
        level = logging.DEBUG if reply.heard is Heard.DONE else logging.INFO
        log.log(level, "told the agent: %s %s", reply.heard, reply.detail, extra=extra)
        self.unreached = self.unreached + 1 if reply.heard in NOT_HEARD else 0
        return talk.heard(reply, self._clock())

    def _end(self, written: AgentClaim | None, instance: AgentInstance) -> None:
        if written is not None:
            self._ended_at[written.metadata.uid, instance.metadata.uid] = self._clock()
            self.ended[written.status.phase] += 1
            extra = {"claim": written.metadata.name, "instance": instance.metadata.name}
            log.info("claim is %s%s", written.status.phase, reason_of(written), extra=extra)


def reason_of(claim: AgentClaim) -> str:
    """For the log: why the claim was let go, or failed."""
    kinds = {ClaimPhase.PENDING: "Bound", ClaimPhase.FAILED: "Ready"}
    said = condition(claim.status.conditions, kinds.get(claim.status.phase, ""))
    return f": {said.reason}" if said else ""
