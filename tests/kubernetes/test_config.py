"""Where the API server is: kubeconfigs as kubectl reads them, a pod's service account, and what is wrong."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.kubernetes.config import Cluster, find_cluster, from_kubeconfig, from_pod
from api.settings import SettingError
from controller.local.certificates import Certificates

Write = Callable[..., Path]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.kept_in(tmp_path / "pki")


@pytest.fixture
def write(tmp_path: Path, certificates: Certificates) -> Write:
    """A kubeconfig with this user and these changes to its parts."""

    def written(user: dict[str, Any], **changes: Any) -> Path:
        cluster = {"server": "https://there:6443/", "certificate-authority": str(certificates.ca)}
        parts = {
            "current-context": "c",
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "b", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "b"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(parts | changes))
        return path

    return written


def test_its_current_context_says_where_and_who(write: Write) -> None:
    cluster = from_kubeconfig(write({"token": "t"}))
    assert (cluster.server, cluster.namespace) == ("https://there:6443", "default")
    assert cluster.token() == "t"
    assert "'t'" not in repr(cluster)
    named = [{"name": "c", "context": {"cluster": "a", "user": "b", "namespace": "mine"}}]
    assert from_kubeconfig(write({}, contexts=named)).namespace == "mine"


def test_a_file_of_a_token_is_read_at_each_use_and_may_be_beside_it(
    write: Write, tmp_path: Path
) -> None:
    cluster = from_kubeconfig(write({"tokenFile": "token"}))
    assert cluster.token() == ""  # The server refuses, and says so.
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert cluster.token() == token


@pytest.mark.parametrize("inline", [True, False])
def test_a_certificate_may_be_inline_or_a_file(
    write: Write, certificates: Certificates, inline: bool
) -> None:
    user: dict[str, str] = {}
    for name, path in zip(("certificate", "key"), certificates.admin, strict=True):
        data = base64.b64encode(path.read_bytes()).decode()
        user[f"client-{name}{'-data' if inline else ''}"] = data if inline else str(path)
    assert from_kubeconfig(write(user)).token() == ""


@pytest.mark.parametrize(
    ("user", "changes", "told"),
    [
        ({"exec": {"command": "aws"}}, {}, "exec is not supported"),
        ({}, {"current-context": "other"}, "contexts has no 'other'"),
        ({}, {"users": []}, "users has no 'b'"),
        ({}, {"clusters": [{"name": "a", "cluster": {"x": 1}}]}, r"clusters.cluster.server is missing"),
        ({"client-certificate": "nowhere", "client-key": "nowhere"}, {}, "cannot be read"),
        ({"client-certificate-data": "%", "client-key-data": "%"}, {}, "cannot be read"),
        ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, {}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_told_with_its_path(
    write: Write, user: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingError, match=rf"KUBECONFIG: .*kubeconfig: .*{told}"):
        from_kubeconfig(write(user, **changes))


@pytest.mark.parametrize(("text", "told"), [("{", "is not YAML"), ("[]", "contexts has no")])
def test_what_is_no_kubeconfig_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "it"
    with pytest.raises(SettingError, match="cannot be read"):
        from_kubeconfig(path)
    path.write_text(text)
    with pytest.raises(SettingError, match=told):
        from_kubeconfig(path)


def a_pod(folder: Path, certificates: Certificates) -> Path:
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificates.ca.read_bytes())
    (folder / "namespace").write_text("agents\n")
    (folder / "token").write_text("of the pod\n")
    return folder


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pod_speaks_as_its_service_account(
    tmp_path: Path, certificates: Certificates, host: str, url: str
) -> None:
    folder = a_pod(tmp_path / "mounted", certificates)
    cluster = from_pod({"KUBERNETES_SERVICE_HOST": host}, folder)
    assert (cluster.server, cluster.namespace, cluster.token()) == (url, "agents", "of the pod")
    (folder / "token").write_text("rotated")
    assert cluster.token() == "rotated"


def test_a_pod_without_a_service_account_is_told_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="automountServiceAccountToken"):
        from_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path / "nothing")


def test_the_variable_comes_first_then_the_pod_then_the_usual_place(
    write: Write, tmp_path: Path
) -> None:
    path = write({"token": "t"})
    first: Cluster = find_cluster({"KUBECONFIG": f"{path}:{tmp_path / 'other'}"})
    assert first.server == "https://there:6443"
    with pytest.raises(SettingError, match="no service account"):
        find_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOME": str(tmp_path)})
    with pytest.raises(SettingError, match="this is no pod"):
        find_cluster({"HOME": str(tmp_path)})
    (tmp_path / ".kube").mkdir()
    path.rename(tmp_path / ".kube" / "config")
    assert find_cluster({"HOME": str(tmp_path)}).server == "https://there:6443"
