"""What a storm asks of an installation, whichever its store; and processes that are kept running."""

import asyncio
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import psutil

from controller.local.children import Child
from tests.end_to_end.system import System
from tests.history.events import Seen

Tell = Callable[..., None]  # Whom it happened to, what, and names: a line of the history.
# Less than half of HANDOVER_TIMEOUT: its agents would outlive an attempt, a known limit (README).
SIMULATOR_STOP_S = (0.3, 1.0)
AGAIN_AFTER_S = 0.3  # A process that died is started again after so long.
# Railway's own limits stay out of the way: what is scarce here is the machine.
SIMULATOR = ("--requests-per-hour", "1000000", "--requests-per-second", "1000")


class Write(NamedTuple):
    """A record as somebody wrote it, at a time between what led to it and what followed; None: deleted."""

    at: float
    who: str
    kind: str
    name: str
    after: Seen | None


class Stage(System, ABC):
    """One installation with two controllers and two sidecars, and its records from outside.

    `parts`: what can be killed and stopped; `deck`: what goes wrong there, as `kill controller`; `outside`:
    what a look at the records, or a write by hand, may fail with; `stops`: how long who else than ours is
    stopped, at least and at most.
    """

    records: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    outside: ClassVar[tuple[type[Exception], ...]]
    deck: tuple[str, ...]
    stops: Mapping[str, tuple[float, float]] = {"simulator": SIMULATOR_STOP_S}

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    @abstractmethod
    def sidecars(self) -> tuple[str, str]:
        """Their addresses."""

    @abstractmethod
    def family(self, part: str) -> list[psutil.Process]:
        """The processes of a part, its head first; empty while it does not run."""

    @abstractmethod
    async def befall(self, what: str, whom: str, rng: random.Random, tell: Tell) -> None:
        """A misfortune that only this store knows; it tells whom it befell, where it does."""

    @abstractmethod
    async def until_reachable(self) -> None:
        """Once the records can be asked again, and nothing goes wrong any more. Raises TimeoutError."""

    # ---- what people do by hand

    @abstractmethod
    async def set_up(self, min_idle: int, policy: str) -> None:
        """The pool as a storm wants it: what never becomes ready is given up soon."""

    @abstractmethod
    async def resize(self, min_idle: int) -> None: ...

    @abstractmethod
    async def change_image(self, image: str) -> None: ...

    @abstractmethod
    async def claim_by_hand(self, name: str, instructions: str, policy: str) -> None: ...

    @abstractmethod
    async def release_by_hand(self, name: str) -> None: ...

    @abstractmethod
    async def some_service(self, rng: random.Random, *, idle: bool) -> str | None:
        """The id of a service that exists by the records; `idle`: of one that is offered."""

    # ---- what is recorded

    @abstractmethod
    async def moves(self) -> str:
        """What is not at rest in the records, in words."""

    @abstractmethod
    async def last_write(self) -> float:
        """When any record was written last."""

    @abstractmethod
    async def served(self) -> set[str]:
        """The services that records speak of as there."""

    @abstractmethod
    async def instance_secret(self) -> bytes: ...

    @abstractmethod
    async def writes(self) -> Iterable[Write]:
        """Every write to a record since the beginning, in its order."""

    @abstractmethod
    async def events(self) -> str:
        """The text of all events on record."""


class Kept:
    """A process that is started again whenever it ends; with us it ends for good."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._argv, self._env, self._log = argv, env, log
        self._keeper: asyncio.Task[None] | None = None
        self._child: Child | None = None

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    @property
    def running(self) -> list[psutil.Process]:
        """It, where it runs."""
        if self._child is None or self._child.ended is not None:
            return []
        return [psutil.Process(self._child.pid)]

    async def _spawn(self) -> Child:
        self._child = await Child.spawn(
            self._argv, env=self._env, log=self._log, cwd=self._log.parent
        )
        return self._child

    async def _keep(self) -> None:
        while self._child is not None:
            await self._child.wait()
            await asyncio.sleep(AGAIN_AFTER_S)
            await self._spawn()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, patience_s=15)


def railway_settings(told: Mapping[str, Any]) -> dict[str, str]:
    """What simulator.json says, as a controller's variables."""
    names = {
        "RAILWAY_ENDPOINT": "endpoint",
        "RAILWAY_API_TOKEN": "token",
        "RAILWAY_PROJECT_ID": "projectId",
        "RAILWAY_ENVIRONMENT_ID": "environmentId",
        "AGENT_SCHEME": "agentScheme",
    }
    return {variable: str(told[name]) for variable, name in names.items()}
