"""The CRDs on a real API server: what it refuses of the table, what it fills in, what people see."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.crds import DEFINITIONS, schema
from api.types import AgentClaim, AgentInstance, AgentPool
from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from tests.bad_manifests import CANARY, Bad, Fine, Json, manifest, patched
from tests.bad_writes import BAD, FINE

ROOT = Path(__file__).parents[1]
PLURALS = {each.kind.__name__: each.plural for each in DEFINITIONS}
KINDS = {each.kind.__name__: each.kind for each in DEFINITIONS}


class Served:
    """Our kinds in one namespace of a server."""

    def __init__(self, server: LocalApiServer, namespace: str) -> None:
        self._server = server
        self._namespace = namespace

    def _path(self, kind: str, name: str = "") -> str:
        head = f"/apis/pool.convos.org/v1alpha1/namespaces/{self._namespace}/{PLURALS[kind]}"
        return f"{head}/{name}".rstrip("/")

    async def create(self, thing: Json) -> Json:
        strictly = f"{self._path(thing['kind'])}?fieldValidation=Strict"
        return await self._server.ask("POST", strictly, thing)

    async def write(self, kind: str, name: str, change: Json) -> Json:
        """A merge patch of spec or of status."""
        path = self._path(kind, name)
        whole = patched(await self._server.ask("GET", path), change)
        return await self._server.ask(
            "PUT", f"{path}/status" if "status" in change else path, whole
        )

    async def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return await self._server.kubectl("--namespace", self._namespace, *words, stdin=stdin)

    async def through(self, case: Bad | Fine, name: str = "it") -> Json:
        """The case's manifest, created and written as it says."""
        thing = await self.create(manifest(case, name))
        for change in case.writes:
            thing = await self.write(case.kind, name, change)
        return thing


@pytest.fixture
async def served(api_server: LocalApiServer, fresh_namespace: str) -> Served:
    await api_server.apply(ROOT / "crds")
    return Served(api_server, fresh_namespace)


# ---------------------------------------------------------------- what is refused, and what is not


async def refusal(served: Served, case: Bad | Fine, name: str) -> str:
    """What the server says; empty where it took everything."""
    try:
        await served.through(case, name)
    except ServerRefused as refused:
        return str(refused)
    return ""


def is_as_said(case: Bad, said: str) -> bool:
    return case.names in said and case.says in said and CANARY not in said


async def test_bad_manifests_and_writes_are_refused_by_field_and_mend(served: Served) -> None:
    said = [(case, await refusal(served, case, f"it-{n}")) for n, case in enumerate(BAD)]
    wrong = [(case.kind, case.name, text) for case, text in said if not is_as_said(case, text)]
    assert wrong == []


async def test_of_the_writes_of_a_case_only_the_last_is_bad(served: Served) -> None:
    good = [Fine(c.name, c.kind, c.change, c.writes[:-1]) for c in BAD if c.writes]
    said = [(case.name, await refusal(served, case, f"it-{n}")) for n, case in enumerate(good)]
    assert said == [(case.name, "") for case in good]


async def test_what_only_looks_bad_is_taken(served: Served) -> None:
    said = [(case.name, await refusal(served, case, f"it-{n}")) for n, case in enumerate(FINE)]
    assert said == [(case.name, "") for case in FINE]


async def test_a_value_may_come_from_a_secret_here(served: Served) -> None:
    source = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    pool = await served.through(Fine("", "AgentPool", {"template": {"env": [source]}}))
    assert pool["spec"]["template"]["env"] == [source]


async def test_removing_the_spec_or_the_status_gets_around_no_rule(served: Served) -> None:
    await served.through(next(c for c in FINE if c.name == "said again when ended"))
    with pytest.raises(ServerRefused, match="a claim that ended does not change"):
        await served.write("AgentClaim", "it", {"status": None})
    with pytest.raises(ServerRefused, match="spec: Required value"):
        await served.write("AgentClaim", "it", {"spec": None})


# ---------------------------------------------------------------- what is filled in


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_left_out_is_filled_in_as_our_own_reader_does(
    served: Served, kind: str
) -> None:
    given = manifest(Fine("", kind), "it")
    read = KINDS[kind].model_validate(given, strict=False).wire()
    made = await served.create(given)
    assert (made["spec"], made["status"]) == (read["spec"], read["status"])


# ---------------------------------------------------------------- what people see and do


async def test_every_field_is_explained_with_its_sentence(served: Served) -> None:
    for short, kind in (("apool", AgentPool), ("aclaim", AgentClaim), ("ainst", AgentInstance)):
        for part in ("spec", "status"):
            said = " ".join((await served.kubectl("explain", f"{short}.{part}")).split())
            below: dict[str, Any] = schema(kind)["properties"][part]["properties"]
            assert [n for n, field in below.items() if field["description"] not in said] == []


async def test_the_examples_are_taken(served: Served) -> None:
    said = await served.kubectl("apply", "-f", str(ROOT / "deploy" / "examples"))
    assert said.count(" created") >= 2


async def test_lists_read_well(served: Served) -> None:
    await served.kubectl("apply", "-f", str(ROOT / "deploy" / "examples"))
    ready = {"type": "Ready", "status": "True", "reason": "Served", "message": ""}
    ready["lastTransitionTime"] = "2026-08-01T12:00:00Z"
    bound = {"phase": "Bound", "instance": {"name": "a1"}, "conditions": [ready]}
    await served.write("AgentClaim", "tokyo-trip-planner", {"status": bound})
    await served.through(Fine("", "AgentInstance"), "a1")
    lists = [
        (await served.kubectl("get", kind)).splitlines() for kind in ("apool", "aclaim", "ainst")
    ]
    heads = [lines[0].split() for lines in lists]
    assert heads == [
        ["NAME", "DESIRED", "IDLE", "CLAIMED", "TOTAL", "MAX", "READY", "AGE"],
        ["NAME", "POOL", "PHASE", "READY", "AGENT", "AGE"],
        ["NAME", "POOL", "PHASE", "CLAIM", "SERVICE", "AGE"],
    ]
    rows = [lines[1].split()[:-1] for lines in lists]
    assert rows == [
        ["default", "3", "0", "0", "0", "10"],
        ["tokyo-trip-planner", "default", "Bound", "True", "a1"],
        ["a1", "default", "Provisioning", "convos-agent-a1"],
    ]
    assert (await served.kubectl("get", "convos", "-o", "name")).split() == [
        "agentclaim.pool.convos.org/tokyo-trip-planner",
        "agentinstance.pool.convos.org/a1",
        "agentpool.pool.convos.org/default",
    ]


async def test_claims_and_instances_are_selected_by_pool_and_phase(served: Served) -> None:
    for name, pool in (("a", "p"), ("b", "p"), ("c", "q")):
        await served.through(Fine("", "AgentClaim", {"poolRef": {"name": pool}}), name)
        await served.through(Fine("", "AgentInstance", {"poolRef": {"name": pool}}), name)
    await served.write("AgentClaim", "b", {"status": {"phase": "Failed"}})
    await served.write("AgentInstance", "b", {"status": {"phase": "Idle"}})
    for kind, phase in (("aclaim", "Pending"), ("ainst", "Provisioning")):
        chosen = f"--field-selector=spec.poolRef.name=p,status.phase={phase}"
        found = await served.kubectl("get", kind, chosen, "-o", "name")
        assert [line.split("/")[1] for line in found.split()] == ["a"]


async def test_a_pool_is_scaled_within_its_rules(served: Served) -> None:
    await served.through(Fine("", "AgentPool"))
    await served.write("AgentPool", "it", {"status": {"idle": 2, "selector": "pool=it"}})
    await served.kubectl("scale", "apool/it", "--replicas=5")
    scale = await served.kubectl("get", "apool/it", "--subresource=scale", "-o", "json")
    assert '"replicas": 5' in scale.split('"status"')[0]
    assert '"replicas": 2' in scale.split('"status"')[1]
    assert '"selector": "pool=it"' in scale
    with pytest.raises(ServerRefused, match="raise maxTotal with it"):
        await served.kubectl("scale", "apool/it", "--replicas=11")


async def test_two_writers_of_one_list_do_not_undo_each_other(served: Served) -> None:
    for name in ("A", "B"):
        env = [{"name": name, "value": name}]
        pool = json.dumps(manifest(Fine("", "AgentPool", {"template": {"env": env}}), "it"))
        words = ("apply", "--server-side", f"--field-manager={name}", "-f", "-")
        await served.kubectl(*words, stdin=pool)
    names = "jsonpath={.spec.template.env[*].name}"
    assert await served.kubectl("get", "apool/it", "-o", names) == "A B"
