"""Where the API server is and who we are there: a kubeconfig, or the service account of a pod."""

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from api.settings import SettingError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One API server as one user sees it. `token()` reads anew what a rotation may have changed."""

    server: str
    tls: ssl.SSLContext = field(repr=False)
    token: Callable[[], str] = field(repr=False)  # "" where a certificate says who we are.
    namespace: str = "default"


def find_cluster(environ: Mapping[str, str]) -> Cluster:
    """KUBECONFIG, else the pod's service account, else ~/.kube/config. Raises SettingError."""
    if named := environ.get("KUBECONFIG", "").strip():
        return from_kubeconfig(Path(named.split(os.pathsep)[0]))
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return from_pod(environ)
    usual = Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"
    if usual.exists():
        return from_kubeconfig(usual)
    raise SettingError(
        "KUBECONFIG", "is not set, and this is no pod: set it to the file that kubectl uses"
    )


def from_pod(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Cluster:
    """The service account that the kubelet mounts; its token is rotated, so it is read at each use."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    try:
        namespace = (folder / "namespace").read_text().strip()
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except OSError:
        raise SettingError(
            "KUBECONFIG",
            f"is not set, and {folder} has no service account: set automountServiceAccountToken",
        ) from None
    return Cluster(f"https://{host}:{port}", tls, _reader(folder / "token"), namespace)


def from_kubeconfig(path: Path) -> Cluster:
    """The file's current context. Raises SettingError with what is missing in it."""
    try:
        data = yaml.safe_load(path.read_text())
    except OSError:
        raise SettingError("KUBECONFIG", f"{path} cannot be read") from None
    except yaml.YAMLError:
        raise SettingError("KUBECONFIG", f"{path} is not YAML") from None
    file = _File(path, data if isinstance(data, dict) else {})
    context = file.entry("contexts", "context", str(file.data.get("current-context", "")))
    cluster = file.entry("clusters", "cluster", str(context.get("cluster", "")))
    user = file.entry("users", "user", str(context.get("user", "")))
    if "exec" in user or "auth-provider" in user:
        raise file.wrong("users.user.exec is not supported: use a token or a client certificate")
    if not cluster.get("server"):
        raise file.wrong("clusters.cluster.server is missing")
    return Cluster(
        str(cluster["server"]).rstrip("/"),
        file.tls(cluster, user),
        file.token(user),
        str(context.get("namespace") or "default"),
    )


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    data: dict[str, Any] = field(repr=False)

    def wrong(self, what: str) -> SettingError:
        return SettingError("KUBECONFIG", f"{self.path}: {what}")

    def entry(self, kinds: str, kind: str, name: str) -> dict[str, Any]:
        """The named one of these, e.g. of `clusters` the one of the context."""
        for each in self.data.get(kinds) or ():
            if each.get("name") == name and isinstance(each.get(kind), dict):
                return dict(each[kind])
        raise self.wrong(f"{kinds} has no {name!r}; set current-context to one that is there")

    def tls(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
        """Which authority is trusted, and our own certificate where there is one."""
        authority = self._bytes(cluster, "certificate-authority")
        try:
            tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
            certificate, key = (self._bytes(user, n) for n in ("client-certificate", "client-key"))
            if certificate and key:
                _load(tls, certificate + b"\n" + key)
        except (ssl.SSLError, ValueError):
            raise self.wrong("a certificate in it cannot be read") from None
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        return tls

    def token(self, user: Mapping[str, Any]) -> Callable[[], str]:
        if user.get("tokenFile"):
            return _reader(self.path.parent / str(user["tokenFile"]))
        token = str(user.get("token", ""))
        return lambda: token

    def _bytes(self, of: Mapping[str, Any], name: str) -> bytes:
        """`name-data` in base64, or the file that `name` is the path of."""
        try:
            if inline := of.get(f"{name}-data"):
                return base64.b64decode("".join(str(inline).split()), validate=True)
            return (self.path.parent / str(of[name])).read_bytes() if of.get(name) else b""
        except (OSError, ValueError):
            raise self.wrong(f"{name} cannot be read") from None


def _load(tls: ssl.SSLContext, pem: bytes) -> None:
    """Python's ssl takes a certificate from a file alone: one that only we can read, for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        tls.load_cert_chain(path)


def _reader(path: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return path.read_text().strip()
        except OSError:
            return ""  # The server refuses, and says so better than we could.

    return read
