"""What `get` says of the store that it read, beside the records: all that an import must know of its source.

It stands in an annotation of the `List`, where kubectl passes over it. No secret is in it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from api.manifests import EXPORT
from api.model import Model
from api.records import Installation, Records
from api.records.moving import Lead
from api.records.opening import moving_of
from api.settings import StoreKind
from api.types import Kind
from controller import template
from controller.cli import exits
from controller.cli.exits import Exit
from controller.leader import RUNS_OUT_AFTER_S

# A lease runs out after 5 s; the clocks by which its last word is dated may differ by a few.
HELD = timedelta(seconds=2 * RUNS_OUT_AFTER_S)
FRESH = timedelta(minutes=15)  # An older export may be of a store that has gone on since.


class ExportedLead(Model):
    """A lease of the source."""

    name: str
    holder: str
    renewed_at: datetime


class Export(Model):
    """Which store was read, when (by its own clock), and who led there."""

    store: StoreKind
    namespace: str
    owner_id: str
    key_id: str
    """Which instance secret it has, without telling it."""
    records: int
    """How many follow: a stream that was cut off has fewer."""
    read_from: datetime
    read_until: datetime
    leads: tuple[ExportedLead, ...] = ()

    def is_of(self, installation: Installation) -> bool:
        mine = (installation.owner_id, template.key_id(installation.instance_secret))
        return mine == (self.owner_id, self.key_id)


async def export_of(
    records: Records, kind: StoreKind, namespace: str, found: Sequence[Kind], since: datetime
) -> Export:
    """Of what was read since then. Raises RecordsError."""
    installation = await records.installation()
    leads = await moving_of(records).leads()
    return Export(
        store=kind,
        namespace=namespace,
        owner_id=installation.owner_id,
        key_id=template.key_id(installation.instance_secret),
        records=len(found),
        read_from=since,
        read_until=await records.now(),
        leads=tuple(
            ExportedLead(name=e.name, holder=e.holder, renewed_at=e.renewed_at) for e in leads
        ),
    )


def annotation_of(export: Export) -> dict[str, Any]:
    """The metadata of the list."""
    return {"annotations": {EXPORT: export.model_dump_json(by_alias=True)}}


def export_in(texts: Sequence[str]) -> Export:
    """What the stream says of its source. Raises Exit where it says nothing, or too much."""
    if len(texts) != 1:
        said = "its source" if not texts else "one source"
        raise Exit(
            exits.FAILED,
            "records with a status are an import, and what is applied does not name"
            f" {said}: pipe `agent-pool get pools,claims,instances -o yaml` into it,"
            " or leave the status out to declare the records anew",
        )
    try:
        return Export.model_validate_json(texts[0], by_alias=True, by_name=False)
    except ValidationError:
        raise Exit(exits.FAILED, "what the export says of its source cannot be read") from None


def in_charge(
    leads: Iterable[Lead | ExportedLead], now: datetime, since: datetime | None = None
) -> str | None:
    """Who leads now, or led while records were read since then; None: nobody, so that they rest."""
    for lead in leads:
        age = now - lead.renewed_at
        if lead.holder and age < HELD:
            at_s = max(0.0, age.total_seconds())
            return f"{lead.holder} renewed the lease {lead.name} {at_s:.0f} s before"
        if since is not None and lead.renewed_at >= since:
            return f"the lease {lead.name} was written while the records were read"
    return None
