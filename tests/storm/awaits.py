"""At which of the product's awaits a process of the storm was killed, out of all that there are."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, CoroutineType
from typing import Any, NamedTuple

from tests.storm.processes import Process

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "controller")
# Where claims, creates, deletes and renames go through.
FILES = (
    *("api/batching.py", "api/door.py", "api/replenish.py", "api/waiters.py"),
    *(f"api/records/{name}.py" for name in ("memory", "memory_bells")),
    *(f"controller/railway/{name}.py" for name in ("client", "wire")),
    *(
        f"controller/{name}.py"
        for name in (
            *("acting", "binding", "delivery", "environment", "halfbinds", "leader", "leading"),
            *("looking", "news", "probing", "reconcile", "term", "upkeep", "watch", "workqueue"),
        )
    ),
)
# What else awaits, by the beginning of its path, and why a storm in one process does not go there.
SOCKETS = "sockets: storms of real processes"
ELSEWHERE: Mapping[str, str] = {
    "api/kubernetes/": SOCKETS,
    "api/ops.py": SOCKETS,
    "api/records/": "SQL and the Kubernetes API: storms of real processes, the suite of the records",
    "api/rest": SOCKETS,
    "api/sidecar.py": SOCKETS,
    "controller/agents_http.py": SOCKETS,
    "controller/cli/": "command lines",
    "controller/declared.py": "once, before a controller's first term",
    "controller/kopf_feed.py": SOCKETS,
    "controller/local/": "how `up` starts and stops what runs",
    "controller/railway/simulator/": "the world, and not the product",
    "controller/run.py": "signals and sockets: storms of real processes",
}
# Why no storm crashes there, by file and function.
OF_PEOPLE = "what people write; no process of ours waits there"
NEVER_WAITS = "awaited in form only: memory records ring at once"
IN_A_GENERATOR = "inside an async generator, at whose `async for` crashes are counted"
AFTER_THE_END = "closing a port after the last word of a process"
SECRETS = "waits for Secrets alone, which only Kubernetes has"
REFUSED = "after a clear refusal by Railway: four in sixty seeds, and hardly a crash among them"
HALF = "a half bind that is mended: four in sixty seeds, and hardly a crash among them"
REASONS: Mapping[tuple[str, str], str] = {
    ("api/records/memory.py", "create_pool"): OF_PEOPLE,
    ("api/records/memory.py", "replace_pool"): OF_PEOPLE,
    ("api/records/memory.py", "delete_pool"): OF_PEOPLE,
    ("api/records/memory.py", "bells"): IN_A_GENERATOR,
    ("api/records/memory_bells.py", "hear"): IN_A_GENERATOR,
    ("api/replenish.py", "_ask"): NEVER_WAITS,
    ("api/waiters.py", "_listen"): "after bells broke off, which those of memory records never do",
    ("controller/acting.py", "_make"): SECRETS,
    ("controller/acting.py", "_perform"): SECRETS,
    ("controller/acting.py", "_refused"): REFUSED,
    ("controller/acting.py", "act"): REFUSED,
    ("controller/halfbinds.py", "_bar"): HALF,
    ("controller/halfbinds.py", "mend"): HALF,
    ("controller/leading.py", "_lead"): "a pause after a bug has ended a term",
    ("controller/looking.py", "answer"): NEVER_WAITS,
    ("controller/reconcile.py", "pool_pass"): NEVER_WAITS,
    ("controller/railway/client.py", "close"): AFTER_THE_END,
    ("controller/railway/wire.py", "_send"): "a body that was read to its end is closed already",
    ("controller/railway/wire.py", "close"): AFTER_THE_END,
    ("controller/upkeep.py", "_forgotten"): "a claimed instance that is Gone: seldom, and brief",
    ("controller/upkeep.py", "see_to"): "breathes in pools larger than a storm's",
}


class Site(NamedTuple):
    """A line of the product that awaits."""

    file: str
    line: int


class Crash(NamedTuple):
    """Where a process died: every await it stood at. `between`: an intent on record, its effect open."""

    sites: frozenset[Site]
    between: bool


# Functions that stand between a record that says what is meant, and the record of what came of it.
BETWEEN = (("controller/acting.py", "_perform"), ("controller/delivery.py", "_until_ended"))


def crash_of(process: Process) -> Crash:
    """Where this process stands now, in all of its tasks."""
    sites: set[Site] = set()
    between = False
    for task in process.tasks:
        if not task.done():
            for code, line in _stack(task.get_coro()):
                if (file := _ours(code.co_filename)) is not None:
                    sites.add(Site(file, line))
                    between = between or (file, code.co_name) in BETWEEN
    return Crash(frozenset(sites), between)


def _stack(coroutine: Any) -> Iterator[tuple[CodeType, int]]:
    """The lines at which a coroutine waits, from its outermost to its innermost."""
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        yield coroutine.cr_code, coroutine.cr_frame.f_lineno
        coroutine = coroutine.cr_await


@cache
def _ours(filename: str) -> str | None:
    try:
        file = Path(filename).relative_to(ROOT)
    except ValueError:
        return None
    return str(file) if file.parts[0] in ROOMS else None


# ---------------------------------------------------------------- how many of them


@dataclass(frozen=True, slots=True)
class Coverage:
    """`missed`: awaits of the rooms of a claim, a create, a delete and a rename without a crash."""

    sites: Mapping[Site, str]
    crashed_at: Mapping[Site, int]

    @property
    def missed(self) -> list[Site]:
        return sorted(site for site in self.sites if site not in self.crashed_at)

    def wire(self) -> dict[str, Any]:
        return {"sites": len(self.sites), "crashedAt": self._hit, "missed": self._named()}

    def _named(self) -> list[str]:
        """File, line and function of each, and why no storm crashes there, where that is known."""
        return [
            f"{site.file}:{site.line} in {self.sites[site]}{_why(self.sites[site], site)}"
            for site in self.missed
        ]

    @property
    def _hit(self) -> int:
        return len(self.sites) - len(self.missed)

    def told(self, *, every: bool) -> str:
        """For a person: the count and, where they are wanted, the names."""
        said = f"crashes at {self._hit} of {len(self.sites)} awaits"
        return "\n  ".join([said, *self._named()]) if every else said


def coverage(crashed_at: Mapping[Site, int]) -> Coverage:
    """Of the files that a storm runs."""
    return Coverage(_sites_in(FILES), crashed_at)


def files_that_await() -> list[str]:
    """All of the product."""
    paths = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return sorted({site.file for site in _sites_in(str(p.relative_to(ROOT)) for p in paths)})


def _sites_in(files: Iterable[str]) -> dict[Site, str]:
    """Each line that awaits, and its function."""
    sites: dict[Site, str] = {}
    for file in files:
        _walk(ast.parse((ROOT / file).read_text()), file, "", sites)
    return sites


def _why(function: str, site: Site) -> str:
    reason = REASONS.get((site.file, function), "")
    return f": {reason}" if reason else ""


def _never_waits(item: ast.withitem) -> bool:
    """`async with asyncio.timeout(...)`: awaited in form only."""
    called = item.context_expr.func if isinstance(item.context_expr, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in ("timeout", "timeout_at")


def _walk(node: ast.AST, file: str, function: str, found: dict[Site, str]) -> None:
    if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        function = node.name
    if isinstance(node, ast.Await | ast.AsyncFor):
        found[Site(file, node.lineno)] = function
    if isinstance(node, ast.AsyncWith) and not all(map(_never_waits, node.items)):
        found[Site(file, node.lineno)] = function
    for child in ast.iter_child_nodes(node):
        _walk(child, file, function, found)
