"""A service's config, in the shape of `EnvironmentConfig.services.<id>`: merging, and its typed fields."""

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]

# ServiceInstanceUpdateInput, and ServiceInstance in a read -> where it stands in the config.
FIELDS: dict[str, tuple[str, str]] = {
    "rootDirectory": ("source", "rootDirectory"),
    **{
        name: ("deploy", name)
        for name in (
            "startCommand",
            "preDeployCommand",
            "healthcheckPath",
            "healthcheckTimeout",
            "restartPolicyType",
            "restartPolicyMaxRetries",
            "numReplicas",
            "region",
            "multiRegionConfig",
            "sleepApplication",
            "cronSchedule",
            "overlapSeconds",
            "drainingSeconds",
            "ipv6EgressEnabled",
            "registryCredentials",
        )
    },
    **{
        name: ("build", name)
        for name in ("builder", "buildCommand", "dockerfilePath", "watchPatterns", "nixpacksPlan")
    },
    "railwayConfigFile": ("build", "railwayConfigFile"),
}
DEFAULTS: dict[str, Any] = {
    "builder": "RAILPACK",
    "restartPolicyType": "ON_FAILURE",
    "restartPolicyMaxRetries": 10,
    "watchPatterns": [],
}


def merged(config: Any, patch: Mapping[str, Any]) -> Config:
    """A new config: mappings merge, null deletes, anything else replaces."""
    result: Config = dict(config) if isinstance(config, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = merged(result.get(name), value)
        else:
            result[name] = value
    return {name: value for name, value in result.items() if value != {}}


def updated(config: Config, fields: Mapping[str, Any]) -> Config:
    """As serviceInstanceUpdate does it: null leaves a field as it is, "" clears it."""
    patch: Config = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "source":
            given = {kind: text for kind, text in value.items() if text is not None}
            patch["source"] = patch.get("source", {}) | sourced(given)
        else:
            part, inner = FIELDS[name]
            patch.setdefault(part, {})[inner] = None if value == "" else value
    return merged(config, patch)


def sourced(source: Mapping[str, Any]) -> Config:
    """A source as a patch: an image and a repository exclude each other."""
    others = {"image": None} if source.get("repo") else {"repo": None, "branch": None}
    return {**others, **source} if source.get("repo") or source.get("image") else {}


def field_of(config: Config, name: str) -> Any:
    """A typed field of ServiceInstance, or Railway's default for it."""
    part, inner = FIELDS[name]
    return (config.get(part) or {}).get(inner, DEFAULTS.get(name))


def with_variables(config: Config, values: Mapping[str, Any], *, replace: bool) -> Config:
    """The config with these variables upserted, or with them alone."""
    base = {name: part for name, part in config.items() if name != "variables" or not replace}
    return merged(base, {"variables": {name: {"value": text(v)} for name, v in values.items()}})


def text(value: Any) -> str:
    """A variable's value: Railway keeps text, and takes numbers and booleans for it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
