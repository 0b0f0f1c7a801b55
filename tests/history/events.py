"""The lines of a history: what was written, told, heard, done, asked and answered, by whom and when.

On file a line is `{t, actor, op, claim, key, args, result}` (DESIGN.md section 10): `t` in seconds, `op` the
event's kind in lower case, `claim` the claim's name and `key` the idempotency key where there is one, `args`
what was asked, `result` what came of it. No instructions, no key of an agent and no invite stand in it: a
wish is the SHA-256 of the instructions.
"""

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple, TextIO


class PoolSeen(NamedTuple):
    """What the laws need of a pool's record."""

    generation: int
    observed: int
    min_idle: int
    max_total: int
    policy: str
    paused: bool
    claim_timeout_s: float
    total: int
    stalled: bool
    full: bool


class ClaimSeen(NamedTuple):
    """What the laws need of a claim's record."""

    uid: str
    pool: str
    wish: str
    timeout_s: float | None  # Its own; else its pool's.
    phase: str
    instance: str | None
    attempt: str | None  # Whose, and since when.
    conversation: str | None
    joined: bool
    reason: str  # Of its condition Ready.
    left: str  # Of its condition Bound, where that is False: why it left its last instance.
    waits: bool  # onEmpty: Wait.


class InstanceSeen(NamedTuple):
    """What the laws need of an instance's record."""

    uid: str
    pool: str
    service_name: str
    service: str | None
    url: str | None
    phase: str
    claim: str | None
    claim_uid: str | None
    claim_policy: str | None
    barred: str | None
    counted: bool  # Not a mere try, of which nobody knows yet whether it fits.


Seen = PoolSeen | ClaimSeen | InstanceSeen
KINDS: dict[str, type[Seen]] = {"pool": PoolSeen, "claim": ClaimSeen, "instance": InstanceSeen}


class Wrote(NamedTuple):
    """A record as it stands from now on; None when it was deleted."""

    actor: str
    kind: str
    name: str
    after: Seen | None


class Did(NamedTuple):
    """Railway did something to a service, at whose request. `effect`: as in the simulator's journal; `pool`:
    whose mark a service bears that was made by hand."""

    actor: str
    effect: str
    service: str
    name: str
    pool: str | None = None


class Requested(NamedTuple):
    """A process's request to Railway: `sent`, and then `done`, `refused` (clearly) or `lost`. `what`: `look`
    for an observation; `target`: the service, or the name that one is to have."""

    actor: str
    what: str
    target: str
    outcome: str


class Told(NamedTuple):
    """A process sends instructions to an agent; `over`: it has its answer, or hears no more of it."""

    actor: str
    wish: str
    url: str
    over: bool


class Replied(NamedTuple):
    """What a process that told an agent learnt from its answer, in the product's words."""

    actor: str
    wish: str
    url: str
    heard: str


class Heard(NamedTuple):
    """An agent took instructions in (`code` None), or was done with them, or turned a call away. `since`:
    when the call came to what stands before the agent, where that is known."""

    actor: str
    service: str
    instance: str
    wish: str | None
    code: int | None
    conversation: str | None
    since: float | None = None


class Asked(NamedTuple):
    """A client wants an agent; by this key it asks until it is answered."""

    actor: str
    key: str | None
    wish: str


class Answered(NamedTuple):
    """What a client was told of its wish, which it asked for at `since`."""

    actor: str
    key: str | None
    claim: str
    wish: str
    since: float
    status: int
    instance: str | None
    conversation: str | None


class Said(NamedTuple):
    """A text that leaves the product: a log line, an event, an error."""

    actor: str
    text: str


class Happened(NamedTuple):
    """To a process, or to all: `starts`, `dies`, `stops`, `goes on`, `calm`, `restored`, `rest`, ..."""

    actor: str
    what: str
    names: tuple[str, ...] = ()


class Serves(NamedTuple):
    """What a service's agent says of itself when somebody outside asks it, long after the storm."""

    actor: str
    service: str
    name: str
    ready: bool
    provisioned: bool
    conversation: str | None


Event = (
    Wrote | Did | Requested | Told | Replied | Heard | Asked | Answered | Said | Happened | Serves
)
OPS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (
        Wrote,
        Did,
        Requested,
        Told,
        Replied,
        Heard,
        Asked,
        Answered,
        Said,
        Happened,
        Serves,
    )
}

# What of an event stands under `result`; the rest of its own fields stands under `args`.
RESULTS: dict[type[Any], tuple[str, ...]] = {
    Wrote: ("after",),
    Requested: ("outcome",),
    Told: ("over",),
    Replied: ("heard",),
    Heard: ("code", "conversation"),
    Answered: ("status", "instance", "conversation"),
    Serves: ("ready", "provisioned", "conversation"),
}


class Line(NamedTuple):
    """`at`: seconds."""

    at: float
    event: Event


def wish_of(instructions: str) -> str:
    """What stands in a history for these instructions."""
    return sha256(instructions.encode()).hexdigest()


def wire(line: Line) -> dict[str, Any]:
    """A line as DESIGN.md section 10 has it."""
    event = line.event
    args = event._asdict()
    top = {name: args.pop(name, None) for name in ("actor", "claim", "key")}
    if isinstance(event, Wrote):
        args["after"] = event.after._asdict() if event.after is not None else None
        top["claim"] = event.name if event.kind == "claim" else None
    result = {name: args.pop(name) for name in RESULTS.get(type(event), ())}
    op = type(event).__name__.lower()
    return {"t": round(line.at, 6), "op": op, **top, "args": args, "result": result or None}


def line_of(said: dict[str, Any]) -> Line:
    """The line that was written so. Raises KeyError, TypeError or ValueError for what is none."""
    kind = OPS[said["op"]]
    given = {"actor": said["actor"], "claim": said["claim"], "key": said["key"]}
    given |= said["args"] | (said["result"] or {})
    if kind is Wrote and given["after"] is not None:
        given["after"] = KINDS[given["kind"]](**given["after"])
    if kind is Happened:
        given["names"] = tuple(given["names"])
    return Line(
        float(said["t"]), kind(**{name: given[name] for name in kind._fields if name in given})
    )


def write(lines: Iterable[Line], file: TextIO) -> None:
    for line in lines:
        file.write(json.dumps(wire(line), separators=(",", ":")) + "\n")


def read(file: TextIO) -> Iterator[Line]:
    """Raises ValueError, naming the line and what it lacks."""
    for number, text in enumerate(file, 1):
        try:
            yield line_of(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"line {number}: not a line of a history ({error!r})") from None
