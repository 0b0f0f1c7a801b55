"""Leases of coordination.k8s.io/v1, and the Secret that says which installation this is."""

import base64
import binascii
from datetime import datetime

from api.kubernetes.client import Api, Json
from api.records import AlreadyExists, Conflict, Installation, Lease, NotFound, RecordsError
from api.records.moving import INSTALLATION
from api.types import Key

SECRET = INSTALLATION  # Its name.
SECRET_MIN_BYTES = 32
OURS = (
    "app.kubernetes.io/part-of",
    "agent-pool",
)  # The label of our leases: others live beside them.
LEASES_OF_OURS = "=".join(OURS)
DURATION_S = 5  # What the elector waits for; told for those who read the Lease.
_MAKE = (
    f"kubectl create secret generic {SECRET} --from-literal=ownerId=$(openssl rand -hex 8)"
    " --from-literal=instanceSecret=$(openssl rand -hex 32)"
)


async def installation(api: Api, namespace: str) -> Installation:
    """Owner id and instance secret. Raises RecordsError with the command that makes them."""
    try:
        found = await api.get(f"/api/v1/namespaces/{namespace}/secrets/{SECRET}")
    except NotFound:
        said = f"the Secret {namespace}/{SECRET} does not exist; make it: {_MAKE} -n {namespace}"
        raise RecordsError(said) from None
    try:
        data = found.get("data") or {}
        owner, secret = (base64.b64decode(data[k]) for k in ("ownerId", "instanceSecret"))
    except (KeyError, binascii.Error):
        raise RecordsError(f"the Secret {SECRET} lacks ownerId or instanceSecret") from None
    if len(secret) < SECRET_MIN_BYTES:
        raise RecordsError(f"instanceSecret of the Secret {SECRET} is shorter than 32 bytes")
    return Installation(owner.decode(), secret)


async def secret(api: Api, name: Key, key: str) -> str:
    """Raises NotFound where there is no such Secret, or no such key in it."""
    found = await api.get(f"/api/v1/namespaces/{name.namespace}/secrets/{name.name}")
    try:
        return base64.b64decode((found.get("data") or {})[key]).decode()
    except (KeyError, ValueError):
        raise NotFound(f"the Secret {name} has no text at {key}") from None


async def read(api: Api, namespace: str, name: str) -> Lease:
    """Of nobody where it was never taken."""
    try:
        return _lease(name, await api.get(_path(namespace, name)))
    except NotFound:
        return Lease(name)


async def write(api: Api, namespace: str, read: Lease, holder: str, now: datetime) -> Lease:
    """Take, renew or give up. Raises Conflict."""
    at = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec: Json = {"leaseDurationSeconds": DURATION_S, "renewTime": at}
    if holder:
        spec["holderIdentity"] = holder
    meta: Json = {"name": read.name, "namespace": namespace, "labels": dict([OURS])}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
    try:
        if not read.version:
            return _lease(read.name, await api.create(_path(namespace), body))
        meta["resourceVersion"] = str(read.version)
        return _lease(read.name, await api.replace(_path(namespace, read.name), body))
    except (AlreadyExists, NotFound):
        raise Conflict(f"lease {read.name} has changed") from None


def _lease(name: str, found: Json) -> Lease:
    holder = found["spec"].get("holderIdentity") or ""
    return Lease(name, holder, int(found["metadata"]["resourceVersion"]))


def _path(namespace: str, name: str = "") -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{path}/{name}" if name else path
