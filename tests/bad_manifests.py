"""One table of bad manifests and bad writes: what any store must refuse, and with which words.

A case begins with a good manifest of its kind, changed as a merge patch changes it (null removes).
Rows are held to it by tests/records/postgres/test_bad_manifests.py, the CRDs by tests/test_crds.py.
Here is what is refused when it is created; writes of what is there are in `bad_writes`.
"""

import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from api.scalars import (
    ENV_NAME,
    HTTPS,
    NAME_PREFIX,
    NO_CONTROL,
    NOT_A_DURATION,
    NOT_YET,
    ONE_LINE,
    OUT_OF_A_YEAR,
    RESERVED,
    TOO_LONG,
)

Json = dict[str, Any]

CANARY = "canary-7f3a"  # Stands where secrets may; no refusal repeats it.
GOOD: dict[str, Json] = {
    "AgentPool": {"template": {"source": {"image": "agents/convos:1"}}},
    "AgentClaim": {"agentId": "tokyo-trip-planner", "instructions": CANARY},
    "AgentInstance": {
        "poolRef": {"name": "default"},
        "serviceName": "convos-agent-a1",
        "templateHash": "hash",
        "keyId": "key",
        "railway": {"endpoint": "https://railway.test", "projectId": "p", "environmentId": "e"},
    },
}


@dataclass(frozen=True, slots=True)
class Bad:
    """One thing that is refused: the last of `writes`, or the creation where there are none."""

    name: str
    kind: str
    names: str  # The field, as every refusal names it; rows say it in snake_case.
    says: str  # The mend, likewise; empty where each store has words of its own.
    change: Json  # Of the good manifest's spec, before it is created.
    writes: tuple[
        Json, ...
    ] = ()  # Merge patches, each of spec or of status; all but the last good.
    row: str | None = (
        None  # What a row says, where it is not that; "": to its types or its locale it is none.
    )


@dataclass(frozen=True, slots=True)
class Fine:
    """What looks like a bad one and is taken, with all its `writes`."""

    name: str
    kind: str
    change: Json = field(default_factory=dict)
    writes: tuple[Json, ...] = ()


def manifest(case: Bad | Fine, name: str) -> Json:
    """What is to be created, whole."""
    return {
        "apiVersion": "pool.convos.org/v1alpha1",
        "kind": case.kind,
        "metadata": {"name": name},
        "spec": patched(deepcopy(GOOD[case.kind]), case.change),
    }


def patched(value: Json, change: Json) -> Json:
    """RFC 7386: maps merge, null removes, anything else replaces."""
    merged = dict(value)
    for name, new in change.items():
        if new is None:
            merged.pop(name, None)
        elif isinstance(new, dict):
            old = merged.get(name)
            merged[name] = patched(old if isinstance(old, dict) else {}, new)
        else:
            merged[name] = new
    return merged


def is_said(words: str, text: str) -> bool:
    """In the wire's spelling, or `maxTotal` as a row says it: `max_total`."""
    return words in text or _CAMEL.sub(lambda name: snake(name[0]), words) in text


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


_CAMEL = re.compile(r"\b[a-z]+(?:[A-Z]+[a-z]*)+\b")


# ---------------------------------------------------------------- pools


def _pool(name: str, names: str, says: str, spec: Json, row: str | None = None) -> Bad:
    return Bad(name, "AgentPool", names, says, spec, row=row)


def _made_of(name: str, names: str, says: str, template: Json, row: str | None = None) -> Bad:
    return _pool(name, names, says, {"template": template}, row)


def _env(name: str, says: str, variable: Json, row: str | None = None, at: str = "env[0]") -> Bad:
    return _made_of(name, at, says, {"env": [variable]}, row)


REPO = {"image": None, "repo": {"name": "acme/agent"}}
ONE_SOURCE = "exactly one of repo and image"
ONE_REPO = "repo: give exactly one of repo and image"
_ONE_VALUE = "must have exactly one of value and valueFrom"
_ONE_ORIGIN = "must have exactly one of secretKeyRef and env"
_SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}
_FROM = "env[0].valueFrom.env: must name an INSTANCE_* variable"
_TOO_MANY = [{"name": f"A{n}", "value": ""} for n in range(101)]
_TWICE = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
_SIZE = "must be between 0 and 10000"
_YEAR = "must be between 1 second and 365 days"
_SPACE = "must begin with / and hold no space"
_OF_NAME = "must be letters, digits and _"

POOLS = [
    _pool(
        "fewer than none", "minIdle", "than or equal to 0", {"minIdle": -1}, f"min_idle: {_SIZE}"
    ),
    _pool("too many", "maxTotal", "10000", {"maxTotal": 10001}, f"max_total: {_SIZE}"),
    _pool("more warm than all", "minIdle", "raise maxTotal with it", {"minIdle": 11}),
    _pool("all below the default", "minIdle", "raise maxTotal with it", {"maxTotal": 2}),
    _pool("a number as text", "minIdle", "integer", {"minIdle": "3"}, ""),
    _pool("a field that is none", "minIdel", "field", {"minIdel": 3}, ""),
    _pool("no template", "template", "", {"template": None}, ONE_REPO),
    _made_of("no source", "source", ONE_SOURCE, {"source": {"image": None}}, ONE_REPO),
    _made_of("two sources", "source", ONE_SOURCE, {"source": REPO | {"image": "i"}}, ONE_REPO),
    _made_of(
        "an empty image",
        "image",
        "at least 1 char",
        {"source": {"image": ""}},
        "image: must be 1 to 512",
    ),
    _made_of("a long image", "image", "512", {"source": {"image": "a" * 513}}),
    _made_of(
        "a repo without owner",
        "repo",
        "must be owner/name, at most 200 characters",
        {"source": {"image": None, "repo": {"name": "acme"}}},
    ),
    _made_of(
        "a repo beyond ASCII",
        "repo",
        "must be owner/name, at most 200 characters",
        {"source": {"image": None, "repo": {"name": "acmé/agent"}}},
    ),
    _made_of(
        "a long repo",
        "repo",
        "200",
        {"source": {"image": None, "repo": {"name": "a/" + "b" * 200}}},
    ),
    _made_of(
        "an empty branch",
        "branch",
        "at least 1 char",
        {"source": {"image": None, "repo": {"name": "a/b", "branch": ""}}},
        "branch: must be 1 to 255",
    ),
    _made_of(
        "an empty folder",
        "rootDirectory",
        "at least 1 char",
        {"source": {"image": None, "repo": {"name": "a/b", "rootDirectory": ""}}},
        "root_directory: must be 1 to 255",
    ),
    _made_of(
        "port 0", "port", "than or equal to 1", {"port": 0}, "port: must be between 1 and 65535"
    ),
    _made_of("port 65536", "port", "65535", {"port": 65536}),
    _made_of("a path without root", "healthcheckPath", _SPACE, {"healthcheckPath": "healthz"}),
    _made_of("a path with a space", "healthcheckPath", _SPACE, {"healthcheckPath": "/a b"}),
    _made_of(
        "a path with a wide space", "healthcheckPath", _SPACE, {"healthcheckPath": "/a\u2003b"}, ""
    ),
    _made_of("a path with a line", "healthcheckPath", _SPACE, {"healthcheckPath": "/a\n"}),
    _pool("a prefix with a digit first", "namePrefix", NAME_PREFIX, {"namePrefix": "9-"}),
    _pool("a long prefix", "namePrefix", "16", {"namePrefix": "a" * 17}),
    _pool(
        "an empty prefix",
        "namePrefix",
        "at least 1 char",
        {"namePrefix": ""},
        "name_prefix: must be",
    ),
    _pool("no duration", "provisionTimeout", NOT_A_DURATION, {"provisionTimeout": "soon"}, ""),
    _pool("an empty duration", "claimTimeout", NOT_A_DURATION, {"claimTimeout": ""}, ""),
    _pool("a duration by point", "claimTimeout", NOT_A_DURATION, {"claimTimeout": "1.5h"}, ""),
    _pool(
        "a duration of nothing",
        "claimTimeout",
        OUT_OF_A_YEAR,
        {"claimTimeout": "0s"},
        f"claim_timeout: {_YEAR}",
    ),
    _pool(
        "a duration over a year",
        "provisionTimeout",
        OUT_OF_A_YEAR,
        {"provisionTimeout": "8760h1s"},
        f"provision_timeout: {_YEAR}",
    ),
    _pool("another TTL", "failedClaimTTL", NOT_YET, {"failedClaimTTL": "1h"}),
    _pool(
        "another rollout",
        "rollout",
        NOT_YET,
        {"rollout": {"maxUnavailable": 2}},
        f"max_unavailable: {NOT_YET}",
    ),
    _pool("a token", "tokenFrom", NOT_YET, {"railway": {"tokenFrom": {"env": "INSTANCE_T"}}}),
    _pool("a policy that is none", "reclaimPolicy", "Delete", {"reclaimPolicy": "Recycle"}),
    _pool("paused by a word", "paused", "boolean", {"paused": "yes"}, ""),
    _pool(
        "an empty project",
        "projectId",
        "at least 1 char",
        {"railway": {"projectId": ""}},
        "railway_project_id: must be 1 to 64",
    ),
    _pool("a long environment", "environmentId", "64", {"railway": {"environmentId": "a" * 65}}),
    _made_of("101 variables", "env", "at most 100", {"env": _TOO_MANY}),
    _made_of(
        "a variable twice", "env", "", {"env": _TWICE}, "env: names a variable more than once"
    ),
    _env("no value", _ONE_VALUE, {"name": "A"}),
    _env(
        "two values", _ONE_VALUE, {"name": "A", "value": CANARY, "valueFrom": {"env": "INSTANCE_A"}}
    ),
    _env("no name", "name", {"value": CANARY}, f"env[0].name: {_OF_NAME}"),
    _env("a name with a digit first", ENV_NAME, {"name": "1A", "value": CANARY}),
    _env("a long name", "128", {"name": "A" * 129, "value": CANARY}),
    *(
        _env(f"the reserved {name}", RESERVED, {"name": name, "value": CANARY})
        for name in ("POOL_X", "RAILWAY_X", "PORT", "SETUP_PASSWORD")
    ),
    _env("a number as value", "", {"name": "A", "value": 1}, at="env[0].value"),
    _env("a long value", "32768", {"name": "A", "value": CANARY * 3000}),
    _env("a value from nowhere", _ONE_ORIGIN, {"name": "A", "valueFrom": {}}, _FROM),
    _env(
        "a value from two places",
        _ONE_ORIGIN,
        {"name": "A", "valueFrom": _SECRET | {"env": "INSTANCE_A"}},
        "env[0].valueFrom.secretKeyRef: Kubernetes only",
    ),
    _env(
        "a value of somebody else",
        "must name an INSTANCE_* variable",
        {"name": "A", "valueFrom": {"env": "HOME"}},
    ),
]

# ---------------------------------------------------------------- claims


def _claim(name: str, names: str, says: str, spec: Json, row: str | None = None) -> Bad:
    return Bad(name, "AgentClaim", names, says, spec, row=row)


_NO_CONTROL_ROW = "instructions: must hold no control characters but newline, return and tab"
_BAD_URL = "join_url: must be an https:// URL"

CLAIMS = [
    _claim("a pool that is no name", "poolRef", "", {"poolRef": {"name": "A"}}, "pool: must be"),
    _claim("nobody", "agentId", "", {"agentId": None}, "agent_id: must be 1 to 128"),
    _claim(
        "an empty id", "agentId", "at least 1 char", {"agentId": ""}, "agent_id: must be 1 to 128"
    ),
    _claim("a long id", "agentId", "128", {"agentId": "a" * 129}),
    _claim("an id of two lines", "agentId", ONE_LINE, {"agentId": "a\nb"}),
    _claim(
        "an id that rings",
        "agentId",
        NO_CONTROL,
        {"agentId": "a\x07"},
        "agent_id: must be one line without control",
    ),
    _claim("an id as number", "agentId", "", {"agentId": 12}, ""),
    _claim(
        "nothing to tell", "instructions", "", {"instructions": None}, "instructions: must be 1 to"
    ),
    _claim(
        "empty instructions",
        "instructions",
        "at least 1 char",
        {"instructions": ""},
        "instructions: must be 1 to",
    ),
    _claim("too many characters", "instructions", "102400", {"instructions": CANARY * 10_000}),
    _claim(
        "too many bytes",
        "instructions",
        TOO_LONG,
        {"instructions": CANARY + "é" * 51200},
        "instructions: must be 1 to 102400 bytes",
    ),
    _claim(
        "instructions with colours",
        "instructions",
        NO_CONTROL,
        {"instructions": f"{CANARY}\x1b[0m"},
        _NO_CONTROL_ROW,
    ),
    _claim(
        "instructions with a delete",
        "instructions",
        NO_CONTROL,
        {"instructions": f"{CANARY}\x7f"},
        _NO_CONTROL_ROW,
    ),
    _claim("http", "joinUrl", HTTPS, {"joinUrl": f"http://{CANARY}"}),
    _claim("a URL with a space", "joinUrl", HTTPS, {"joinUrl": f"https://a {CANARY}"}),
    _claim(
        "a URL with a wide space", "joinUrl", HTTPS, {"joinUrl": f"https://a\u2003{CANARY}"}, ""
    ),
    _claim("a long URL", "joinUrl", "2048", {"joinUrl": f"https://{CANARY * 200}"}),
    _claim("no duration", "timeout", NOT_A_DURATION, {"timeout": "soon"}, ""),
    _claim("no time", "timeout", OUT_OF_A_YEAR, {"timeout": "0s"}, f"timeout: {_YEAR}"),
    _claim("sulking", "onEmpty", "Fail", {"onEmpty": "Sulk"}),
    _claim("a policy in small letters", "reclaimPolicy", "Delete", {"reclaimPolicy": "delete"}),
    _claim("a field that is none", "phase", "field", {"phase": "Ready"}, ""),
]

# ---------------------------------------------------------------- instances


def _instance(name: str, names: str, says: str, spec: Json, row: str | None = None) -> Bad:
    return Bad(name, "AgentInstance", names, says, spec, row=row)


INSTANCES = [
    _instance("a pool that is no name", "poolRef", "", {"poolRef": {"name": "A"}}, "pool: must be"),
    _instance(
        "half a claim", "uid", "", {"claimRef": {"name": "c"}}, "claim_uid: goes together with"
    ),
]

BAD_MANIFESTS = [*POOLS, *CLAIMS, *INSTANCES]
