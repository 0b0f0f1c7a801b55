"""A history as prose: who did what when, and what of it concerns one claim or instance."""

from collections.abc import Collection, Iterable, Sequence

from tests.history.events import (
    Answered,
    Asked,
    ClaimSeen,
    Did,
    Event,
    Happened,
    Heard,
    InstanceSeen,
    Line,
    PoolSeen,
    Replied,
    Requested,
    Said,
    Serves,
    Told,
    Wrote,
)
from tests.history.laws import leaks

LINES_TOLD = 60
QUIET_EFFECTS = ("deployment", "provision", "serviceInstanceUpdate", "autoDeploy", "patch")


class Teller:
    """Knows which claims wish what, so that a wish is told by a claim's name."""

    def __init__(self) -> None:
        self._wishes: dict[str, list[str]] = {}

    def tell(self, event: Event) -> tuple[Sequence[str], str]:
        """The records that it is about, and what happened; no text: not worth telling."""
        match event:
            case Wrote():
                return self._wrote(event)
            case Did(effect=effect, name=name):
                return (name[-8:],), "" if effect in QUIET_EFFECTS else f"Railway: {effect} {name}"
            case Requested(what=what, target=target, outcome=outcome):
                return (target[-8:],), f"{what} {target}: {outcome}" if what != "look" else ""
            case Told(wish=wish, url=url, over=over):
                said = "is done with" if over else "sends the instructions to"
                return self._names(wish), f"{said} {url}"
            case Replied(wish=wish, heard=heard):
                return self._names(wish), f"learns that the agent's answer is {heard}"
            case Heard(instance=name, wish=wish, code=code, conversation=conversation):
                done = "hears" if code is None else f"answers {code} {conversation or ''}"
                return (name, *self._names(wish or "")), f"agent of {name} {done}"
            case Asked(key=key, wish=wish):
                return self._names(wish), f"asks by {key}"
            case Answered(claim=claim, status=status, instance=instance, conversation=said):
                return (claim,), f"is answered {status} {instance or ''} {said or ''}"
            case Happened(what=what, names=names):
                return names, f"{what} {' '.join(names)}"
            case Serves(service=service, name=name, provisioned=used, conversation=said):
                return (name[-8:],), f"agent of {service}: {'serves' if used else 'is free'} {said}"
            case Said(text=text):
                return (), f"says {text}" if leaks(text) else ""

    def _names(self, wish: str) -> list[str]:
        return self._wishes.get(wish, [])

    def _wrote(self, event: Wrote) -> tuple[Sequence[str], str]:
        names, text = [event.name], f"{event.kind} {event.name} is"
        match event.after:
            case None:
                return names, f"{text} deleted"
            case ClaimSeen() as claim:
                if event.name not in (known := self._wishes.setdefault(claim.wish, [])):
                    known.append(event.name)
                names += [claim.instance] if claim.instance else []
                on = f" on {claim.instance}, attempt of {claim.attempt}" if claim.instance else ""
                text += (
                    f" {claim.phase}{on} {claim.conversation or ''} {claim.reason or claim.left}"
                )
            case InstanceSeen() as instance:
                names += [instance.claim] if instance.claim else []
                whose = f", of {instance.claim} {instance.claim_uid}" if instance.claim else ""
                barred = f", barred {instance.barred}" if instance.barred else ""
                text += f" {instance.phase}{whose}, service {instance.service}{barred}"
            case PoolSeen() as pool:
                paused = ", paused" if pool.paused else ""
                text += f" {pool.min_idle}..{pool.max_total} {pool.policy}{paused}"
        return names, text


def story(lines: Iterable[Line], names: Collection[str], most: int = LINES_TOLD) -> str:
    """The last lines about these and what they had to do with; about everything, without names."""
    teller = Teller()
    told = [(line, *teller.tell(line.event)) for line in lines]
    near = set(names).union(*(about for _, about, _ in told if set(about) & set(names)))
    kept = [
        f"{line.at:9.3f}  {line.event.actor:24} {text}"
        for line, about, text in told
        if text and (not names or near & set(about) or not about)
    ]
    return "\n".join(kept[-most:])
