"""The states that health.lua tells apart: objects in each, with statuses by the product's own rules.

Made on a real API server and read back, which is what Argo CD sees; `python -m tests.deploy.states` records
them anew in recorded.yaml.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from api.records import Mark, bound_status
from api.records import marked as marked_by_handover
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    Attempt,
    InstancePhase,
    OnEmpty,
    ReclaimPolicy,
)
from controller import lifecycle
from controller.agents import Heard, Reply
from controller.handover import Rules, Talk, Write, decide
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import kubernetes_binaries
from controller.local.progress import Progress
from controller.sizing import Stall, Weather, failed_claim, pool_status
from tests.builders import NOW, a_claim, a_claim_ref, a_pool, an_instance
from tests.cluster import make_namespace
from tests.deploy.rendered import ROOT, Json

RECORDED = Path(__file__).with_name("recorded.yaml")
HEADER = (
    "# Objects as a real API server gave them back, and the health that Argo CD is to show for each.\n"
    "# Recorded by `python -m tests.deploy.states`; a test makes them anew and compares.\n"
)
CANARY = "canary-in-the-instructions"
INVITE = "https://convos.test/invite-canary"
LATER = NOW + timedelta(minutes=20)
REACHABLE = Weather(True)
Thing = AgentPool | AgentClaim | AgentInstance


@dataclass(frozen=True)
class State:
    """One object's state. `seen`: with the status that the product writes; `then`: patched afterwards."""

    name: str
    health: str
    thing: Thing
    seen: Callable[[Thing], Thing] | None = None
    then: Json | None = None
    deleted: bool = False


def states() -> Iterator[State]:
    for number, state in enumerate((*_pools(), *_claims(), *_instances())):
        yield replace(state, thing=_named(state.thing, f"it{number:02}"))


def _named(thing: Thing, name: str) -> Thing:
    """Builders count their names up; what is recorded must not depend on how far they are."""
    changes: Json = {"metadata": thing.metadata.model_copy(update={"name": name})}
    if isinstance(thing, AgentInstance):
        changes["spec"] = thing.spec.model_copy(update={"service_name": f"convos-agent-{name}"})
    return thing.model_copy(update=changes)


def _pools() -> Iterator[State]:
    idle = [an_instance(phase=InstancePhase.IDLE, template_hash="now") for _ in range(3)]
    mine = a_claim(uid="claimed")
    claimed = [an_instance(claim_ref=a_claim_ref(mine)) for _ in range(10)]
    stall = Stall("TemplateFailing", "3 instances of this template failed; mend the template")

    def seen(
        there: list[AgentInstance], stall: Stall | None = None, weather: Weather = REACHABLE
    ) -> Callable[[Thing], Thing]:
        def look(pool: Thing) -> Thing:
            assert isinstance(pool, AgentPool)
            status = pool_status(pool, there, 0, 0, "now", stall, weather, NOW)
            return pool.model_copy(update={"status": status})

        return look

    away = Weather(False, "Timeout", "Railway does not answer")
    yield State("a pool that nobody has seen yet", "Progressing", a_pool())
    yield State("a pool that fills up", "Progressing", a_pool(), seen(idle[:1]))
    yield State("a pool with enough idle", "Healthy", a_pool(), seen(idle))
    yield State("an empty pool that wants none", "Healthy", a_pool(min_idle=0), seen([]))
    yield State("a full pool with too few idle", "Progressing", a_pool(), seen(claimed))
    yield State("a pool whose template fails", "Degraded", a_pool(), seen([], stall))
    yield State("a pool without Railway", "Progressing", a_pool(), seen([], None, away))
    yield State("a paused pool", "Suspended", a_pool(paused=True), seen(idle))
    yield State("a paused pool that stalls", "Suspended", a_pool(paused=True), seen([], stall))
    more = {"spec": {"minIdle": 5}}
    yield State("a pool that was edited since", "Progressing", a_pool(), seen(idle), more)
    yield State("a pool that is deleted", "Progressing", a_pool(), seen(idle), deleted=True)


def _claims() -> Iterator[State]:
    attempt = Attempt(by="controller-1", at=NOW)
    rules = Rules("controller-1", 60.0)
    said = Reply(Heard.DONE, conversation_id="conversation-1", invite_url=INVITE)

    def bound(claim: Thing) -> Thing:
        assert isinstance(claim, AgentClaim)
        instance = an_instance(name="i1", url="https://i1.test")
        return claim.model_copy(update={"status": bound_status(claim, instance, attempt)})

    def answered(reply: Reply) -> Callable[[Thing], Thing]:
        def look(claim: Thing) -> Thing:
            held = bound(claim)
            assert isinstance(held, AgentClaim)
            talk = Talk("controller-1", 0.0, bound_here=True).heard(reply, 1.0)
            step = decide(held, talk, LATER, NOW, 1.0, rules)
            assert isinstance(step, Write), step
            return held.model_copy(update={"status": step.status})

        return look

    def over(reason: str, message: str) -> Callable[[Thing], Thing]:
        def look(claim: Thing) -> Thing:
            assert isinstance(claim, AgentClaim)
            return claim.model_copy(update={"status": failed_claim(claim, reason, message, NOW)})

        return look

    def wish(**more: Any) -> AgentClaim:
        return a_claim(instructions=f"You are a {CANARY}.", **more)

    yield State("a claim that waits", "Progressing", wish())
    yield State("a bound claim", "Progressing", wish(), bound)
    refused = answered(Reply(Heard.UNREACHED))
    yield State("a claim whose agent refused", "Progressing", wish(), refused)
    yield State("a claim that is served", "Healthy", wish(), answered(said))
    joins = wish(join_url=INVITE, reclaim_policy=ReclaimPolicy.DELETE)
    yield State("a claim that joined", "Healthy", joins, answered(said))
    late = over("TimedOut", "no instance in 10m")
    yield State("a claim that timed out", "Degraded", wish(), late)
    none = over("NoneIdle", "no instance is idle")
    yield State("a claim that did not wait", "Degraded", wish(on_empty=OnEmpty.FAIL), none)
    gone = answered(said)
    yield State("a claim that is released", "Progressing", wish(), gone, deleted=True)


def _instances() -> Iterator[State]:
    idle = lifecycle.marked(an_instance().status, "Ready", NOW, "AgentReady")
    idle = idle.model_copy(update={"phase": InstancePhase.IDLE, "ready_at": NOW})
    claimed = {"spec": {"claimRef": {"name": "c1", "uid": "u1", "reclaimPolicy": "Retain"}}}

    def turned(turn: Callable[[AgentInstance], AgentInstance]) -> Callable[[Thing], Thing]:
        def look(instance: Thing) -> Thing:
            assert isinstance(instance, AgentInstance)
            return turn(instance)

        return look

    def with_status(make: Callable[[AgentInstance], object]) -> Callable[[Thing], Thing]:
        return turned(lambda i: i.model_copy(update={"status": make(i)}))

    yield State("an instance that is intended", "Progressing", an_instance())
    being_made = with_status(lambda i: lifecycle.marked(i.status, "Created", NOW))
    yield State("an instance that is being made", "Progressing", an_instance(), being_made)
    ready = with_status(lambda _: idle)
    yield State("an idle instance", "Healthy", an_instance(), ready)
    yield State("a claimed instance", "Healthy", an_instance(), ready, claimed)
    crashed = with_status(lambda i: lifecycle.failed(i.status, "DeploymentCrashed", NOW))
    yield State("a failed instance", "Degraded", an_instance(), crashed)
    stranger = turned(lambda i: marked_by_handover(i, Mark("ClaimedByStranger"), NOW))
    yield State("a barred instance", "Degraded", an_instance(), stranger)
    surplus = with_status(lambda i: lifecycle.retiring(i, "Surplus", NOW))
    yield State("an instance that retires", "Progressing", an_instance(), surplus)
    gone = with_status(lambda i: lifecycle.gone(i, NOW))
    yield State("an instance whose service is gone", "Degraded", an_instance(), gone)


# ---------------------------------------------------------------- on a server


async def made(server: LocalApiServer, state: State, namespace: str) -> Json:
    """The object in that state, as the server gives it back, without what differs at each time."""
    given = state.thing.wire()
    meta: Json = {"name": state.thing.metadata.name}
    if state.deleted:
        meta["finalizers"] = ["example.com/holds-it"]  # So that it can be seen.
    path = f"/apis/pool.convos.org/v1alpha1/namespaces/{namespace}/{state.thing.kind.lower()}s"
    found = await server.ask("POST", path, {**given, "metadata": meta})
    path = f"{path}/{meta['name']}"
    if state.seen is not None:
        read = type(state.thing).model_validate({**found, "metadata": _ours(found)}, strict=False)
        status = {"status": state.seen(read).wire()["status"]}
        await _patch(server, f"{path}/status", status)
    if state.then is not None:
        await _patch(server, path, state.then)
    if state.deleted:
        await server.ask("DELETE", path)
    return _steady(await server.ask("GET", path))


def _ours(found: Json) -> Json:
    return {k: found["metadata"][k] for k in ("name", "namespace", "uid", "generation")}


async def _patch(server: LocalApiServer, path: str, body: Json) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    async with server.http() as http, http.patch(path, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


def _steady(found: Json) -> Json:
    meta = found["metadata"]
    for name in ("managedFields", "resourceVersion"):
        meta.pop(name, None)
    meta |= {"namespace": "default", "uid": "00000000-0000-0000-0000-000000000000"}
    for name in ("creationTimestamp", "deletionTimestamp"):
        if name in meta:
            meta[name] = "2026-08-01T12:00:00Z"
    return found


async def everything(server: LocalApiServer) -> list[Json]:
    """What recorded.yaml holds."""
    namespace = await make_namespace(server)
    return [
        {"state": s.name, "health": s.health, "object": await made(server, s, namespace)}
        for s in states()
    ]


async def _record() -> None:
    binaries = await kubernetes_binaries(Progress(sys.stderr))
    with tempfile.TemporaryDirectory(prefix="agent-pool-") as folder:
        server = LocalApiServer(Path(folder) / "state", binaries, fsync=False)
        await server.start()
        await server.apply(ROOT / "crds")
        found = await everything(server)
        await server.stop()
    text = yaml.safe_dump_all(found, sort_keys=False, width=100, explicit_start=True)
    RECORDED.write_text(HEADER + text)


if __name__ == "__main__":
    asyncio.run(_record())
