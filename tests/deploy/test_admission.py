"""The real server takes what is shipped, strictly; its pods pass Pod Security, and worse ones do not."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from tests.cluster import make_namespace
from tests.deploy.rendered import DEPLOY, NAMESPACE, OVERLAYS, Helm, Json, Kustomize, objects

EACH = sorted(path.name for path in OVERLAYS.iterdir())
STRICTLY = ("--server-side", "--dry-run=server", "--validate=strict", "--output=name")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
CHARTS = {
    "as it is": (),
    "cluster-wide": ("--set", "clusterWide=true"),
    "two of each": ("--set", "controller.replicas=2,api.replicas=2"),
    "all that can be said": (
        "--set",
        "imagePullSecrets[0].name=a,readableSecrets={b,c},controller.priorityClassName=d,"
        "controller.podAnnotations.e=f,controller.nodeSelector.g=h,controller.env[0].name=PROBE_INTERVAL,"
        "controller.env[0].value=10s,controller.tolerations[0].operator=Exists,"
        "api.service.type=NodePort,api.service.annotations.i=j,host=::,image.tag=v2",
    ),
    "as little as can be": (
        "--set",
        "crds.install=false,people.install=false,networkPolicy.install=false,api.install=false,"
        "installationSecret.create=false",
    ),
}


async def the_namespace(server: LocalApiServer) -> None:
    """The one that the overlays make, as they make it: labelled `restricted`."""
    await server.apply(OVERLAYS / "namespace" / "namespace.yaml")


@pytest.mark.parametrize("overlay", EACH)
async def test_each_overlay_is_taken_as_it_is_shipped(
    api_server: LocalApiServer, overlay: str
) -> None:
    await the_namespace(api_server)
    taken = await api_server.kubectl("apply", *STRICTLY, f"--kustomize={OVERLAYS / overlay}")
    assert len(taken.split()) >= 17


@pytest.mark.parametrize("words", CHARTS.values(), ids=CHARTS)
async def test_the_chart_is_taken_with_whatever_values(
    api_server: LocalApiServer, helm: Helm, words: tuple[str, ...]
) -> None:
    await the_namespace(api_server)
    text = await helm.text(*words)
    taken = await api_server.kubectl("apply", *STRICTLY, "--filename=-", stdin=text)
    assert len(taken.split()) == len(objects(text))


async def test_strictly_means_that_a_typing_error_is_refused(
    api_server: LocalApiServer, kustomize: Kustomize
) -> None:
    await the_namespace(api_server)
    text = (await kustomize.text(OVERLAYS / "namespace")).replace("revisionHistoryLimit", "history")
    with pytest.raises(ServerRefused, match=r"unknown field|field not declared"):
        await api_server.kubectl("apply", *STRICTLY, "--filename=-", stdin=text)


# ---------------------------------------------------------------- Pod Security


async def pods(kustomize: Kustomize, helm: Helm) -> list[Json]:
    """A pod of every Deployment that is shipped, as its ReplicaSet would make it."""
    texts = [await kustomize.text(OVERLAYS / overlay) for overlay in EACH]
    texts += [await helm.text(*words) for words in CHARTS.values()]
    templates = [
        thing["spec"]["template"]
        for text in texts
        for thing in objects(text)
        if thing["kind"] == "Deployment"
    ]
    return [{**each, "metadata": {"generateName": "it-"}} for each in templates]


async def let_in(server: LocalApiServer, namespace: str, pod: Json) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
    await server.ask("POST", path, pod)


async def test_every_pod_is_let_into_a_restricted_namespace(
    api_server: LocalApiServer, kustomize: Kustomize, helm: Helm
) -> None:
    namespace = await make_namespace(api_server, RESTRICTED)
    made = await pods(kustomize, helm)
    assert len(made) == 2 * len(EACH) + 2 * len(CHARTS) - 1
    for pod in made:
        pod["spec"].pop("priorityClassName", None)  # There is none of that name here.
        await let_in(api_server, namespace, pod)


def _in(*path: str | int) -> Callable[[Json, Any], None]:
    def change(pod: Json, value: Any) -> None:
        *above, last = path
        place: Any = pod["spec"]
        for each in above:
            place = place[each]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        (_in("securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (_in("securityContext", "seccompProfile"), None, "seccompProfile"),
        (_in("containers", 0, "securityContext", "capabilities"), None, "capabilities"),
        (
            _in("containers", 0, "securityContext", "allowPrivilegeEscalation"),
            True,
            "allowPrivilegeEscalation",
        ),
        (_in("hostNetwork"), True, "host"),
    ],
)
async def test_the_admission_is_real(
    api_server: LocalApiServer,
    kustomize: Kustomize,
    change: Callable[[Json, Any], None],
    value: Any,
    said: str,
) -> None:
    namespace = await make_namespace(api_server, RESTRICTED)
    built = await kustomize.overlay("namespace")
    template = built["Deployment", "agent-pool-controller"]["spec"]["template"]
    pod = copy.deepcopy({**template, "metadata": {"name": "it"}})
    change(pod, value)
    with pytest.raises(ServerRefused, match=f'violates PodSecurity "restricted:latest".*{said}'):
        await let_in(api_server, namespace, pod)


async def test_the_overlays_namespace_asks_for_restricted_pods(api_server: LocalApiServer) -> None:
    await the_namespace(api_server)
    naked = {
        "metadata": {"name": "it"},
        "spec": {"containers": [{"name": "a", "image": "agent-pool:0.1.0"}]},
    }
    with pytest.raises(ServerRefused, match="violates PodSecurity"):
        await let_in(api_server, NAMESPACE, naked)


async def test_pods_write_nowhere_and_say_what_they_need(kustomize: Kustomize, helm: Helm) -> None:
    for pod in await pods(kustomize, helm):
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"].keys() == {"requests", "limits"}
        assert all(set(each) == {"cpu", "memory"} for each in container["resources"].values())
        assert {"readinessProbe", "livenessProbe"} <= container.keys()


async def test_the_examples_are_taken_too(api_server: LocalApiServer) -> None:
    await the_namespace(api_server)
    await api_server.apply(DEPLOY.parent / "crds")
    for folder in (DEPLOY / "examples", DEPLOY / "examples" / "more"):
        words = ("--filename", str(folder), "--namespace", NAMESPACE)
        assert await api_server.kubectl("apply", *STRICTLY, *words)
