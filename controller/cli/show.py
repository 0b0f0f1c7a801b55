"""How records are shown: tables for people (never with instructions), JSON, YAML and names for programs."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import yaml

from api.conditions import condition, is_true
from api.types import AgentClaim, AgentInstance, AgentPool, Kind

Column = tuple[str, Callable[..., object]]
CELL_MAX = 60


def age(then: datetime | None, now: datetime) -> str:
    """As kubectl writes it: `45s`, `12m`, `7h`, `3d`."""
    if then is None:
        return ""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def full_name(record: Kind) -> str:
    """`agentpool/default`"""
    return f"{record.kind.lower()}/{record.metadata.name}"


Wire = dict[str, Any]


def as_json(records: Sequence[Kind], *, one: bool) -> str:
    return json_of(records[0].wire() if one else a_list(records))


def as_yaml(records: Sequence[Kind], *, one: bool) -> str:
    return yaml_of(records[0].wire() if one else a_list(records))


def json_of(wire: Wire) -> str:
    return json.dumps(wire, indent=2, ensure_ascii=False)


def yaml_of(wire: Wire) -> str:
    text: str = yaml.safe_dump(wire, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def a_list(records: Sequence[Kind], meta: Wire | None = None, *more: Wire) -> Wire:
    """Several as kubectl's `List`: first what is no record of ours."""
    items = [*more, *(record.wire() for record in records)]
    metadata = {"metadata": meta} if meta else {}
    return {"apiVersion": "v1", "kind": "List", **metadata, "items": items}


def table(records: Sequence[Kind], now: datetime) -> str:
    """The records of one kind, a line each."""
    columns: Sequence[Column] = _COLUMNS[records[0].kind]
    rows = [[name for name, _ in columns] + ["AGE"]]
    for record in records:
        cells = [_cell(read(record)) for _, read in columns]
        rows.append([*cells, age(record.metadata.creation_timestamp, now)])
    return lined_up(rows)


def lined_up(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= CELL_MAX else text[: CELL_MAX - 1] + "…"


def _reason(record: Kind) -> str:
    """Why it is not as it should be: the reason of Stalled, else of what is not Ready."""
    stalled, ready = (condition(record.status.conditions, t) for t in ("Stalled", "Ready"))
    for found, bad in ((stalled, "True"), (ready, "False")):
        if found is not None and found.status == bad:
            return found.reason
    return ""


def _ready(pool: AgentPool) -> str:
    return str(is_true(pool.status.conditions, "Ready"))


def _instance(claim: AgentClaim) -> str:
    return claim.status.instance.name if claim.status.instance else ""


def _claim(instance: AgentInstance) -> str:
    return instance.spec.claim_ref.name if instance.spec.claim_ref else ""


_POOL: Sequence[Column] = (
    ("NAME", lambda p: p.metadata.name),
    ("IDLE", lambda p: f"{p.status.idle}/{p.spec.min_idle}"),
    ("STARTING", lambda p: p.status.provisioning),
    ("CLAIMED", lambda p: p.status.claimed),
    ("FAILED", lambda p: p.status.failed),
    ("TOTAL", lambda p: f"{p.status.total}/{p.spec.max_total}"),
    ("WAITING", lambda p: p.status.waiting),
    ("READY", _ready),
    ("REASON", _reason),
)
_CLAIM: Sequence[Column] = (
    ("NAME", lambda c: c.metadata.name),
    ("POOL", lambda c: c.spec.pool_ref.name),
    ("AGENT", lambda c: c.spec.agent_id),
    ("PHASE", lambda c: c.status.phase),
    ("INSTANCE", _instance),
    ("REASON", _reason),
)
_INSTANCE: Sequence[Column] = (
    ("NAME", lambda i: i.metadata.name),
    ("POOL", lambda i: i.spec.pool_ref.name),
    ("PHASE", lambda i: i.status.phase),
    ("CLAIM", _claim),
    ("URL", lambda i: i.status.url),
    ("REASON", _reason),
)
_COLUMNS = {"AgentPool": _POOL, "AgentClaim": _CLAIM, "AgentInstance": _INSTANCE}
