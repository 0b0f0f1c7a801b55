"""What is being moved in from another store is nobody's yet: every pass leaves it alone. Pure.

The whole pool waits while anything of it bears the mark. Kinds are watched one by one, and a pass that saw
the pool arrived and its instances not would take them for missing and make new ones.
"""

from dataclasses import replace

from api.records import Bindable, View
from api.records.moving import is_arriving
from api.types import AgentPool, Kind


def still_arriving(view: View) -> bool:
    """Whether this pool is to be left alone, and everything in it."""
    return any(map(is_arriving, (*_of(view.pool), *view.claims, *view.instances)))


def arrived(there: Bindable) -> Bindable:
    """Who may be bound: nobody, while anything of it arrives."""
    seen = (*_of(there.pool), *there.claims, *there.idle)
    return replace(there, claims=(), idle=()) if any(map(is_arriving, seen)) else there


def _of(pool: AgentPool | None) -> tuple[Kind, ...]:
    return (pool,) if pool else ()
