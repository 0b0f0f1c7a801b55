"""What goes wrong, by a seed: at each hook go on, let others run, fail, be stopped, or die there."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from api.records import Bell, Unavailable
from controller.railway.simulator.faults import LOOKS, Faults, Plan
from tests.storm.fate import Fate
from tests.storm.processes import PROCESS, Process

# A stop outlasts the lease (5 s); now and then it outlasts an attempt as well.
STOP_S = (5.5, 9.0)
LONG_STOP_S = (20.0, 50.0)
HANDOVER_TIMEOUT_S = 15.0
LATE_S = (0.1, 8.0)  # Until what was given up takes effect after all.
STATUS_LATE = 5.0  # So many times as often as a write, what an agent says of itself comes late.
# The same, of some writes on record: somebody else has taken over by then.
VERY_LATE_S = (8.0, 30.0)
# Writes that are worth being late, and that often are the last that was heard of whoever sent them.
DECISIVE = ("bind", "bind claim", "bind instance", "settle", "intend", "intend count")
LAST_WORD = 0.4
# And worth being stopped right before: what is written then was decided under a lease long over.
FROZEN_TIMES = 15
FROZEN = frozenset(f"{op} before" for op in DECISIVE)
API_RATE = 0.06
LOOK_RATE = 0.15  # Looks are seldom: what spoils them is not.
ON_THE_WAY_S = 1.5  # Of a call to an agent, at most.
SLOW_BELL_S = 2.0  # Of a watch that lags behind.
NEW_OP_TIMES = 6
CLOCK_JUMP_S = (-4.0, 4.0)  # Of the store's clock, as when its machine is set right.

API_FAULTS = (
    "rateLimited",
    "unavailable",
    "badGateway",
    "drift",
    "timeoutBefore",
    "timeoutAfter",
    "problem",
    "nullData",
    "cutOff",
    "halfPage",
    "elsewhere",
    "omitted",
    "notFound",
    "readLag",
    "serviceDeleted",
)
DEPLOY_FAULTS = ("deployFailed", "deployCrashed", "deployStuck", "deploySleeping", "neverReady")
AGENT_FAULTS = (
    "agentDies",
    "answerLost",
    "agent500",
    "agentGarbage",
    "agentWaiting",
    "agentDead",
    "agentSlow",
    "agentUsed",
    "agentRestarted",
)


class Ended(asyncio.CancelledError):
    """The simulation is over: nothing goes out any more."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often, of one hook each."""

    crash: float
    stop: float
    refuse: float  # Unavailable, before or after the effect.
    late: float  # Given up, and it takes effect later.
    slow: float  # A second or more.
    meddle: float  # Somebody acts right there.
    bell_lost: float


CALM = Rates(0, 0, 0, 0, 0, 0, 0)


def rates(rng: random.Random) -> Rates:
    """Each seed has its own weather; in some, some things never happen."""

    def some(*choices: float) -> float:
        return rng.choice(choices)

    return Rates(
        crash=some(0, 0.002, 0.006),
        stop=some(0, 0.001, 0.003),
        refuse=some(0, 0.01, 0.03),
        late=some(0, 0.005, 0.02),
        slow=some(0, 0.01, 0.03),
        meddle=some(0, 0.01, 0.02),
        bell_lost=some(0, 0.05, 0.3),
    )


def plan(rng: random.Random) -> Plan:
    """Railway's misbehaviour and the agents', for the simulator."""
    chosen: dict[str, float] = {}
    for names, rate in ((API_FAULTS, API_RATE), (DEPLOY_FAULTS, 0.08), (AGENT_FAULTS, 0.06)):
        for name in names:
            if rng.random() < 0.4:
                chosen[name] = rng.uniform(0, rate)
    for name in LOOKS:
        if name in chosen:
            chosen[name] *= LOOK_RATE / API_RATE
    for name in ("serviceDeleted", "drift", "agentUsed"):  # Once is much.
        chosen[name] = chosen.get(name, 0.0) / 10
    return Plan(seed=rng.getrandbits(32), rates=chosen)


class FatedFaults(Faults):
    """The simulator's faults, each numbered with the other misfortunes of its storm."""

    fate: Fate
    again: tuple[str, int] = ("", 0)  # What happens so many times more: spoilt looks come in rows.

    def draw(self, name: str, targets: Collection[str] = ()) -> bool:
        if self.again[0] == name and self.again[1] > 0:
            self.again = (name, self.again[1] - 1)
            return True
        if not (super().draw(name, targets) and self.fate.befalls(name)):
            return False
        if name in LOOKS:
            self.again = (name, 2)
        return True

    def replace(self, plan: Plan) -> None:
        super().replace(plan)
        self.again = ("", 0)


class Weather:
    """The scheduler. `meddle()` is called where a user acts inside somebody's await."""

    def __init__(self, rng: random.Random, fate: Fate) -> None:
        self._rng = rng
        self.fate = fate
        self.rates = rates(rng)
        self.meddle: Callable[[], None] = lambda: None
        self.killing: Callable[[Process], None] = lambda _: None
        self.ended = False
        self.slow_watches = False
        self.crashes = 0
        self.stops = 0
        self.ends = 0
        self._ops: Counter[str] = Counter()

    def clear_up(self) -> None:
        self.rates = CALM

    async def pause(self, op: str, *, may_refuse: bool = False) -> None:
        """One hook. Raises Unavailable, or never returns."""
        if self.ended:
            raise Ended
        luck, rates = self._rng.random(), self.rates
        if rates is CALM:
            return
        seldom = NEW_OP_TIMES if self._ops[op] < 2 else 1  # Worth dying at.
        self._ops[op] += 1
        for rate, happens in (
            (rates.crash * seldom, self._crash),
            (rates.stop * (FROZEN_TIMES if op in FROZEN else 1), self._stop),
            (rates.slow, self._slow),
            (rates.meddle, self._meddle),
        ):
            if luck < rate:
                if self.fate.befalls(op):
                    await happens()
                break
            luck -= rate
        else:
            await self._yield(luck)
        if may_refuse and self.unlucky(rates.refuse, f"no answer to {op}"):
            raise Unavailable(f"no answer to {op}")

    def unlucky(self, rate: float, what: str) -> bool:
        """The dice, and fate."""
        return self._rng.random() < rate and self.fate.befalls(what)

    async def _yield(self, luck: float) -> None:
        """Others run: those who are ready, or all of some milliseconds."""
        await asyncio.sleep(0 if luck < 0.7 else luck / 20)

    async def _crash(self) -> None:
        process = PROCESS.get()
        if process is not None:
            self.kill(process)
            await asyncio.get_running_loop().create_future()

    async def _stop(self) -> None:
        process = PROCESS.get()
        if process is not None:
            self.halt(process)
        await asyncio.sleep(0)

    async def _slow(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.2, 3.0))

    async def _meddle(self) -> None:
        self.meddle()
        await asyncio.sleep(0)

    def kill(self, process: Process) -> None:
        self.crashes += 1
        self.killing(process)
        process.die()

    def halt(self, process: Process) -> None:
        self.stops += 1
        span = LONG_STOP_S if self._rng.random() < 0.2 else STOP_S
        process.stop(self._rng.uniform(*span))

    def late_s(self, op: str = "") -> float | None:
        """In how long a write that is given up now takes effect; None: it is not given up."""
        often = 5 if op in DECISIVE else 1
        if not self.unlucky(self.rates.late * often, f"{op} comes late"):
            return None
        return self._rng.uniform(*LATE_S)

    async def while_late(self, op: str) -> None:
        """What becomes of a process whose write is under way: now and then it does not see its end."""
        luck = self._rng.random()
        if op in DECISIVE and luck < LAST_WORD and self.fate.befalls(f"{op} is the last word"):
            if self.rates.crash and luck < LAST_WORD / 2:
                await self._crash()
            elif self.rates.stop:
                await self._stop()
        await self.pause(op)

    def very_late_s(self) -> float:
        return self._rng.uniform(*VERY_LATE_S) if self._rng.random() < 0.2 else 0.0

    def arrivals(self, bell: Bell) -> Sequence[float]:
        """Some bells are lost, some come late, some twice; and what they speak of is seen with them."""
        if self.slow_watches and self.rates is not CALM:
            return (self._rng.uniform(0, SLOW_BELL_S),)
        luck = self._rng.random()
        if luck < self.rates.bell_lost:
            return () if self.fate.befalls(f"bell {bell.kind} is lost") else (0.0,)
        if luck < self.rates.bell_lost + 0.05:
            return (0.0, self._rng.random())
        return (0.0,) if luck > 0.3 else (self._rng.random() / 50,)
