"""Processes of one simulated world: each may be stopped, run on, and be killed with all it had in memory.

A process is a context: whatever it starts inherits it, so the loop knows of each callback whose it is.
What belongs to a stopped process waits; what belongs to a dead one never runs again.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

from tests.virtual_time import CountedTask, VirtualTimeLoop, context_of

PROCESS: "ContextVar[Process | None]" = ContextVar("process", default=None)
ACTOR: ContextVar[str] = ContextVar("actor", default="world")


class ConnectionLost(Exception):
    """The process at the other end died."""


class StormLoop(VirtualTimeLoop):
    """Runs what belongs to nobody and to running processes; `step()` is called after each callback."""

    def __init__(self, step: Callable[[], None], chance: random.Random) -> None:
        super().__init__()
        self._step = step
        self._chance = chance
        self.steps = 0
        self._disposing = False
        self.processes: list[Process] = []
        self.tasks: list[CountedTask] = []  # All: nothing may end by being forgotten.

    def make_task(self, *args: Any, **options: Any) -> CountedTask:
        task = super().make_task(*args, **options)
        self.tasks.append(task)
        context: Context | None = options.get("context")
        process = context.get(PROCESS) if context is not None else PROCESS.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def _run_once(self) -> None:
        """What is ready runs in its order within a process; between processes the dice decide."""
        if not self._ready and not self._stopping:
            self._jump()
        count = len(self._ready)
        if count > 1:
            self._ready.extend(self._mixed([self._ready.popleft() for _ in range(count)]))
        for _ in range(count):
            handle = self._ready.popleft()
            if not handle.cancelled():
                self.run(handle)

    def _mixed(self, batch: list[asyncio.Handle]) -> list[asyncio.Handle]:
        lines: dict[Process | None, deque[asyncio.Handle]] = {}
        for handle in batch:
            lines.setdefault(context_of(handle).get(PROCESS), deque()).append(handle)
        if len(lines) < 2:
            return batch
        mixed, left = [], list(lines.values())
        while left:
            line = self._chance.choice(left)
            mixed.append(line.popleft())
            if not line:
                left.remove(line)
        return mixed

    def run(self, handle: asyncio.Handle) -> None:
        context = context_of(handle)
        process = context.get(PROCESS)
        if process is None or process.runs or self._disposing:
            handle._run()
            self.steps += 1
            if not self._disposing:
                self._step()
        else:
            process.keep(handle)

    def put_back(self, handles: "deque[asyncio.Handle]") -> None:
        self._ready.extend(handles)

    async def dispose(self) -> None:
        """End what is left of all processes, dead ones too, now that nobody looks any more."""
        self._disposing = True
        for process in self.processes:
            process.give_back()
        mine = asyncio.current_task()
        left = [task for task in self.tasks if not task.done() and task is not mine]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


class Process:
    """One run of one program, from its start to its death. A restart is another one."""

    def __init__(self, name: str, loop: StormLoop, died: Callable[[], None]) -> None:
        self.name = name
        self._died = died
        self.dead = False
        self.stopped = False
        self.tasks: list[CountedTask] = []
        self._held: deque[asyncio.Handle] = deque()
        self._loop = loop
        loop.processes.append(self)
        self._callers: set[asyncio.Future[Any]] = set()
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, self)
        self._context.run(ACTOR.set, name)

    @property
    def runs(self) -> bool:
        return not (self.dead or self.stopped)

    def keep(self, handle: asyncio.Handle) -> None:
        """Something of this process is due while it cannot run: later, or when it is disposed of."""
        self._held.append(handle)

    def start(self, work: Coroutine[Any, Any, Any], actor: str = "") -> "asyncio.Task[Any]":
        """A task of this process; in the story it is the process's doing, or `actor`'s."""
        context = self._context.copy()
        if actor:
            context.run(ACTOR.set, actor)
        return self._loop.create_task(work, context=context)

    def stop(self, for_s: float) -> None:
        """As SIGSTOP, and SIGCONT after so long."""
        self.stopped = True
        self._loop.call_later(for_s, self.go_on, context=Context())

    def go_on(self) -> None:
        self.stopped = False
        if not self.dead:
            self.give_back()

    def give_back(self) -> None:
        held, self._held = self._held, deque()
        self._loop.put_back(held)

    def die(self) -> None:
        """As SIGKILL: its connections break, and nothing else of it is seen any more."""
        self.dead = True
        for caller in sorted(self._callers, key=hash):
            if not caller.done():
                caller.set_exception(ConnectionLost())
        self._callers.clear()
        self._died()

    async def serve(self, work: Coroutine[Any, Any, Any], actor: str = "") -> Any:
        """A call from outside: the answer, or ConnectionLost. Cancelled, the caller hung up."""
        if self.dead:
            work.close()
            raise ConnectionLost
        answer = self._loop.create_future()
        self._callers.add(answer)
        handler = self.start(work, actor)
        handler.add_done_callback(lambda done: _pass_on(done, answer), context=Context())
        try:
            return await answer
        except asyncio.CancelledError:
            handler.cancel()
            raise
        finally:
            self._callers.discard(answer)


def _pass_on(done: "asyncio.Task[Any]", answer: "asyncio.Future[Any]") -> None:
    error = ConnectionLost() if done.cancelled() else done.exception()
    if answer.done():  # Nobody waits for it any more.
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
