"""Who wakes the passes: the records' doorbells. A bell carries no truth, so a lost one costs only time."""

from collections.abc import Callable
from dataclasses import dataclass

from api.records import Bell, Records
from api.types import ClaimPhase, Key

# After a claim: let the burst through first, then fill up. A start takes minutes anyway.
RESIZE_SOON_S = 0.5
SETTLE_S = 0.05  # Bells of one batch of writes share a pass.


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a bell leads. `look(key)`: at Railway now, and tell when it is done."""

    bind: Callable[[Key], None]
    resize: Callable[[Key, float], None]
    look: Callable[[Key], None]
    everything: Callable[[], None]


async def watch(records: Records, doors: Doors) -> None:
    """For ever."""
    async for bell in records.bells():
        answer(bell, doors)


def answer(bell: Bell, doors: Doors) -> None:
    """Ring the passes that this change could matter to."""
    key = Key(bell.namespace, bell.pool or bell.name)
    match bell.kind:
        case "claim" if bell.phase == ClaimPhase.PENDING:
            doors.bind(key)
            doors.resize(key, RESIZE_SOON_S)  # Where nobody is idle, it wants one more.
        case "claim" | "instance":
            doors.resize(key, RESIZE_SOON_S)
        case "pool":
            doors.resize(key, SETTLE_S)
        case "look":
            doors.look(key)
        case "resync":
            doors.everything()
        case "looked":
            pass
