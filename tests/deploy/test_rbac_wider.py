"""Roles besides those of one namespace: the cluster-wide controller, people, and one secret by name."""

import asyncio
from dataclasses import replace

import pytest

from api.records.kubernetes_leases import SECRET
from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries
from tests.deploy.deeds import Deed
from tests.deploy.installed import CLAIMS, INSTANCES, POOLS, SOMEBODYS, Installed, install
from tests.deploy.rendered import DEPLOY, Kustomize
from tests.deploy.test_rbac import CONTROLLER, MAY, NEITHER, SIDECAR

KINDS = (POOLS, CLAIMS, INSTANCES)
EVERYWHERE = ("pool.convos.org", "events.k8s.io")
VIEWER, EDITOR = "--as=viewer", "--as=editor"


@pytest.fixture(scope="module")
def wide(
    api_server: LocalApiServer, binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """The cluster-wide overlay, with people bound to the roles for them."""
    folder, kustomize = tmp_path_factory.mktemp("overlay"), Kustomize(binaries.kubectl)

    async def make() -> Installed:
        made = await install(api_server, kustomize, folder, "cluster-wide")
        for who, roles in (("viewer", "view"), ("editor", "view edit")):
            for role in roles.split():
                words = (f"--clusterrole=agent-pool-{role}", f"--user={who}")
                await made.kubectl("create", "rolebinding", f"{who}-{role}", *words)
        return made

    return asyncio.run(make())


# ---------------------------------------------------------------- every namespace


async def test_a_cluster_wide_controller_does_the_same_everywhere(wide: Installed) -> None:
    controller = await wide.somebody(CONTROLLER)
    there = replace(wide, namespaces={"own": wide.namespaces["other"]})
    for deed in (d for d in MAY[CONTROLLER] if d.group in EVERYWHERE):
        body = await there.body(deed)
        assert await controller.does(replace(deed, where="other"), body) < 300, deed
    for kind in KINDS:
        assert await controller.does(Deed("list", kind, where="cluster")) == 200


async def test_its_leases_and_its_secret_stay_at_home(wide: Installed) -> None:
    controller = await wide.somebody(CONTROLLER)
    for deed in (d for d in MAY[CONTROLLER] if d.group not in EVERYWHERE):
        assert await controller.does(deed, await wide.body(deed)) < 300, deed
        away = replace(deed, where="other")
        assert not await controller.may(away), away
        assert await controller.does(away) == 403, away


async def test_it_reads_no_secret_of_others(wide: Installed) -> None:
    controller = await wide.somebody(CONTROLLER)
    for deed in (d for d in NEITHER if d.resource in ("secrets", "pods", "configmaps")):
        assert await controller.does(deed) == 403, deed


async def test_the_sidecar_stays_in_its_namespace(wide: Installed) -> None:
    sidecar = await wide.somebody(SIDECAR)
    for deed in MAY[SIDECAR]:
        assert await sidecar.does(deed, await wide.body(deed)) < 300, deed
        assert await sidecar.does(replace(deed, where="other")) == 403, deed


# ---------------------------------------------------------------- people


async def test_a_viewer_reads_the_three_kinds(wide: Installed) -> None:
    for kind in KINDS:
        assert "it" in await wide.kubectl("get", kind, VIEWER)


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "aclaim", "it"),
        ("scale", "apool/it", "--replicas=5"),
        ("annotate", "apool", "it", "a=b"),
        ("get", "secrets"),
    ],
)
async def test_a_viewer_writes_nothing(wide: Installed, words: tuple[str, ...]) -> None:
    with pytest.raises(ServerRefused, match="cannot"):
        await wide.kubectl(*words, VIEWER)


async def test_an_editor_scales_pools_and_makes_and_releases_claims(wide: Installed) -> None:
    await wide.kubectl("apply", EDITOR, f"--filename={DEPLOY / 'examples'}")
    await wide.kubectl("scale", EDITOR, "apool/default", "--replicas=5")
    size = await wide.kubectl("get", EDITOR, "apool/default", "-o=jsonpath={.spec.minIdle}")
    await wide.kubectl("delete", EDITOR, "aclaim/tokyo-trip-planner", "--wait=false")
    assert size == "5"


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "ainst", "it"),
        ("annotate", "ainst", "it", "a=b"),
        ("patch", "aclaim", "it", "--subresource=status", "--type=merge", "--patch={}"),
        ("patch", "apool", "it", "--subresource=status", "--type=merge", "--patch={}"),
    ],
)
async def test_an_editor_writes_neither_instances_nor_statuses(
    wide: Installed, words: tuple[str, ...]
) -> None:
    with pytest.raises(ServerRefused, match=r"cannot (get|patch|delete)"):
        await wide.kubectl(*words, EDITOR)


async def test_the_roles_for_people_are_parts_of_kubernetes_own(wide: Installed) -> None:
    """Its controller manager adds up what carries these labels; there is none here."""
    for name, parts in (("view", "view edit admin"), ("edit", "edit admin")):
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/agent-pool-{name}"
        labels = (await wide.server.ask("GET", path))["metadata"]["labels"]
        marks = {k for k, v in labels.items() if k.startswith("rbac.") and v == "true"}
        assert marks == {f"rbac.authorization.k8s.io/aggregate-to-{p}" for p in parts.split()}


# ---------------------------------------------------------------- one secret by name


@pytest.mark.parametrize("where", ["own", "other"])
async def test_a_named_secret_is_read_and_no_other(wide: Installed, where: str) -> None:
    """By the two lines of deploy/examples/more/secret.yaml, wherever the pool and its Secret are."""
    controller, namespace = await wide.somebody(CONTROLLER), wide.namespaces[where]
    named = Deed("get", "secrets", "", "openai", where)
    in_it = f"--namespace={namespace}"
    await wide.server.kubectl("create", "secret", "generic", "openai", in_it)
    assert await controller.does(named) == 403
    for line in _lines_for_a_secret():
        words = line.replace("agent-pool:", f"{wide.namespaces['own']}:").split()[1:]
        await wide.server.kubectl(*words, in_it)
    assert await controller.does(named) == 200
    for refused in (replace(named, name=SOMEBODYS), replace(named, verb="list")):
        assert await controller.does(refused) == 403


def _lines_for_a_secret() -> list[str]:
    """`kubectl create role…` and `…rolebinding…`; the notes of kustomize say the same, word by word."""
    example = (DEPLOY / "examples" / "more" / "secret.yaml").read_text()
    lines = [line.strip("# ") for line in example.splitlines() if "kubectl create role" in line]
    notes = (DEPLOY / "kustomize" / "README.md").read_text()
    assert [line.replace("kubectl", "kubectl -n agent-pool") in notes for line in lines] == [
        True
    ] * 2
    return lines


async def test_the_example_of_a_secret_is_those_lines(wide: Installed) -> None:
    example = f"--filename={DEPLOY / 'examples' / 'more' / 'secret.yaml'}"
    given = await wide.kubectl("apply", example, "--dry-run=server", "--validate=strict", "-o=name")
    assert len(given.split()) == 3
    assert SECRET not in example
