"""The overlays as kustomize builds them: what is in each, and what an overlay of one's own gets."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import (
    DEPLOY,
    NAMESPACE,
    OVERLAYS,
    ROOT,
    Json,
    Kustomize,
    by_name,
    objects,
)

EACH = sorted(path.name for path in OVERLAYS.iterdir())
CLUSTER_SCOPED = {
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
}


def container(deployment: Json) -> Json:
    found: list[Json] = deployment["spec"]["template"]["spec"]["containers"]
    assert len(found) == 1
    return found[0]


def variables(deployment: Json) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(deployment)["env"]}


def test_the_three_overlays_are_there() -> None:
    assert EACH == ["cluster-wide", "high-availability", "namespace"]


async def test_the_crds_are_those_that_are_printed(kustomize: Kustomize) -> None:
    built = await kustomize.overlay("namespace")
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        printed = yaml.safe_load(path.read_text())
        found = built.pop((printed["kind"], printed["metadata"]["name"]))
        assert found["spec"] == printed["spec"]
        assert found["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    assert not [name for name in built if name[0] == "CustomResourceDefinition"]


@pytest.mark.parametrize("overlay", EACH)
async def test_all_of_an_overlay_is_in_its_namespace(kustomize: Kustomize, overlay: str) -> None:
    built = (await kustomize.overlay(overlay)).values()
    namespaced = [each for each in built if each["kind"] not in CLUSTER_SCOPED]
    assert {each["metadata"].get("namespace") for each in namespaced} == {NAMESPACE}
    subjects = [s for each in built for s in each.get("subjects", ())]
    assert {s["namespace"] for s in subjects} == {NAMESPACE}


@pytest.mark.parametrize("overlay", EACH)
async def test_everything_is_labelled(kustomize: Kustomize, overlay: str) -> None:
    built = await kustomize.overlay(overlay)
    ours = {n: o for n, o in built.items() if n[0] not in ("Namespace", "CustomResourceDefinition")}
    labels = {name: each["metadata"].get("labels", {}) for name, each in ours.items()}
    parts = {name: told.get("app.kubernetes.io/part-of") for name, told in labels.items()}
    assert set(parts.values()) == {"agent-pool"}, parts


@pytest.mark.parametrize("overlay", EACH)
async def test_selectors_find_the_pods(kustomize: Kustomize, overlay: str) -> None:
    built = await kustomize.overlay(overlay)
    pods = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for (kind, name), each in built.items()
        if kind == "Deployment"
    }
    assert set(pods) == {"agent-pool-controller", "agent-pool-api"}
    for (kind, name), each in built.items():
        selector = each.get("spec", {}).get(
            "selector" if kind != "NetworkPolicy" else "podSelector"
        )
        if kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"):
            wanted = selector.get("matchLabels", selector)
            assert [p for p, has in pods.items() if wanted.items() <= has.items()] == [name]


async def test_a_namespace_alone_is_served_by_one_of_each(kustomize: Kustomize) -> None:
    built = await kustomize.overlay("namespace")
    controller = built["Deployment", "agent-pool-controller"]
    sidecar = built["Deployment", "agent-pool-api"]
    own = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert [each["spec"]["replicas"] for each in (controller, sidecar)] == [1, 1]
    assert variables(controller)["POOL_NAMESPACE"] == variables(sidecar)["POOL_NAMESPACE"] == own
    assert "ClusterRoleBinding" not in {kind for kind, _ in built}


async def test_cluster_wide_is_the_controller_alone(kustomize: Kustomize) -> None:
    built = await kustomize.overlay("cluster-wide")
    assert variables(built["Deployment", "agent-pool-controller"])["POOL_NAMESPACE"] == "*"
    assert variables(built["Deployment", "agent-pool-api"])["POOL_NAMESPACE"] != "*"
    bound = {name for kind, name in built if kind == "ClusterRoleBinding"}
    assert bound == {"agent-pool-controller"}


async def test_cluster_wide_gives_the_same_rules_in_two_places(kustomize: Kustomize) -> None:
    alone = await kustomize.overlay("namespace")
    wide = await kustomize.overlay("cluster-wide")
    name = "agent-pool-controller"
    both = [*wide["ClusterRole", name]["rules"], *wide["Role", name]["rules"]]
    assert sorted(map(repr, both)) == sorted(map(repr, alone["Role", name]["rules"]))
    groups = {group for rule in wide["ClusterRole", name]["rules"] for group in rule["apiGroups"]}
    assert groups == {"pool.convos.org", "events.k8s.io"}


async def test_high_availability_has_two_and_keeps_one(kustomize: Kustomize) -> None:
    built = await kustomize.overlay("high-availability")
    for name in ("agent-pool-controller", "agent-pool-api"):
        spec = built["Deployment", name]["spec"]
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert spec["replicas"] == 2
        assert built["PodDisruptionBudget", name]["spec"]["minAvailable"] == 1
        assert {each["topologyKey"] for each in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }


async def test_an_overlay_of_ones_own_moves_everything(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    text = await kustomize.elsewhere(tmp_path, "mine", "cluster-wide", "high-availability")
    built = by_name(objects(text))
    subjects = [s for each in built.values() for s in each.get("subjects", ())]
    placed = {each["metadata"].get("namespace", "mine") for each in built.values()}
    deployments = [each for (kind, _), each in built.items() if kind == "Deployment"]
    assert {s["namespace"] for s in subjects} == placed == {"mine"}
    assert ("Namespace", "mine") in built
    assert {container(each)["image"] for each in deployments} == {"mine/agent-pool:7"}
    assert [each["spec"]["replicas"] for each in deployments] == [2, 2]


async def test_no_secret_is_shipped(kustomize: Kustomize) -> None:
    for overlay in EACH:
        assert "Secret" not in {kind for kind, _ in await kustomize.overlay(overlay)}


async def test_only_the_ports_that_are_named_are_let_through(kustomize: Kustomize) -> None:
    built = await kustomize.overlay("namespace")

    def ports(name: str, way: str) -> set[int]:
        rules = built["NetworkPolicy", name]["spec"][way]
        return {port["port"] for rule in rules for port in rule["ports"]}

    for name in ("agent-pool-controller", "agent-pool-api"):
        assert built["NetworkPolicy", name]["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert ports(name, "egress") == {53, 443, 6443}
    assert ports("agent-pool-controller", "ingress") == {9102}
    assert ports("agent-pool-api", "ingress") == {3001, 9101}


async def test_the_pods_name_the_ports_that_the_processes_listen_on(kustomize: Kustomize) -> None:
    from api.settings import BY_NAME

    built = await kustomize.overlay("namespace")
    wanted = {
        "agent-pool-controller": {"ops": "CONTROLLER_OPS_PORT"},
        "agent-pool-api": {"http": "PORT", "ops": "API_OPS_PORT"},
    }
    for name, settings in wanted.items():
        deployment = built["Deployment", name]
        named = {p["name"]: str(p["containerPort"]) for p in container(deployment)["ports"]}
        assert named == {port: BY_NAME[setting].default for port, setting in settings.items()}
        notes = deployment["spec"]["template"]["metadata"]["annotations"]
        assert notes["prometheus.io/port"] == named["ops"]


async def test_the_pods_are_told_nothing_that_is_no_setting(kustomize: Kustomize) -> None:
    from api.settings import BY_NAME

    built = await kustomize.overlay("namespace")
    for name, reader in (("agent-pool-controller", "controller"), ("agent-pool-api", "api")):
        for variable in variables(built["Deployment", name]):
            assert reader in BY_NAME[variable].readers


def test_the_rules_of_the_base_can_be_applied_as_they_are() -> None:
    """`agent-pool up` applies this file by itself, into the namespace `default`."""
    things = objects((DEPLOY / "kustomize" / "base" / "rbac.yaml").read_text())
    kinds = sorted(each["kind"] for each in things)
    assert kinds == sorted(["ServiceAccount", "Role", "RoleBinding"] * 2)
    assert {s["namespace"] for each in things for s in each.get("subjects", ())} == {"default"}
