"""Who may do what, on the real server with the shipped roles and the service accounts' own tokens."""

import asyncio
from pathlib import Path

import pytest

from api.records.kubernetes_leases import SECRET
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries
from tests.deploy.deeds import Deed
from tests.deploy.installed import (
    CLAIMS,
    EVENTS,
    INSTANCES,
    LEASES,
    POOLS,
    SOMEBODYS,
    Installed,
    install,
)
from tests.deploy.rendered import Kustomize

CONTROLLER, SIDECAR = "agent-pool-controller", "agent-pool-api"
EACH = pytest.mark.parametrize("account", [CONTROLLER, SIDECAR])
RBAC = "rbac.authorization.k8s.io"


def deeds(verbs: str, *resources: str, **more: str) -> list[Deed]:
    return [Deed(verb, resource, **more) for resource in resources for verb in verbs.split()]


READ = "get list watch"
MAY = {
    CONTROLLER: [
        *deeds(f"{READ} create patch", POOLS),
        *deeds("patch", f"{POOLS}/status", f"{CLAIMS}/status", f"{INSTANCES}/status"),
        *deeds(READ, CLAIMS),
        *deeds(f"{READ} create patch delete", INSTANCES),
        *deeds("get create update", "leases", group=LEASES),
        *deeds("create patch", "events", group=EVENTS),
        Deed("get", "secrets", "", SECRET),
    ],
    SIDECAR: [
        *deeds(f"{READ} create delete", CLAIMS),
        *deeds(f"{READ} patch", POOLS),
        *deeds(READ, INSTANCES),
    ],
}
WRITE = "create update patch delete deletecollection"
NEITHER = [
    *deeds("list watch", "secrets", group=""),
    *deeds("list watch", "secrets", group="", where="cluster"),
    *deeds("get", "secrets", group="", name=SOMEBODYS),
    *deeds(f"get {WRITE}", "secrets", group="", name=SECRET, where="other"),
    *deeds(WRITE, "secrets", group="", name=SECRET),
    *deeds(f"{READ} {WRITE}", "pods", group=""),
    *deeds("get", "pods/log", group=""),
    *deeds("create", "pods/exec", "serviceaccounts/token", group=""),
    *deeds(READ, "configmaps", "serviceaccounts", group=""),
    *deeds(READ, "deployments", group="apps"),
    *deeds("create patch", "roles", "rolebindings", group=RBAC),
    *deeds(READ, POOLS, CLAIMS, INSTANCES, where="other"),
    *deeds("list watch", POOLS, CLAIMS, INSTANCES, where="cluster"),
    *deeds("create patch delete", POOLS, CLAIMS, INSTANCES, where="other"),
    *deeds("patch", f"{CLAIMS}/status", f"{INSTANCES}/status", where="other"),
    *deeds("get create update", "leases", group=LEASES, where="other"),
    *deeds("create", "events", group=EVENTS, where="other"),
    *deeds("update patch deletecollection", CLAIMS),
    *deeds("update delete deletecollection", POOLS),
    *deeds("update deletecollection", INSTANCES),
    *deeds("update", f"{POOLS}/status", f"{CLAIMS}/status", f"{INSTANCES}/status"),
    *deeds("update patch", f"{POOLS}/scale"),
    *deeds("list watch delete patch", "leases", group=LEASES),
    *deeds("list", "namespaces", "nodes", group="", where="cluster"),
    *deeds(
        "list create", "customresourcedefinitions", group="apiextensions.k8s.io", where="cluster"
    ),
]
MAY_NOT = {
    CONTROLLER: [*NEITHER, *deeds("create delete", CLAIMS)],
    SIDECAR: [
        *NEITHER,
        Deed("get", "secrets", "", SECRET),
        *deeds("create", POOLS),
        *deeds("create patch delete", INSTANCES),
        *deeds("patch", f"{POOLS}/status", f"{CLAIMS}/status", f"{INSTANCES}/status"),
        *deeds("get create update", "leases", group=LEASES),
        *deeds("create patch", "events", group=EVENTS),
    ],
}


# What the issue asks to see, by kubectl's own word.
ABOVE_ALL = [
    Deed("list", "secrets", ""),
    Deed("get", "secrets", "", SOMEBODYS),
    Deed("list", CLAIMS, where="other"),
    Deed("create", CLAIMS, where="other"),
    Deed("patch", CLAIMS),
    Deed("update", CLAIMS),
    Deed("list", "pods", ""),
    Deed("delete", POOLS),
]


@pytest.fixture(scope="module")
def installed(
    api_server: LocalApiServer, binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """The overlay for one namespace, installed. No test changes anything there."""
    folder: Path = tmp_path_factory.mktemp("overlay")
    kustomize = Kustomize(binaries.kubectl)
    return asyncio.run(install(api_server, kustomize, folder, "namespace"))


# ---------------------------------------------------------------- the two processes


@EACH
async def test_they_may_do_what_they_must(installed: Installed, account: str) -> None:
    somebody = await installed.somebody(account)
    for deed in MAY[account]:
        assert await somebody.may(deed), deed
        assert await somebody.does(deed, await installed.body(deed)) < 300, deed


@EACH
async def test_they_are_refused_everything_else(installed: Installed, account: str) -> None:
    somebody = await installed.somebody(account)
    for deed in MAY_NOT[account]:
        assert not await somebody.may(deed), deed
        assert await somebody.does(deed) == 403, deed


@EACH
async def test_kubectl_says_so_too(installed: Installed, account: str) -> None:
    somebody = await installed.somebody(account)
    said = {str(deed): await somebody.can_i(deed) for deed in (*ABOVE_ALL, Deed("list", CLAIMS))}
    assert said == {**{str(deed): "no" for deed in ABOVE_ALL}, f"list {CLAIMS}": "yes"}


@EACH
async def test_there_is_no_rule_that_is_not_in_the_table(
    installed: Installed, account: str
) -> None:
    await installed.kubectl("create", "serviceaccount", f"nobody-{account}")
    anybody = await (await installed.somebody(f"nobody-{account}")).rules()
    granted = await (await installed.somebody(account)).rules() - anybody
    assert granted == {(d.verb, d.group, d.resource, d.name or "*") for d in MAY[account]}
