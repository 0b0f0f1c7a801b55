"""health.lua, run by a real Lua 5.1 with no more than Argo CD gives it, on recorded objects of each state."""

from collections import Counter
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from controller.local.apiserver import LocalApiServer
from tests.deploy.rendered import DEPLOY, ROOT, Json, Kustomize
from tests.deploy.states import CANARY, INVITE, RECORDED, everything

SCRIPT = (DEPLOY / "argocd" / "health.lua").read_text()
STATES: list[Json] = list(yaml.safe_load_all(RECORDED.read_text()))
# Argo CD opens the base functions and `table`; `os` only in part, nothing that reads files or loads code.
WITHHELD = "string math io os debug package coroutine require dofile loadfile load loadstring print"


def judge(thing: Json, script: str = SCRIPT) -> tuple[str, str]:
    """Health and message, as Argo CD would get them."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    for name in WITHHELD.split():
        lua.globals()[name] = None
    lua.globals().python = None
    lua.globals().obj = _in_lua(lua, thing)
    said = lua.execute(script)
    return said.status, said.message


def _in_lua(lua: Any, value: Any) -> Any:
    """As Argo CD hands it over: maps and lists as tables, numbers as floats, null as nothing."""
    if isinstance(value, dict):
        items = {k: _in_lua(lua, v) for k, v in value.items() if v is not None}
        return lua.table_from(items)
    if isinstance(value, list):
        return lua.table_from([_in_lua(lua, each) for each in value])
    return float(value) if type(value) is int else value


@pytest.mark.parametrize("state", STATES, ids=[each["state"] for each in STATES])
def test_each_state_has_its_health_and_says_why(state: Json) -> None:
    health, message = judge(state["object"])
    assert health == state["health"]
    assert message
    assert CANARY not in message
    assert INVITE not in message


def test_every_kind_is_seen_in_every_health_that_it_can_have() -> None:
    seen = Counter((each["object"]["kind"], each["health"]) for each in STATES)
    of_all = {"Progressing", "Healthy", "Degraded"}
    wanted = {(kind, h) for kind in ("AgentClaim", "AgentInstance") for h in of_all}
    assert set(seen) == wanted | {("AgentPool", h) for h in (*of_all, "Suspended")}


async def test_what_is_recorded_is_what_a_server_gives_now(api_server: LocalApiServer) -> None:
    await api_server.apply(ROOT / "crds")
    mend = "record them anew: .venv/bin/python -m tests.deploy.states"
    assert await everything(api_server) == STATES, mend


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("a pool that fills up", "TooFewIdle: 1 of 3 idle"),
        ("a full pool with too few idle", "TooFewIdle: 0 of 3 idle; Full: 10 of 10 services"),
        ("a pool whose template fails", "TemplateFailing: 3 instances of this template failed"),
        ("a pool without Railway", "Timeout: Railway does not answer"),
        ("a claim that timed out", "TimedOut: no instance in 10m"),
        ("a barred instance", "it is never offered: ClaimedByStranger"),
    ],
)
def test_the_message_is_what_the_conditions_say(state: str, said: str) -> None:
    found = next(each["object"] for each in STATES if each["state"] == state)
    assert said in judge(found)[1]


async def test_argo_cds_settings_get_this_script_for_each_kind(kustomize: Kustomize) -> None:
    settings = yaml.safe_load(await kustomize.text(DEPLOY / "argocd"))
    where = (settings["kind"], settings["metadata"]["namespace"], settings["metadata"]["name"])
    assert where == ("ConfigMap", "argocd", "argocd-cm")
    assert settings["data"] == {
        f"resource.customizations.health.pool.convos.org_{kind}": SCRIPT
        for kind in ("AgentPool", "AgentClaim", "AgentInstance")
    }


async def test_the_rest_of_argo_cds_settings_stays(
    api_server: LocalApiServer, kustomize: Kustomize
) -> None:
    await api_server.kubectl("create", "namespace", "argocd")
    kept = "--from-literal=url=https://argo.test"
    await api_server.kubectl("create", "configmap", "argocd-cm", "-n=argocd", kept)
    words = ("apply", "--server-side", "--field-manager=agent-pool", "--filename=-")
    await api_server.kubectl(*words, stdin=await kustomize.text(DEPLOY / "argocd"))
    read = await api_server.kubectl("get", "configmap", "argocd-cm", "-n=argocd", "-o=json")
    assert len(yaml.safe_load(read)["data"]) == 4


def test_a_script_that_needs_more_than_argo_cd_gives_fails_here() -> None:
    with pytest.raises(Exception, match="nil value"):
        judge({}, "return { status = string.upper('healthy') }")
