"""The rest of the table of `bad_manifests`: writes of what is there, and what only looks like bad ones."""

from functools import partial
from typing import Any

from tests.bad_manifests import BAD_MANIFESTS, CANARY, ONE_REPO, ONE_SOURCE, REPO, Bad, Fine, Json


def _write(
    kind: str, name: str, names: str, says: str, *writes: Json, row: str | None = None, **spec: Any
) -> Bad:
    return Bad(name, kind, names, says, spec, writes, row)


_pool, _claim, _instance = (
    partial(_write, f"Agent{kind}") for kind in ("Pool", "Claim", "Instance")
)


def _spec(**changes: Any) -> Json:
    return {"spec": changes}


def _status(**changes: Any) -> Json:
    return {"status": changes}


_REF = {"name": "c", "uid": "u1", "reclaimPolicy": "Retain"}
_IDLE, _BOUND = _status(phase="Idle"), _status(phase="Bound", instance={"name": "i1"})
_READY, _FAILED = _status(phase="Ready"), _status(phase="Failed")
_MOVED = "immutable; make another pool"
_IMMUTABLE = "is immutable; delete the claim and make another"
_ENDED = "a claim that ended does not change; delete it to release it"
_SET_ONCE = "is set once, never cleared or changed; delete the claim to release it"
_SET_ONCE_ROW = f"claim_uid: {_SET_ONCE}"
_NOT_IDLE = "only an Idle instance that is not barred can be claimed; take another"
_OF_SPEC = "the spec of an instance is immutable but for its claim; leave it"
_MADE_OF = "says what the instance was made of; only one being made may change it"

WRITES = [
    _pool("more warm than all", "minIdle", "raise maxTotal with it", _spec(minIdle=11)),
    _pool("all below warm", "minIdle", "raise maxTotal with it", _spec(maxTotal=2)),
    _pool(
        "its source taken away",
        "source",
        ONE_SOURCE,
        _spec(template={"source": {"image": None}}),
        row=ONE_REPO,
    ),
    _pool("moved to a project", "railway", _MOVED, _spec(railway={"projectId": "p2"})),
    _pool(
        "moved to another project",
        "railway",
        _MOVED,
        _spec(railway={"projectId": "p2"}),
        railway={"projectId": "p1"},
    ),
    _pool("moved home", "railway", _MOVED, _spec(railway=None), railway={"projectId": "p1"}),
    *(
        _claim(f"another {name}", name, _IMMUTABLE, _spec(**{name: value}))
        for name, value in {
            "agentId": "other",
            "instructions": f"other {CANARY}",
            "joinUrl": f"https://{CANARY}",
            "timeout": "5m",
            "onEmpty": "Fail",
            "reclaimPolicy": "Delete",
        }.items()
    ),
    _claim(
        "another pool",
        "poolRef",
        _IMMUTABLE,
        _spec(poolRef={"name": "other"}),
        row=f"pool: {_IMMUTABLE}",
    ),
    _claim("its timeout taken away", "timeout", _IMMUTABLE, _spec(timeout=None), timeout="5m"),
    _claim(
        "its pool taken away",
        "poolRef",
        _IMMUTABLE,
        _spec(poolRef=None),
        poolRef={"name": "p"},
        row=f"pool: {_IMMUTABLE}",
    ),
    _claim(
        "bound to nobody", "instance", "must be named while phase is Bound", _status(phase="Bound")
    ),
    _claim("a phase that is none", "phase", "Failed", _status(phase="Done")),
    _claim("ready, then failed", "phase", _ENDED, _BOUND, _READY, _FAILED),
    _claim(
        "ready, then told another conversation",
        "phase",
        _ENDED,
        _BOUND,
        _READY,
        _status(conversationId="x"),
    ),
    _claim("ready, then served by nobody", "phase", _ENDED, _BOUND, _READY, _status(instance=None)),
    _claim("failed, then pending", "phase", _ENDED, _FAILED, _status(phase="Pending")),
    _instance("a phase that is none", "phase", "Gone", _status(phase="Lost")),
    _instance(
        "half a deployment",
        "deployment",
        "",
        _status(deployment={"id": "d"}),
        row="agent_instances_check",
    ),
    _instance(
        "claimed before it is Idle",
        "claimRef",
        _NOT_IDLE,
        _spec(claimRef=_REF),
        row=f"claim_uid: {_NOT_IDLE}",
    ),
    _instance(
        "claimed though barred",
        "claimRef",
        _NOT_IDLE,
        _status(phase="Idle", barred="X"),
        _spec(claimRef=_REF),
        row=f"claim_uid: {_NOT_IDLE}",
    ),
    _instance(
        "claimed while retiring",
        "claimRef",
        _NOT_IDLE,
        _status(phase="Retiring"),
        _spec(claimRef=_REF),
        row=f"claim_uid: {_NOT_IDLE}",
    ),
    _instance(
        "its claim taken away",
        "claimRef",
        _SET_ONCE,
        _IDLE,
        _spec(claimRef=_REF),
        _spec(claimRef=None),
        row=_SET_ONCE_ROW,
    ),
    _instance(
        "another claim",
        "claimRef",
        _SET_ONCE,
        _IDLE,
        _spec(claimRef=_REF),
        _spec(claimRef=_REF | {"uid": "u2"}),
        row=_SET_ONCE_ROW,
    ),
    _instance(
        "another policy of its claim",
        "claimRef",
        _SET_ONCE,
        _IDLE,
        _spec(claimRef=_REF),
        _spec(claimRef={"reclaimPolicy": "Delete"}),
        row=_SET_ONCE_ROW,
    ),
    _instance(
        "born claimed, then free",
        "claimRef",
        _SET_ONCE,
        _spec(claimRef=None),
        row=_SET_ONCE_ROW,
        claimRef=_REF,
    ),
    _instance(
        "another pool",
        "poolRef",
        _OF_SPEC,
        _spec(poolRef={"name": "other"}),
        row=f"pool: {_OF_SPEC}",
    ),
    _instance(
        "another service",
        "serviceName",
        _OF_SPEC,
        _spec(serviceName="other"),
        row=f"pool: {_OF_SPEC}",
    ),
    _instance(
        "another project",
        "railway",
        _OF_SPEC,
        _spec(railway={"projectId": "other"}),
        row=f"pool: {_OF_SPEC}",
    ),
    _instance(
        "another template once made", "templateHash", _MADE_OF, _IDLE, _spec(templateHash="other")
    ),
    _instance("another key once made", "templateHash", _MADE_OF, _IDLE, _spec(keyId="other")),
    _instance(
        "retiring, then idle",
        "phase",
        "Retiring is final: its service is being deleted; let it become Gone",
        _status(phase="Retiring"),
        _IDLE,
    ),
    _instance(
        "gone, then retiring",
        "phase",
        "Gone is final",
        _status(phase="Gone"),
        _status(phase="Retiring"),
    ),
    _instance("gone, then idle", "phase", "Gone is final", _status(phase="Gone"), _IDLE),
]

# ---------------------------------------------------------------- all of it, and what is taken

BAD = [*BAD_MANIFESTS, *WRITES]
FINE = [
    Fine(
        "a day in minutes",
        "AgentPool",
        {"failedClaimTTL": "1440m", "rollout": {"maxUnavailable": 1}},
    ),
    Fine("nobody warm", "AgentPool", {"minIdle": 0, "maxTotal": 0}),
    Fine("a year", "AgentPool", {"claimTimeout": "8760h", "provisionTimeout": "1s"}),
    Fine(
        "a name that only looks reserved",
        "AgentPool",
        {"template": {"env": [{"name": "PORTAL", "value": ""}]}},
    ),
    Fine("both sizes at once", "AgentPool", {}, (_spec(minIdle=20, maxTotal=30),)),
    Fine("another source", "AgentPool", {}, (_spec(template={"source": REPO}),)),
    Fine(
        "its project said again",
        "AgentPool",
        {"railway": {"projectId": "p"}},
        (_spec(railway={"projectId": "p"}, paused=True),),
    ),
    Fine(
        "the edge of every rule",
        "AgentClaim",
        {"instructions": "é" * 51200, "agentId": "é" * 128, "timeout": "8760h"},
    ),
    Fine(
        "lines, tabs and smileys",
        "AgentClaim",
        {"instructions": "a\tb\r\nc \u2028 \U0001f600", "joinUrl": "https://" + "a" * 2040},
    ),
    Fine(
        "another instance",
        "AgentClaim",
        {},
        (
            _BOUND,
            _status(phase="Pending", instance=None),
            _status(phase="Bound", instance={"name": "i2"}),
        ),
    ),
    Fine("said again when ended", "AgentClaim", {}, (_BOUND, _READY, _READY)),
    Fine(
        "claimed while idle, then gone",
        "AgentInstance",
        {},
        (_IDLE, _spec(claimRef=_REF), _status(phase="Retiring"), _status(phase="Gone")),
    ),
    Fine(
        "another template while being made",
        "AgentInstance",
        {},
        (_spec(templateHash="other", keyId="other"), _IDLE),
    ),
]
