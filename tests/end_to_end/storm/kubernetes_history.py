"""Every write to a record on Kubernetes: what, from etcd itself; who and when, from the API server's audit.

A watch of the API server would lose what is written around its death, and all that a compaction forgets.
etcd tells each revision, in order; what it does not tell is when. A write is placed at the moment the server
received it, and never before the write that precedes it: so it stands after all that led to it, and before
all that came of it, however late we heard of it ourselves.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from api.records.kubernetes_objects import CLASSES, parse
from api.types import API_VERSION, AgentClaim, AgentInstance, AgentPool, Kind
from controller.local.apiserver import LocalApiServer
from tests.end_to_end.storm.stage import Write
from tests.storm.witness import NAMES, seen_of

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitManagedFields": True,
    "rules": [
        {
            "level": "RequestResponse",
            "verbs": ["create", "update", "patch", "delete"],
            "resources": [{"group": API_VERSION.split("/")[0]}],
        },
        {"level": "None"},
    ],
}
BELOW = f"/registry/{API_VERSION.split('/')[0]}/"
UNANSWERED = 0  # The code of a request that nobody saw answered.


class Told(NamedTuple):
    """One revision of one record, as etcd told it to us at `at`."""

    at: float
    revision: int
    plural: str
    name: str
    thing: Kind | None


class Request(NamedTuple):
    """One request to write, as the server's audit has it. `version`: of the record as it was answered."""

    at: float
    who: str
    verb: str
    plural: str
    name: str
    code: int
    version: int


class History:
    """`follow()` for ever; `pools`, `claims` and `instances` are those of now, by name."""

    def __init__(self, server: LocalApiServer, folder: Path, namespace: str) -> None:
        self._server, self._folder, self._namespace = server, folder, namespace
        self._now: dict[str, dict[str, Any]] = {plural: {} for plural in CLASSES}
        self.told: list[Told] = []
        self.whose: dict[str, str] = {}  # By the ids of tokens: who was given it.

    @staticmethod
    def options(folder: Path) -> dict[str, str]:
        """What an API server must be started with."""
        folder.mkdir(parents=True, exist_ok=True)
        policy = folder / "policy.json"
        policy.write_text(json.dumps(POLICY))
        return {
            "audit-policy-file": str(policy),
            "audit-log-path": str(folder / "audit.log"),
            "audit-log-maxsize": "10000",
        }

    @property
    def pools(self) -> Mapping[str, AgentPool]:
        return self._now["agentpools"]

    @property
    def claims(self) -> Mapping[str, AgentClaim]:
        return self._now["agentclaims"]

    @property
    def instances(self) -> Mapping[str, AgentInstance]:
        return self._now["agentinstances"]

    async def follow(self) -> None:
        async for revision, key, value in self._server.writes(BELOW, 1):
            plural, namespace, name = key.removeprefix(BELOW).split("/")
            if namespace == self._namespace and plural in CLASSES:
                self._hear(revision, plural, name, value)

    def _hear(self, revision: int, plural: str, name: str, value: bytes | None) -> None:
        thing: Kind | None = None
        if value is None:
            self._now[plural].pop(name, None)
        else:
            found = json.loads(value)
            found["metadata"]["resourceVersion"] = str(revision)
            thing = self._now[plural][name] = parse(CLASSES[plural], found)  # type: ignore[type-var]
        self.told.append(Told(time.time(), revision, plural, name, thing))

    @property
    def last_write(self) -> float:
        return self.told[-1].at if self.told else 0.0

    def writes(self) -> Iterator[Write]:
        """In their order."""
        return placed(self.told, requests(_lines(self._folder), self.whose))


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The last one may be torn: its server was killed."""
    for path in sorted(folder.glob("audit*.log")):
        for text in path.read_text(errors="replace").splitlines():
            try:
                yield json.loads(text)
            except ValueError:
                continue


def requests(audit: Iterable[dict[str, Any]], whose: Mapping[str, str]) -> list[Request]:
    """Each once, with its answer where it had one, in the order in which they were received."""
    found: dict[str, Request] = {}
    for line in audit:
        about, answer = line["objectRef"], line.get("responseObject") or {}
        ids = line["user"].get("extra", {}).get("authentication.kubernetes.io/credential-id", [""])
        found[line["auditID"]] = Request(
            at=datetime.fromisoformat(line["requestReceivedTimestamp"]).timestamp(),
            who=whose.get(ids[0].removeprefix("JTI="), "somebody"),
            verb=line["verb"],
            plural=about["resource"],
            name=about.get("name", ""),
            code=int((line.get("responseStatus") or {}).get("code", UNANSWERED)),
            version=int((answer.get("metadata") or {}).get("resourceVersion") or 0),
        )
    return sorted(found.values())


def placed(told: Iterable[Told], asked: Iterable[Request]) -> Iterator[Write]:
    """Each write at its own time, by whoever asked for it."""
    answered: dict[tuple[str, str, int], Request] = {}
    others: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in asked:
        if request.version and request.code < 300 and request.verb != "delete":
            answered.setdefault((request.plural, request.name, request.version), request)
        else:
            others[request.plural, request.name].append(request)
    before = 0.0
    for at, revision, plural, name, thing in told:
        candidates = others[plural, name] + others[plural, ""]
        found = answered.get((plural, name, revision)) or _lost(candidates, at, thing is None)
        before = max(before, min(found.at if found else before, at))
        kind = NAMES[CLASSES[plural].model_fields["kind"].default]
        who = found.who if found else _whose(kind, thing)
        yield Write(before, who, kind, name, None if thing is None else seen_of(thing))


def _lost(candidates: Iterable[Request], heard_at: float, deleted: bool) -> Request | None:
    """The newest that can have been it: a deletion's answer names no version, and that of a request whose
    server was killed, or waited for etcd in vain, was lost."""
    fitting = [
        request
        for request in candidates
        if request.at <= heard_at
        and (request.verb == "delete") == deleted
        and (request.code == UNANSWERED or request.code >= 500 or (deleted and request.code < 300))
    ]
    return max(fitting, default=None)


def _whose(kind: str, after: Kind | None) -> str:
    """A write that no audit has: by who does such things."""
    return "sidecar" if kind == "claim" and after is None else "controller"
