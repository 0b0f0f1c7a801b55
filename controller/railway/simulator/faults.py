"""Misbehaviour: by rate on a seed, or the next so many times on demand.

| name | what happens |
|---|---|
| `rateLimited` | 429 with Retry-After; nothing happened |
| `edgeLimited` | 429 in plain text, `error code: 1015`; nothing happened |
| `unavailable` | 503 in plain text; nothing happened |
| `badGateway` | 502 as an HTML page; nothing happened |
| `drift` | 400: the schema knows a field no more; nothing happened |
| `timeoutBefore`, `timeoutAfter` | 504 before or after the effect |
| `problem` | "Problem processing request"; it may have happened |
| `nullData` | `{"data": null}` after the effect |
| `cutOff` | the answer's body ends in its middle, after the effect |
| `halfPage` | half of a list, which says that there is more and not where |
| `omitted` | a list lacks one of its things, but never twice in a row |
| `notFound` | "ServiceInstance not found", although it is there; nothing happened |
| `elsewhere` | an environment is answered with another one, which is empty |
| `apiSlow` | the answer comes late |
| `readLag` | what is made or deleted shows 1 to 10 s later, and writes to it are refused until then |
| `serviceDeleted` | somebody deletes a service by hand |
| `deployFailed`, `deployCrashed`, `deployStuck`, `deploySleeping` | how a new deployment ends |
| `slowBoot` | a new deployment takes 20 times as long |
| `neverReady` | the agent of a new deployment never becomes ready |
| `agentSlow`, `agentDead` | it answers late; the edge answers 502 for it |
| `agentDies` | it dies after hearing, and starts again without memory |
| `answerLost` | it does as told, and its answer is lost |
| `agent500`, `agentGarbage` | it has heard and fails; it does as told and answers nonsense |
| `agentWaiting` | 202, where it was asked to join |
| `agentRestarted` | it has restarted before the call: it remembers nothing |
| `agentUsed` | a stranger has provisioned it before the call |
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

BEFORE = (
    "rateLimited",
    "edgeLimited",
    "unavailable",
    "badGateway",
    "timeoutBefore",
    "drift",
    "notFound",
)
AFTER = ("timeoutAfter", "nullData", "cutOff")
LOOKS = ("halfPage", "elsewhere")
API = (*BEFORE, *AFTER, *LOOKS, "omitted", "problem", "apiSlow", "readLag", "serviceDeleted")
DEPLOYS = ("deployFailed", "deployCrashed", "deployStuck", "deploySleeping", "slowBoot")
HEARD = ("agentDies", "answerLost", "agent500", "agentGarbage", "agentWaiting")
AGENTS = (*HEARD, "neverReady", "agentSlow", "agentDead", "agentRestarted", "agentUsed")
NAMES = frozenset((*API, *DEPLOYS, *AGENTS))


def _known(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"unknown fault; known are {', '.join(sorted(NAMES))}")
    return name


class Next(BaseModel):
    """`count` times more, where it fits: `match` is an operation, a service's name or its id."""

    model_config = ConfigDict(extra="forbid")
    name: str
    count: int = Field(default=1, ge=0, le=1_000_000)
    match: str | None = None

    _name = field_validator("name")(_known)


class Plan(BaseModel):
    """The body of `PUT /_faults`; it replaces what was planned before, and `{}` heals."""

    model_config = ConfigDict(extra="forbid")
    seed: int = 0
    rates: dict[str, float] = {}
    next: list[Next] = Field(default=[], max_length=1000)

    @field_validator("rates")
    @classmethod
    def _rates(cls, rates: dict[str, float]) -> dict[str, float]:
        for name, rate in rates.items():
            _known(name)
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
        return rates


@dataclass(slots=True)
class Faults:
    """What is planned, and the dice. Draws nothing from the dice where no rate is set."""

    plan: Plan
    rng: random.Random

    @classmethod
    def of(cls, plan: Plan | None = None) -> Self:
        plan = plan or Plan()
        return cls(plan, random.Random(plan.seed))  # noqa: S311 (faults must repeat)

    def replace(self, plan: Plan) -> None:
        self.plan, self.rng = plan, random.Random(plan.seed)  # noqa: S311

    def draw(self, name: str, targets: Collection[str] = ()) -> bool:
        """Whether this happens now. `targets`: operation, service name and id, as far as known."""
        for wish in self.plan.next:
            if wish.name == name and wish.count > 0 and _fits(wish.match, targets):
                wish.count -= 1
                return True
        rate = self.plan.rates.get(name, 0.0)
        return rate > 0 and self.rng.random() < rate

    def first(self, names: Collection[str], targets: Collection[str] = ()) -> str | None:
        """The first of these that happens now."""
        return next((name for name in names if self.draw(name, targets)), None)

    def shown(self) -> Mapping[str, Any]:
        """The plan as it stands, spent wishes left out."""
        left = [wish.model_dump(exclude_none=True) for wish in self.plan.next if wish.count]
        return {"seed": self.plan.seed, "rates": self.plan.rates, "next": left}


def _fits(match: str | None, targets: Collection[str]) -> bool:
    return match is None or match.casefold() in {target.casefold() for target in targets}
