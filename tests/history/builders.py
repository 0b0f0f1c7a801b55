"""Small histories: one claim on its way, with any line left out, changed or put in."""

from typing import Any

from tests.history.events import (
    Answered,
    ClaimSeen,
    Did,
    Event,
    Happened,
    Heard,
    InstanceSeen,
    Line,
    PoolSeen,
    Serves,
    Wrote,
    wish_of,
)

CONTROLLER, SIDECAR = "controller-a.1", "sidecar-a.1"
WISH = wish_of("Serve wish 1.")
OTHER = wish_of("Serve wish 2.")


def a_pool(**overrides: Any) -> PoolSeen:
    base: dict[str, Any] = {
        "generation": 1,
        "observed": 1,
        "min_idle": 0,
        "max_total": 2,
        "policy": "Retain",
        "paused": False,
        "claim_timeout_s": 600.0,
        "total": 0,
        "stalled": False,
        "full": False,
    }
    return PoolSeen(**(base | overrides))


def a_claim(**overrides: Any) -> ClaimSeen:
    base: dict[str, Any] = {
        "uid": "u1",
        "pool": "p",
        "wish": WISH,
        "timeout_s": None,
        "phase": "Pending",
        "instance": None,
        "attempt": None,
        "conversation": None,
        "joined": False,
        "reason": "",
        "left": "",
        "waits": False,
    }
    return ClaimSeen(**(base | overrides))


def an_instance(name: str = "i1", **overrides: Any) -> InstanceSeen:
    base: dict[str, Any] = {
        "uid": f"uid-{name}",
        "pool": "p",
        "service_name": f"agent-{name}",
        "service": f"svc-{name}",
        "url": f"https://{name}.test",
        "phase": "Idle",
        "claim": None,
        "claim_uid": None,
        "claim_policy": None,
        "barred": None,
        "counted": True,
    }
    return InstanceSeen(**(base | overrides))


def pool(**overrides: Any) -> Event:
    return Wrote("somebody", "pool", "p", a_pool(**overrides))


def claim(name: str = "c1", actor: str = CONTROLLER, **overrides: Any) -> Event:
    return Wrote(actor, "claim", name, a_claim(**overrides))


def released(name: str = "c1", actor: str = "somebody") -> Event:
    return Wrote(actor, "claim", name, None)


def instance(name: str = "i1", actor: str = CONTROLLER, **overrides: Any) -> Event:
    return Wrote(actor, "instance", name, an_instance(name, **overrides))


def created(name: str = "i1") -> Event:
    return Did(CONTROLLER, "serviceCreate", f"svc-{name}", f"agent-{name}")


def deleted(name: str = "i1", actor: str = CONTROLLER) -> Event:
    return Did(actor, "serviceDelete", f"svc-{name}", f"agent-{name}")


def hears(
    name: str = "i1", wish: str = WISH, code: int | None = None, since: float | None = None
) -> Event:
    return Heard("agent", f"svc-{name}", name, wish, code, None, since)


def answers(conversation: str = "conv1", name: str = "i1", wish: str = WISH) -> Event:
    return Heard("agent", f"svc-{name}", name, wish, 200, conversation)


def answered(**overrides: Any) -> Event:
    base: dict[str, Any] = {
        "actor": "customer",
        "key": "k1",
        "claim": "c1",
        "wish": WISH,
        "since": 0.0,
        "status": 200,
        "instance": "i1",
        "conversation": "conv1",
    }
    return Answered(**(base | overrides))


def serves(name: str = "i1", conversation: str | None = "conv1") -> Event:
    return Serves("agent", f"svc-{name}", name, True, conversation is not None, conversation)


def happened(what: str) -> Event:
    return Happened("world", what)


REF: dict[str, Any] = {"claim": "c1", "claim_uid": "u1", "claim_policy": "Retain"}


def attempt_of(actor: str, at: str = "12:00:00") -> str:
    return f"{actor} 2026-08-01 {at}+00:00"


BOUND: dict[str, Any] = {"phase": "Bound", "instance": "i1", "attempt": attempt_of(CONTROLLER)}
READY: dict[str, Any] = BOUND | {"phase": "Ready", "conversation": "conv1"}


def an_idle(name: str = "i1") -> list[Event]:
    """From the intent to Idle."""
    intent = instance(name, phase="Provisioning", service=None, url=None)
    return [intent, created(name), instance(name, phase="Provisioning"), instance(name)]


def a_bind() -> list[Event]:
    """One pool, one idle instance, one claim, promised to each other."""
    return [pool(), *an_idle(), claim(actor=SIDECAR), claim(**BOUND), instance(**REF)]


def a_course() -> list[Event]:
    """All the way to an answer."""
    return [*a_bind(), hears(), answers(), claim(**READY), answered()]


def at_rest() -> list[Event]:
    return [*a_course(), serves(), happened("rest")]


def lines(*events: Event, every_s: float = 10.0) -> list[Line]:
    return [Line(n * every_s, event) for n, event in enumerate(events)]
