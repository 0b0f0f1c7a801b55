"""Installed for real, on servers of their own: by the notes of kustomize, and by Helm all its life long."""

import re
import secrets
from pathlib import Path

import pytest

from api.kubernetes.config import find_cluster
from api.records import Installation
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_leases import SECRET
from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries
from tests.deploy.rendered import CHART, DEPLOY, NAMESPACE, Helm, Refused, run

IN = f"--namespace={NAMESPACE}"
NOTES = DEPLOY / "kustomize" / "README.md"


def lines_of(section: str) -> str:
    """The commands of a section of the notes, with random values made here instead of by openssl."""
    text = NOTES.read_text().split(f"## {section}")[1].split("\n## ")[0]
    found = re.search(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    assert found
    return re.sub(
        r"\$\(openssl rand -hex (\d+)\)", lambda n: secrets.token_hex(int(n[1])), found[1]
    )


async def who(server: LocalApiServer) -> Installation:
    """Which installation the controller finds that it is, by its own token."""
    kubeconfig = await server.kubeconfig_of(NAMESPACE, "agent-pool-controller")
    cluster = find_cluster({"KUBECONFIG": str(kubeconfig)})
    records = KubernetesRecords(cluster, scope=NAMESPACE, home=cluster.namespace)
    try:
        return await records.installation()
    finally:
        await records.close()


async def test_the_notes_of_kustomize_install_it(
    own_api_server: LocalApiServer, binaries: Binaries
) -> None:
    server = own_api_server
    shell = {
        "KUBECONFIG": str(server.kubeconfig),
        "PATH": f"{binaries.kubectl.parent}:/usr/bin:/bin",
    }
    await run("sh", "-euc", lines_of("Install"), env=shell)
    await run("sh", "-euc", lines_of("Who may do what"), env=shell)
    found = await who(server)
    assert re.fullmatch(r"[0-9a-f]{16}", found.owner_id)
    assert len(found.instance_secret) == 64
    named = await server.kubectl("get", "apool,aclaim,role", IN, "-o=name")
    assert "agentclaim.pool.convos.org/tokyo-trip-planner" in named
    assert "agent-pool-secret-openai" in named


async def test_helm_installs_upgrades_and_uninstalls_and_what_must_stay_stays(
    own_api_server: LocalApiServer, helm_program: Path, tmp_path: Path
) -> None:
    server, helm = own_api_server, Helm(helm_program, tmp_path, own_api_server.kubeconfig)
    release = ("agent-pool", CHART, "-n", NAMESPACE)
    said = await helm("install", *release, "--create-namespace")
    assert "create secret generic agent-pool-railway" in said
    first = await who(server)
    await server.kubectl("apply", IN, f"--filename={DEPLOY / 'examples'}")

    await helm("upgrade", *release, "--set", "controller.replicas=2")
    replicas = ("get", "deployment/agent-pool-controller", IN, "-o=jsonpath={.spec.replicas}")
    assert await server.kubectl(*replicas) == "2"
    assert await who(server) == first

    await helm("uninstall", "agent-pool", "-n", NAMESPACE)
    left = (await server.kubectl("get", "apool,aclaim,deployment,secret", IN, "-o=name")).split()
    assert left == [
        "agentpool.pool.convos.org/default",
        "agentclaim.pool.convos.org/tokyo-trip-planner",
        f"secret/{SECRET}",
    ]

    await helm("install", *release)
    assert await who(server) == first


async def test_helm_leaves_a_secret_alone_that_was_brought_along(
    own_api_server: LocalApiServer, helm_program: Path, tmp_path: Path
) -> None:
    server, helm = own_api_server, Helm(helm_program, tmp_path, own_api_server.kubeconfig)
    brought = Installation("of-another-store", secrets.token_hex(32).encode())
    literals = (f"ownerId={brought.owner_id}", f"instanceSecret={brought.instance_secret.decode()}")
    await server.kubectl("create", "namespace", NAMESPACE)
    words = [f"--from-literal={literal}" for literal in literals]
    await server.kubectl("create", "secret", "generic", SECRET, IN, *words)
    for verb in ("install", "upgrade"):
        await helm(verb, "agent-pool", CHART, "-n", NAMESPACE)
        assert await who(server) == brought
    await helm("uninstall", "agent-pool", "-n", NAMESPACE)
    assert await who_was(server) == brought.owner_id


async def test_a_tool_that_renders_without_looking_is_refused_a_new_identity(
    own_api_server: LocalApiServer, helm_program: Path, tmp_path: Path
) -> None:
    server, helm = own_api_server, Helm(helm_program, tmp_path, own_api_server.kubeconfig)
    await helm("install", "agent-pool", CHART, "-n", NAMESPACE, "--create-namespace")
    first = await who(server)
    blind = await Helm(helm_program, tmp_path).text()
    apply = ("apply", "--server-side", "--force-conflicts", "--filename=-")
    with pytest.raises(ServerRefused, match="field is immutable when `immutable` is set"):
        await server.kubectl(*apply, stdin=blind)
    assert await who(server) == first


async def test_a_second_release_in_a_namespace_is_refused(
    own_api_server: LocalApiServer, helm_program: Path, tmp_path: Path
) -> None:
    helm = Helm(helm_program, tmp_path, own_api_server.kubeconfig)
    await helm("install", "agent-pool", CHART, "-n", NAMESPACE, "--create-namespace")
    with pytest.raises(Refused, match="cannot be imported into the current release"):
        await helm("install", "another", CHART, "-n", NAMESPACE)
    shared = "crds.install=false,people.install=false"
    await helm("install", "another", CHART, "-n", "b", "--create-namespace", "--set", shared)


async def who_was(server: LocalApiServer) -> str:
    """The owner id, where no service account is left to ask for it."""
    words = ("get", f"secret/{SECRET}", IN, "-o=go-template={{.data.ownerId | base64decode}}")
    return await server.kubectl(*words)
