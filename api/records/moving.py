"""What a move from one store to another asks of both: a port beside `Records` that only the CLI opens.

What moves bears IMPORT until all of it is there: nobody acts on it, and what a crash leaves can be completed
or made anew. Uids are each store's own, so a record that moved remembers which it had (ORIGIN).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from api.records import Installation, Invalid, Thing
from api.types import AgentPool, Key, Kind, Meta, key_of, pool_key

IMPORT = "pool.convos.org/import"  # Its import has not ended.
ORIGIN = "pool.convos.org/imported-from"  # Its uid in the store that it came from.
CREATED = "pool.convos.org/created-at"  # When it was created there: order and deadlines go on.
INSTALLATION = "agent-pool-installation"  # The Secret that holds an `Installation`.
LISTED_MAX = 1_000_000  # Claims of one namespace; more never were in a store.


@dataclass(frozen=True, slots=True)
class Lead:
    """A lease, its holder ("" where it was given up), and when it was last written, in the store's time."""

    name: str
    holder: str
    renewed_at: datetime


class Moving(Protocol):
    """One store as it is moved out of, or into. Any method may raise Unavailable."""

    async def leads(self) -> list[Lead]:
        """Every lease of this installation that was ever taken, by name."""
        ...

    async def adopt(self, installation: Installation) -> bool:
        """Be that installation from now on; whether that is new. Raises Invalid where the store is another
        one and has instances: their keys and marks would not be its own any more."""
        ...

    async def bring(self, things: Sequence[Thing]) -> list[Thing]:
        """Create them as they say, statuses and claimRefs too, in this order where order is kept by it.

        Each bears IMPORT, else Invalid; CREATED, if it has it, says when it was created. Of one whose writer
        dies, the status may be missing. Raises AlreadyExists; what was brought before stays."""
        ...

    async def admit(self, things: Sequence[Thing]) -> list[Thing]:
        """Take IMPORT off, over the versions read: from now on they are records like any other.
        Raises Conflict, NotFound; what was admitted before stays."""
        ...

    async def drop(self, thing: Kind) -> None:
        """Delete one of an import that has not ended: it bears IMPORT, or its pool does. At the version
        read. Raises Conflict, NotFound, Invalid."""
        ...


def is_arriving(thing: Kind) -> bool:
    """Whether its import has not ended: nobody may act on it."""
    return IMPORT in thing.metadata.annotations


def must_arrive(thing: Kind) -> None:
    """Raises Invalid where it does not bear the mark."""
    if not is_arriving(thing):
        raise Invalid(f"{thing.kind} {key_of(thing)}: only what bears {IMPORT} is brought")


def admitted(meta: Meta) -> Meta:
    """Without the mark."""
    kept = {name: value for name, value in meta.annotations.items() if name != IMPORT}
    return meta.model_copy(update={"annotations": kept})


def may_drop(thing: Kind, pool: AgentPool | None) -> bool:
    """`pool`: the one that it belongs to, as it is now."""
    return is_arriving(thing) or (pool is not None and is_arriving(pool))


def pool_of_it(thing: Kind) -> Key:
    """The pool that a record belongs to: a pool to itself."""
    return key_of(thing) if isinstance(thing, AgentPool) else pool_key(thing)


def created_at(told: str | None, stored: datetime) -> datetime:
    """When a record was created: as CREATED tells, if that is a time before the store's own."""
    try:
        then = datetime.fromisoformat(told or "")
    except ValueError:
        return stored
    return then if then.tzinfo is not None and then < stored else stored


def secret_of(installation: Installation) -> dict[str, Any]:
    """The Secret that says which installation this is."""
    values = {
        "ownerId": installation.owner_id.encode(),
        "instanceSecret": installation.instance_secret,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": INSTALLATION},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in values.items()},
    }
