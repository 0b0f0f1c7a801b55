"""What the outside saw, in order: writes on record, what agents heard, what Railway did, clients were told.

`take()` yields the events since the last call, each once it is part of what is known here. The laws read it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from api.records.memory_tables import Change
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    InstancePhase,
    Key,
    Kind,
    key_of,
    pool_key,
)
from controller.railway.simulator import deploys, holdings
from controller.railway.simulator.state import Process
from tests.storm.processes import ACTOR


class Wrote(NamedTuple):
    """A record as it was and as it is; None where there is none."""

    actor: str
    before: Kind | None
    after: Kind | None


class Agreed(NamedTuple):
    """Both sides of a bind are on record, by each of which the other is meant."""

    actor: str
    claim: AgentClaim
    instance: AgentInstance


class Heard(NamedTuple):
    """An agent took instructions in (`code` None), or was done with them."""

    service: str
    instance: str
    wish: str  # The instructions' SHA-256.
    code: int | None
    conversation: str | None


class Did(NamedTuple):
    """Railway did something, at whose request."""

    actor: str
    effect: str
    service: str
    name: str


class Answered(NamedTuple):
    """A client was told 200: asked since then, by this key (None without one), of this claim."""

    since: float
    key: str | None
    claim: str
    instance: str
    conversation: str | None


Event = Wrote | Agreed | Heard | Did | Answered


@dataclass(slots=True)
class Call:
    """One POST of instructions, from its sending to the agent's end of it."""

    wish: str
    url: str
    arrived: bool = False
    over: bool = False


@dataclass(slots=True)
class ServiceSeen:
    """A service of the world, by its first name."""

    name: str
    actor: str
    pool: Key | None
    heard: list[str] = field(default_factory=list)  # Wishes, in order; strangers' left out.


@dataclass(slots=True)
class Ended:
    """A claim that became Ready, until it was released."""

    name: str
    instance: str
    conversation: str | None
    at: float
    released_at: float | None = None


class Timeline:
    """Values, each from when on it held."""

    def __init__(self) -> None:
        self._changes: list[tuple[float, Any]] = []

    def add(self, at: float, value: Any) -> None:
        self._changes.append((at, value))

    def since(self, at: float) -> list[Any]:
        """All that held at some time from then until now."""
        later = [value for when, value in self._changes if when >= at]
        before = [value for when, value in self._changes if when < at]
        return before[-1:] + later


class SignedLog(list[Change]):
    """A store's log that knows whose each of its writes was."""

    def __init__(self) -> None:
        super().__init__()
        self.actors: list[str] = []

    def append(self, change: Change) -> None:
        super().append(change)
        self.actors.append(ACTOR.get())


class Facts:
    """`now()`: simulated seconds. `say(actor, names, text)`: a line for the story."""

    heard: deque[Mapping[str, Any]]  # As the simulator's port for evidence wants it.

    def __init__(
        self,
        log: SignedLog,
        now: Callable[[], float],
        say: Callable[[str, Sequence[str], str], None],
    ) -> None:
        self._log, self.now, self._say = log, now, say
        self.world: holdings.Holdings
        self.heard = deque()
        self._seen = 0
        self._waiting: list[tuple[int, Event]] = []
        self.claims: dict[Key, AgentClaim] = {}
        self.instances: dict[Key, AgentInstance] = {}
        self.pools: dict[Key, AgentPool] = {}
        self._tables: dict[str, dict[Key, Any]] = {
            "AgentClaim": self.claims,
            "AgentInstance": self.instances,
            "AgentPool": self.pools,
        }
        self.intended_at: dict[str, float] = {}  # By instance name.
        self.policies: dict[Key, Timeline] = {}
        self.caps: dict[Key, Timeline] = {}
        self.wishes: dict[str, list[str]] = {}  # Claim uids by what they wish.
        self.agreed: dict[str, list[str]] = {}  # Claim uids by instance name, in order.
        self.moved: set[tuple[str, str]] = (
            set()
        )  # Claims that left an instance: uid, instance name.
        self.retired: dict[str, float] = {}  # When, by service id.
        self.services: dict[str, ServiceSeen] = {}
        self.opened: dict[str, str] = {}  # The wish that each conversation was opened for.
        self.orphans: dict[str, float] = {}  # Services that no record explains, since when.
        self.keys: dict[str, str] = {}  # The claim (uid) that each key's last answer was about.
        self.calls: list[Call] = []
        self.ready: dict[str, Ended] = {}  # By claim uid.
        self.counts = {"claims": 0, "binds": 0, "provisions": 0}

    # ---------------------------------------------------------------- what is told

    def told(self, wish: str, url: str) -> Call:
        """A process sends instructions."""
        self._say(ACTOR.get(), self._names(wish), f"sends the instructions to {url}")
        call = Call(wish, url)
        self.calls.append(call)
        return call

    def arrived(self, call: Call) -> None:
        call.arrived = True

    def hung_up(self, call: Call) -> None:
        call.over = True
        self.calls.remove(call)

    def hear(self, line: Mapping[str, Any]) -> None:
        """The simulator's evidence: a call to an agent."""
        wish, code = line["instructionsSha256"], line["answered"]
        names = [line["instanceId"] or "?", *(self._names(wish) if wish else ())]
        done = "hears" if code is None else f"answers {code} {line['conversationId'] or ''}"
        self._say("agent", names, f"agent of {names[0]} {done}")
        if wish is not None:
            heard = Heard(line["service"], names[0], wish, code, line["conversationId"])
            self._waiting.append((len(self._log), heard))

    def write(self, _: holdings.Change, lines: Sequence[Mapping[str, Any]]) -> None:
        """The simulator's evidence: what Railway did."""
        for line in lines:
            effect, service = line["effect"], line.get("service")
            if service is not None:
                did = Did(ACTOR.get(), effect, service, line["name"])
                self._waiting.append((len(self._log), did))
            if effect not in ("request", "deployment", "provision"):
                self._say(f"railway for {ACTOR.get()}", (line.get("name", "?")[-8:],), f"{effect}")

    def answered(self, answer: Answered) -> None:
        self._waiting.append((len(self._log), answer))

    def _names(self, wish: str) -> list[str]:
        return [
            c.metadata.name
            for c in self.claims.values()
            if c.metadata.uid in self.wishes.get(wish, ())
        ]

    # ---------------------------------------------------------------- what is known

    @property
    def pending(self) -> bool:
        return self._seen < len(self._log) or bool(self._waiting)

    @property
    def writes(self) -> int:
        """How many there were, leases and events apart."""
        return self._seen

    def take(self) -> Iterator[Event]:
        """In the order in which it happened."""
        waiting, self._waiting = self._waiting, []
        for index, event in waiting:
            yield from self._writes(index)
            self._learn(event)
            yield event
        yield from self._writes(len(self._log))

    def _writes(self, until: int) -> Iterator[Event]:
        while self._seen < until:
            change, actor = self._log[self._seen], self._log.actors[self._seen]
            self._seen += 1
            table = self._tables[change.kind]
            before, after = table.get(change.key), change.thing
            if after is None:
                table.pop(change.key, None)
            else:
                table[change.key] = after
            wrote = Wrote(actor, before, after)
            self._learn(wrote)
            yield wrote
            if not isinstance(after or before, AgentPool) and (pair := self._pair(after)):
                yield Agreed(actor, *pair)

    def _pair(self, thing: Any) -> tuple[AgentClaim, AgentInstance] | None:
        """Claim and instance, where this write made them agree for the first time."""
        claim, instance = self._sides(thing)
        if claim is None or instance is None or instance.spec.claim_ref is None:
            return None
        named, uid = claim.status.instance, claim.metadata.uid
        if named is None or named.name != instance.metadata.name:
            return None
        before = self.agreed.setdefault(instance.metadata.name, [])
        if instance.spec.claim_ref.uid != uid or uid in before:
            return None
        before.append(uid)
        self.counts["binds"] += 1
        return claim, instance

    def _sides(self, thing: Any) -> tuple[AgentClaim | None, AgentInstance | None]:
        if isinstance(thing, AgentClaim) and thing.status.instance is not None:
            key = Key(thing.metadata.namespace, thing.status.instance.name)
            return thing, self.instances.get(key)
        if isinstance(thing, AgentInstance) and thing.spec.claim_ref is not None:
            key = Key(thing.metadata.namespace, thing.spec.claim_ref.name)
            return self.claims.get(key), thing
        return None, None

    def _learn(self, event: Event) -> None:
        match event:
            case Wrote(actor, before, after):
                self._learn_record(actor, before, after)
            case Did(actor, "serviceCreate", service, name):
                instance = self.named(name)
                pool = pool_key(instance) if instance else None
                self.services[service] = ServiceSeen(name, actor, pool)
                if instance is None or instance.status.service_id is not None:
                    self.orphans[service] = self.now()
            case Heard(wish=wish, conversation=str(conversation)):
                self.opened[conversation] = wish
            case Heard(service=service, wish=wish, code=None) if wish in self.wishes:
                self.services[service].heard.append(wish)
                self.counts["provisions"] += 1
            case _:
                pass

    def _learn_record(self, actor: str, before: Any, after: Any) -> None:
        match after or before:
            case AgentPool() as pool:
                policy = after.spec.reclaim_policy if after else None
                self.policies.setdefault(key_of(pool), Timeline()).add(self.now(), policy)
                self.caps.setdefault(key_of(pool), Timeline()).add(
                    self.now(), after.spec.max_total if after else 0
                )
            case AgentClaim():
                self._learn_claim(before, after)
            case AgentInstance() as instance:
                self.intended_at.setdefault(instance.metadata.name, self.now())
                if after is None or after.status.phase is InstancePhase.GONE:
                    for service, seen in self.services.items():
                        if seen.name == instance.spec.service_name:
                            self.orphans.setdefault(service, self.now())
                elif after.status.phase is InstancePhase.RETIRING:
                    self.retired.setdefault(after.status.service_id or "", self.now())
        self._say(actor, *_told(before, after))

    def _learn_claim(self, before: AgentClaim | None, after: AgentClaim | None) -> None:
        if before and after and before.status.instance and after.status.instance is None:
            self.moved.add((before.metadata.uid, before.status.instance.name))
        if before is None and after is not None:
            wish = sha256(after.spec.instructions.encode()).hexdigest()
            self.wishes.setdefault(wish, []).append(after.metadata.uid)
            self.counts["claims"] += 1
        elif after is None and before is not None and before.metadata.uid in self.ready:
            self.ready[before.metadata.uid].released_at = self.now()
        elif after is not None and after.status.phase is ClaimPhase.READY:
            named = after.status.instance
            self.ready.setdefault(
                after.metadata.uid,
                Ended(
                    after.metadata.name,
                    named.name if named else "",
                    after.status.conversation_id,
                    self.now(),
                ),
            )

    # ---------------------------------------------------------------- what may be asked

    def instance_of(self, service: str) -> AgentInstance | None:
        return next((i for i in self.instances.values() if i.status.service_id == service), None)

    def named(self, service_name: str) -> AgentInstance | None:
        wanted = service_name.casefold()
        return next((i for i in self.instances.values() if i.spec.service_name == wanted), None)

    def alive(self, service: str) -> bool:
        held = self.world.services.get(service)
        return held is not None and held.gone_at is None

    def serves(self, service: str) -> str | None:
        """The conversation of this service's agent; None where it has none, or nothing runs."""
        run = self.run_of(service)
        return run.conversation_id if run else None

    def run_of(self, service: str) -> Process | None:
        """The program that answers for this service now."""
        for instance in self.world.instances_of(service):
            served = deploys.serving(instance, self.world.now)
            if served is not None:
                return served[0].process
        return None


def _told(before: Any, after: Any) -> tuple[Sequence[str], str]:
    """Names and text of a write, for the story."""
    thing = after or before
    names = [thing.metadata.name]
    if after is None:
        return names, f"{thing.kind} {names[0]} is deleted"
    if isinstance(after, AgentClaim):
        status = after.status
        names += [status.instance.name] if status.instance else []
        by = f", attempt of {status.attempt.by}" if status.attempt else ""
        on = f" on {status.instance.name}" if status.instance else ""
        why = next((c.reason for c in status.conditions if c.type == "Ready"), "")
        said = f"{status.phase}{on}{by} {status.conversation_id or ''} {why}"
    elif isinstance(after, AgentInstance):
        ref = after.spec.claim_ref
        names += [ref.name] if ref else []
        whose = f", of {ref.name} {ref.uid[:4]}" if ref else ""
        said = f"{after.status.phase}{whose}, service {after.status.service_id}"
        said += f", barred {after.status.barred}" if after.status.barred else ""
    else:
        spec = after.spec
        said = f"{spec.min_idle}..{spec.max_total} {spec.reclaim_policy} paused={spec.paused}"
    return names, f"{thing.kind} {names[0]} {'made' if before is None else 'is'} {said}"
