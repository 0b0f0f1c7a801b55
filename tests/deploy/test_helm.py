"""The chart: it renders what kustomize builds, documents every value, and refuses what it does not know."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import CHART, ROOT, Helm, Json, Kustomize, Name, Refused

VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())
TWO = ("--set", "controller.replicas=2,api.replicas=2")
OURS = "app.kubernetes.io/"


def comparable(built: dict[Name, Json]) -> dict[Name, Json]:
    """Without what the two ways of installing may say differently: notes, labels, order of variables."""
    return {name: _comparable(each) for name, each in built.items() if name[0] != "Namespace"}


def _comparable(thing: Json) -> Json:
    labels = thing["metadata"].get("labels", {})
    told = {k: v for k, v in labels.items() if k in (f"{OURS}component", f"{OURS}part-of")}
    aggregated = {k: v for k, v in labels.items() if k.startswith("rbac.")}
    if thing["kind"] == "CustomResourceDefinition":
        told = {}
    if thing["kind"] == "Deployment":
        for container in thing["spec"]["template"]["spec"]["containers"]:
            container["env"].sort(key=lambda variable: variable["name"])
    if "rules" in thing:
        thing["rules"].sort(key=repr)
    return {**thing, "metadata": {"labels": told | aggregated}}


def leaves(values: Json, schema: Json, path: str = "") -> Iterator[tuple[str, Any, Json]]:
    """Every value that can be set: its path, its default, and what the schema says of it."""
    for name, value in values.items():
        here, said = f"{path}{name}", schema["properties"][name]
        if isinstance(value, dict) and "properties" in said and name != "resources":
            yield from leaves(value, said, f"{here}.")
        else:
            yield here, value, said


# ---------------------------------------------------------------- the same as kustomize


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("namespace", ()),
        ("cluster-wide", ("--set", "clusterWide=true")),
        ("high-availability", TWO),
    ],
)
async def test_the_chart_makes_what_the_overlay_makes(
    helm: Helm, kustomize: Kustomize, overlay: str, words: tuple[str, ...]
) -> None:
    charted = comparable(await helm.chart(*words))
    secret = charted.pop(("Secret", "agent-pool-installation"))
    built = comparable(await kustomize.overlay(overlay))
    assert secret["immutable"]
    assert charted.keys() == built.keys()
    for name, each in built.items():
        assert charted[name] == each


def test_its_crds_are_those_that_are_printed() -> None:
    printed = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    held = {path.name: path.read_text() for path in (CHART / "files" / "crds").iterdir()}
    mend = "print them anew: agent-pool crds --output-dir deploy/helm/agent-pool/files/crds"
    assert held == printed, mend


async def test_what_must_outlive_a_release_is_kept(helm: Helm) -> None:
    charted = await helm.chart()
    kept = {
        name
        for name, each in charted.items()
        if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    crds = {name for name in charted if name[0] == "CustomResourceDefinition"}
    assert len(crds) == 3
    assert kept == {*crds, ("Secret", "agent-pool-installation")}


# ---------------------------------------------------------------- values


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    table = (CHART / "README.md").read_text().split("## Values")[1]
    rows = re.findall(r"^\| `(\S+)` \| `(.*)` \| (.+) \|$", table, flags=re.MULTILINE)
    told = {path: (json.loads(default), text) for path, default, text in rows}
    wanted = {path: (v, said["description"]) for path, v, said in leaves(VALUES, SCHEMA)}
    assert told == wanted


def test_the_schema_knows_no_value_that_has_no_default() -> None:
    def unsaid(schema: Json, values: Json, path: str = "") -> Iterator[str]:
        for name, said in schema.get("properties", {}).items():
            if name not in values:
                yield f"{path}{name}"
            elif isinstance(values[name], dict):
                yield from unsaid(said, values[name], f"{path}{name}.")

    assert list(unsaid(SCHEMA, VALUES)) == ["global"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("controler.replicas=2", "controler"),
        ("controller.replicas=-1", "replicas"),
        ("controller.replicas=two", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("api.service.type=ExternalName", "type"),
        ("readableSecrets={A_B}", "readableSecrets"),
        ("secrets.railway=", "railway"),
        ("logLevel=loud", "logLevel"),
        ("api.env[0].name=HOST", "env[/.]0[/.]name"),
    ],
)
async def test_a_bad_value_is_refused_by_name(helm: Helm, words: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        await helm.text("--set", words)


async def test_it_passes_helms_own_lint(helm: Helm) -> None:
    said = await helm("lint", "--strict", CHART)
    assert "0 chart(s) failed" in said


async def test_the_image_is_what_the_values_say(helm: Helm) -> None:
    charted = await helm.chart("--set", "image.repository=example/agents,image.tag=v7")
    images = {
        container["image"]
        for each in charted.values()
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"example/agents:v7"}


@pytest.mark.parametrize(
    ("value", "kind", "names"),
    [
        ("crds.install", "CustomResourceDefinition", 3),
        ("people.install", "ClusterRole", 2),
        ("installationSecret.create", "Secret", 1),
        ("networkPolicy.install", "NetworkPolicy", 2),
        ("api.install", "Service", 1),
    ],
)
async def test_parts_can_be_left_out(helm: Helm, value: str, kind: str, names: int) -> None:
    whole, less = await helm.chart(), await helm.chart("--set", f"{value}=false")
    assert sum(found == kind for found, _ in whole) == names
    assert sum(found == kind for found, _ in less) == 0


async def test_without_the_sidecar_nothing_of_it_is_left(helm: Helm) -> None:
    charted = await helm.chart(*TWO, "--set", "api.install=false")
    assert [name for name in charted if name[1] == "agent-pool-api"] == []


async def test_readable_secrets_are_read_by_name_and_only_read(helm: Helm) -> None:
    charted = await helm.chart("--set", "readableSecrets={openai,mail}")
    assert charted["Role", "agent-pool-secrets"]["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["openai", "mail"],
            "verbs": ["get"],
        }
    ]


async def test_where_pods_run_can_be_said(helm: Helm) -> None:
    said = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "priorityClassName": "high",
    }
    words = [f"--set-json=controller.{name}={json.dumps(value)}" for name, value in said.items()]
    charted = await helm.chart(*words)
    pod = charted["Deployment", "agent-pool-controller"]["spec"]["template"]["spec"]
    assert {name: pod[name] for name in said} == said
