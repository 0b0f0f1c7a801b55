"""Records as objects of the API server, and back: paths, JSON, and merge patches that hold a change alone."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api.kubernetes.client import Json
from api.records import KindName, Thing
from api.records.moving import CREATED, created_at
from api.types import API_VERSION, AgentClaim, AgentInstance, AgentPool, Key, Kind

log = logging.getLogger(__name__)

PLURALS: dict[KindName, str] = {
    "AgentPool": "agentpools",
    "AgentClaim": "agentclaims",
    "AgentInstance": "agentinstances",
}
CLASSES: dict[str, type[AgentPool] | type[AgentClaim] | type[AgentInstance]] = {
    "agentpools": AgentPool,
    "agentclaims": AgentClaim,
    "agentinstances": AgentInstance,
}
_META = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "labels",
    "annotations",
)
_APPLIED = (
    "kubectl.kubernetes.io/last-applied-configuration"  # Holds what was applied, instructions too.
)


def path_of(plural: str, namespace: str | None, name: str = "", part: str = "") -> str:
    """Of a collection or one object; `namespace` None: of all namespaces; `part`: `status`."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(p for p in (f"/apis/{API_VERSION}{where}/{plural}", name, part) if p)


def object_path(thing: Kind, part: str = "") -> str:
    meta = thing.metadata
    return path_of(PLURALS[thing.kind], meta.namespace, meta.name, part)


def key_in(found: Json) -> Key:
    return Key(found["metadata"].get("namespace", ""), found["metadata"]["name"])


def version_of(thing: Kind) -> int:
    """Versions of one kind are ordered (Kubernetes 1.35)."""
    return int(thing.metadata.resource_version or 0)


def parse(cls: type[Thing], found: Json) -> Thing:
    """What the server holds. Fields that a newer release may have added are left unread. ValueError."""
    meta = {k: v for k, v in found["metadata"].items() if k in _META}
    if _APPLIED in meta.get("annotations", {}):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != _APPLIED}
    if CREATED in meta.get("annotations", {}):
        stored = datetime.fromisoformat(meta["creationTimestamp"])
        meta["creationTimestamp"] = created_at(meta["annotations"][CREATED], stored)
    data = {"metadata": meta, "spec": found.get("spec", {}), "status": found.get("status") or {}}
    return cls.model_validate(data, strict=False, extra="ignore", by_alias=True, by_name=False)


def parse_leniently(plural: str, found: Json) -> Kind | None:
    """None, and a word in the log, where it breaks a rule of ours: one bad record stops nobody."""
    try:
        return parse(CLASSES[plural], found)  # type: ignore[type-var]
    except (ValidationError, KeyError, TypeError) as error:
        fields: set[str] = set()
        if isinstance(error, ValidationError):
            fields = {".".join(map(str, e["loc"])) for e in error.errors(include_input=False)}
        log.warning("%s %s cannot be read: %s", plural, key_in(found), ", ".join(sorted(fields)))
        return None


def written(thing: Kind) -> Json:
    """As it is created: who it is and its spec. The server keeps no status of a new object."""
    meta = thing.metadata
    known: Json = {"name": meta.name, "namespace": meta.namespace}
    if meta.labels:
        known["labels"] = dict(meta.labels)
    if meta.annotations:
        known["annotations"] = dict(meta.annotations)
    return {
        "apiVersion": API_VERSION,
        "kind": thing.kind,
        "metadata": known,
        "spec": thing.spec.wire(),
    }


def over(thing: Kind, body: Json) -> Json:
    """The patch, to be applied only over that very version of that very object."""
    meta = {"uid": thing.metadata.uid, "resourceVersion": thing.metadata.resource_version}
    return {**body, "metadata": {**body.get("metadata", {}), **meta}}


def unowned(body: Json) -> Json:
    """The patch, which also has the server forget who wrote which field, and not keep track any more.

    That track is half the server's work of every later write, and half the object (docs/speed.md). Only
    server-side apply needs it, so never do this to what somebody applies: `is_applied`.
    """
    return {**body, "metadata": {**body.get("metadata", {}), "managedFields": [{}]}}


def is_applied(found: Json) -> bool:
    """Whether somebody applies this object server-side."""
    managers = found["metadata"].get("managedFields") or ()
    return any(manager.get("operation") == "Apply" for manager in managers)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The merge patch (RFC 7386) that turns one into the other; empty where they are equal."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            if before != value:
                patch[key] = difference(before, value)
        elif before != value:
            patch[key] = value
    return patch
