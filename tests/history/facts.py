"""What is known of an installation from its history so far. `learn(line)` yields what the laws are told.

Nothing here asks the product or the simulator: a recorded history and a storm under way are read alike.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from tests.history.events import (
    Answered,
    Asked,
    ClaimSeen,
    Did,
    Happened,
    Heard,
    InstanceSeen,
    Line,
    PoolSeen,
    Replied,
    Requested,
    Serves,
    Told,
    Wrote,
)
from tests.history.known import Agreed, Bound, Changed, End, Known, ServiceSeen, Timeline, Wait

ENDED = ("Ready", "Failed")
OVER = ("Retiring", "Gone")
# After these an agent's program is, or may soon be, another one that remembers nothing.
FORGETS = ("restart", "deployment", "push", "crashed", "stop", "sleeping")
BACKUP = "backup"  # Who writes when an old backup is put back: what was since is forgotten.

FRESH_FOR_S = 5.2  # So soon, or half its time, after its attempt a call begins; with a slow clock.
SLOWEST = 1.04


class Facts:
    """`handover_s`: for how long an attempt is respected; calls that outlive it are a known limit."""

    def __init__(self, handover_s: float = 60.0) -> None:
        self.handover_s = handover_s
        self.now = 0.0
        self.pools: dict[str, PoolSeen] = {}
        self.claims: dict[str, ClaimSeen] = {}
        self.instances: dict[str, InstanceSeen] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "pool": self.pools,
            "claim": self.claims,
            "instance": self.instances,
        }
        self.last_write = 0.0
        self.policies: dict[str, Timeline] = {}
        self.caps: dict[str, Timeline] = {}
        self.pauses: dict[str, Timeline] = {}
        self.wishes: dict[str, list[str]] = {}  # Claim uids by what they wish.
        self.made_at: dict[str, float] = {}  # By claim uid; it outlives a backup put back.
        self.queue: dict[str, Wait] = {}  # By claim uid, until it ended.
        self.waited: dict[str, Wait] = {}  # The same of those that ended.
        self.bound: list[Bound] = []  # In order.
        self.agreed: dict[str, list[str]] = {}  # Claim uids by instance name, in order.
        self.moved: set[tuple[str, str]] = set()  # Claims that left an instance: uid, its name.
        self.ready: dict[str, End] = {}  # By claim uid.
        self.intended_at: dict[str, float] = {}  # By instance name.
        self.retired: set[str] = set()  # Services that were to be deleted, on record.
        self.rewound: set[str] = set()  # Instances of which a backup may have forgotten something.
        self._pool_of: dict[str, str] = {}  # By the names that services are to have.
        # Names of instances by their services, and by their addresses.
        self._of: dict[str, str] = {}
        self._moved_then: set[tuple[str, str]] = set()  # `moved` when a backup was taken: it knows.
        self.services: dict[str, ServiceSeen] = {}
        self.orphans: dict[str, float] = {}  # Services that no record explains, since when.
        self.opened: dict[str, str] = {}  # The wish that each conversation was opened for.
        self.at_work: dict[str, list[tuple[str, float]]] = {}  # By wish: services, since when.
        # Calls under way by wish and address, since when.
        self.sent: dict[tuple[str, str], list[float]] = {}
        self.keys: dict[str, str] = {}  # The claim (uid) that each key's last answer was about.
        self.unanswered: dict[str, str] = {}  # Keys that somebody still asks by, and who.
        self.attempted_at: dict[str, float] = {}  # By wish: when the newest attempt was written.
        # By claim uid: when each was written first.
        self.attempts: dict[tuple[str, str], float] = {}
        self.binders: dict[str, str] = {}  # Who bound each claim (uid), and knows it in this term.
        self.terms: set[str] = set()  # Processes that have led.
        # By wish and address: actor, reply.
        self.replies: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.silent: dict[tuple[str, str], str | None] = {}  # By actor and wish: the attempt then.
        self.reasons: dict[str, str] = {}  # Of each claim by name, last said; also of deleted ones.
        self.leader: tuple[str, float] = ("", 0.0)  # Who holds the lease, and since when.
        self.requests: dict[tuple[str, str, str], str] = {}  # Since its actor's last look: outcome.
        self.meant: dict[str, float] = {}  # Services asked for while a record named them, and when.
        self.census: dict[str, Serves] = {}
        self.counts = {"claims": 0, "binds": 0, "provisions": 0, "answers": 0}

    def learn(self, line: Line) -> Iterator[Known]:
        """The events that follow from this line, each once it is part of what is known."""
        self.now = line.at
        event = line.event
        if isinstance(event, Wrote):
            for known in self._wrote(event):
                yield known
                if isinstance(known, Agreed):
                    self._bound(known)
            return
        match event:
            case Did():
                self._did(event)
            case Heard():
                self._heard(event)
            case Told(wish=wish, url=url, over=False):
                self.sent.setdefault((wish, url), []).append(self.now)
            case Told(wish=wish, url=url):
                self.sent[wish, url].pop(0)
            case Asked(actor=actor, key=str(key)):
                self.unanswered[key] = actor
            case Replied():
                self._replied(event)
            case Requested():
                self._requested(event)
            case Happened(what="leads", actor=actor):
                if self.leader[0] != actor:
                    self.leader = (actor, self.now)
                self._looked_anew(actor)  # A term begins with nothing but the records.
            case Answered():
                self.unanswered.pop(event.key or "", None)
                self.counts["answers"] += event.status == 200
            case Happened(what="begins a term", actor=actor):
                self.terms.add(actor)
                self.binders = {uid: by for uid, by in self.binders.items() if by != actor}
            case Happened(what="backup taken"):
                self._moved_then = set(self.moved)
            case Happened(what="gives up", names=names):
                for key in names:
                    self.unanswered.pop(key, None)
            case Serves(service=service):
                self.census[service] = event
        yield event

    # ---------------------------------------------------------------- records

    def _wrote(self, event: Wrote) -> Iterator[Known]:
        table = self._tables[event.kind]
        before, after = table.get(event.name), event.after
        if after == before:
            return
        self.last_write = self.now
        if after is None:
            del table[event.name]
        else:
            table[event.name] = after
        changed = Changed(event.actor, event.name, before, after)
        self._learn(changed)
        if event.actor == BACKUP:
            self._rewind(changed)
            return
        yield changed
        if (pair := self._pair(event)) is not None:
            yield pair

    def _learn(self, changed: Changed) -> None:
        match changed.after or changed.before:
            case PoolSeen():
                self._learn_pool(changed.name, changed.after)
            case ClaimSeen():
                self._learn_claim(changed)
            case InstanceSeen() as instance:
                self._learn_instance(changed, instance)

    def _learn_pool(self, name: str, after: Any) -> None:
        policy, most = (after.policy, after.max_total) if after else (None, 0)
        self.policies.setdefault(name, Timeline()).add(self.now, policy)
        self.caps.setdefault(name, Timeline()).add(self.now, most)
        paused = after is not None and after.paused
        self.pauses.setdefault(name, Timeline()).add(self.now, paused)

    def _learn_claim(self, changed: Changed) -> None:
        before: Any = changed.before
        after: Any = changed.after
        if before and after and before.uid == after.uid and before.instance and not after.instance:
            self.moved.add((before.uid, before.instance))
        if before is None or (after is not None and before.uid != after.uid):
            self.wishes.setdefault(after.wish, []).append(after.uid)
            self.counts["claims"] += 1
        if before is not None and (after is None or after.uid != before.uid):
            self._released(before.uid)
        if after is not None:
            self.reasons[changed.name] = after.reason
            if after.attempt and (before is None or before.attempt != after.attempt):
                self.attempted_at[after.wish] = self.now
                self.attempts.setdefault((after.uid, after.attempt), self.now)
            self._learn_ready(changed.name, after)
        self._line_up(before, after)

    def _learn_ready(self, name: str, claim: ClaimSeen) -> None:
        if claim.phase == "Ready":
            end = End(name, claim.wish, claim.instance or "", claim.conversation)
            self.ready.setdefault(claim.uid, end)

    def _released(self, uid: str) -> None:
        self.queue.pop(uid, None)
        if uid in self.ready:
            self.ready[uid].released_at = self.now

    def _line_up(self, before: Any, after: Any) -> None:
        if after is None:
            return
        waits = after.phase == "Pending" and after.instance is None
        if waits and after.uid not in self.queue:
            pool = self.pools.get(after.pool)
            timeout_s = after.timeout_s or (pool.claim_timeout_s if pool else 0.0)
            made_at = self.made_at.setdefault(after.uid, self.now)
            self.queue[after.uid] = Wait(after.pool, made_at, self.now, made_at + timeout_s)
        elif waits and before is not None and before.phase != "Pending":
            self.queue[after.uid].since = self.now
        elif after.phase in ENDED and (wait := self.queue.pop(after.uid, None)):
            self.waited[after.uid] = wait

    def _learn_instance(self, changed: Changed, instance: InstanceSeen) -> None:
        name, after = changed.name, changed.after
        self.intended_at.setdefault(name, self.now)
        self._pool_of[instance.service_name] = instance.pool
        self._of |= {instance.service or "": name, instance.url or "": name}
        if after is None or instance.phase == "Gone":
            for service, seen in self.services.items():
                if seen.name == instance.service_name:
                    self.orphans.setdefault(service, self.now)
        elif instance.phase == "Retiring":
            self.retired.add(instance.service or "")
        elif instance.service is not None:
            self.orphans.pop(instance.service, None)

    def _rewind(self, changed: Changed) -> None:
        """What came after the backup was taken is forgotten, also by those who judge."""
        for thing in (changed.before, changed.after):
            if isinstance(thing, InstanceSeen):
                self.rewound.add(changed.name)
                self.agreed.pop(changed.name, None)
                self.intended_at[changed.name] = self.now
            elif isinstance(thing, ClaimSeen):
                self.rewound.add(thing.instance or "")
                self.ready.pop(thing.uid, None)
                self.keys = {key: uid for key, uid in self.keys.items() if uid != thing.uid}
        self.moved &= self._moved_then
        if isinstance(changed.after, ClaimSeen):
            self._learn_ready(changed.name, changed.after)
        self._forget_calls()

    def _forget_calls(self) -> None:
        """Calls for binds that a backup forgot: nobody knows of them, nor which one an agent ends with."""
        called = {self._of.get(url) for (_, url), calls in self.sent.items() if calls}
        called |= {self._of.get(each) for work in self.at_work.values() for each, _ in work}
        for service, seen in self.services.items():
            if self._of.get(service) in called & self.rewound:
                seen.blurred = True
                self._no_longer_at_work(service)

    def _pair(self, event: Wrote) -> Agreed | None:
        """Claim and instance, where this write made them agree for the first time."""
        thing = event.after
        if isinstance(thing, ClaimSeen):
            name, claim = event.name, thing
            instance_name = claim.instance or ""
            instance = self.instances.get(instance_name)
        elif isinstance(thing, InstanceSeen):
            instance_name, instance = event.name, thing
            name = instance.claim or ""
            found = self.claims.get(name)
            if found is None:
                return None
            claim = found
        else:
            return None
        if instance is None or claim.instance != instance_name or instance.claim_uid != claim.uid:
            return None
        before = self.agreed.setdefault(instance_name, [])
        if claim.uid in before:
            return None
        before.append(claim.uid)
        # Who completes the half bind of another is not its binder: that one may have told.
        self.binders[claim.uid] = (claim.attempt or "").partition(" ")[0]
        self.counts["binds"] += 1
        return Agreed(event.actor, name, claim, instance_name, instance)

    def _bound(self, pair: Agreed) -> None:
        """Learnt once it was judged: the next ones are judged by it."""
        if (wait := self.queue.get(pair.claim.uid)) is not None:
            self.bound.append(
                Bound(self.now, pair.name, wait.pool, wait.made_at, pair.claim.attempt)
            )

    def bound_since(self, at: float) -> list[Bound]:
        return self.bound[bisect_left(self.bound, at, key=lambda bind: bind.at) :]

    # ---------------------------------------------------------------- Railway and agents

    def _did(self, event: Did) -> None:
        if event.effect == "serviceCreate":
            instance = self.named(event.name)
            pool = self._pool_of.get(event.name, event.pool)
            self.services[event.service] = ServiceSeen(event.name, event.actor, pool)
            if instance is None or instance.service is not None:
                self.orphans[event.service] = self.now
            return
        seen = self.services.get(event.service)
        if seen is None:
            return
        if event.effect == "serviceDelete":
            seen.alive = False
            self._no_longer_at_work(event.service)
        elif event.effect == "patch":
            seen.overtaken = event.actor in self.terms and event.actor != self.leader[0]
        elif event.effect in FORGETS:
            seen.conversation = seen.waiting = None
            if event.effect == "restart":
                self._no_longer_at_work(event.service)

    def _replied(self, event: Replied) -> None:
        self.replies.setdefault((event.wish, event.url), []).append((event.actor, event.heard))
        if event.heard == "silent":
            self.silent[event.actor, event.wish] = self.attempt_at(event.wish)

    def attempt_at(self, wish: str) -> str | None:
        """The attempt under which this wish is being told now."""
        mine = (c for c in self.claims.values() if c.wish == wish and c.phase == "Bound")
        return next((claim.attempt for claim in mine), None)

    def _requested(self, event: Requested) -> None:
        """What was sent, until its sender has looked anew. The law sees a request before it is learnt."""
        sent = event.outcome == "sent"
        if event.what == "create" and sent and self.named(event.target) is not None:
            self.meant[event.target] = self.now
        if event.what == "look" and event.outcome == "done":
            self._looked_anew(event.actor)
        elif event.target and not sent:
            self.requests[event.actor, event.what, event.target] = event.outcome

    def _looked_anew(self, actor: str) -> None:
        for request in [each for each in self.requests if each[0] == actor]:
            del self.requests[request]

    def _heard(self, event: Heard) -> None:
        seen = self.services.get(event.service)
        if event.conversation is not None and event.code == 200 and event.wish is not None:
            self.opened.setdefault(event.conversation, event.wish)
            if seen is not None:
                seen.conversation = event.conversation
        if event.wish not in self.wishes or seen is None:
            return
        seen.waiting = event.wish if event.code == 202 else None
        working = self.at_work.setdefault(event.wish, [])
        if event.code is None:
            seen.heard.append(event.wish)
            self.counts["provisions"] += 1
            came = self.now if event.since is None else event.since
            since = min([came, *self.calls_of(event.wish)])
            self._overlaps(seen, working, since)
            if self.outlives(since):
                seen.blurred = True
            else:
                working.append((event.service, since))
        else:
            self.at_work[event.wish] = [each for each in working if each[0] != event.service]

    def _overlaps(
        self, seen: ServiceSeen, working: list[tuple[str, float]], mine_since: float
    ) -> None:
        """An agent that is at work when the attempt of its call is over: the known limit."""
        for service, since in list(working):
            if self.outlives(min(since, mine_since)):
                working.remove((service, since))
                self.services[service].blurred = seen.blurred = True

    def outlives(self, since: float) -> bool:
        """Whether the attempt of a call from then may be over: it begins some seconds after its attempt."""
        fresh_for_s = min(FRESH_FOR_S, self.handover_s / 2 * SLOWEST)
        return self.now - since >= self.handover_s - fresh_for_s

    def calls_of(self, wish: str) -> list[float]:
        """The calls under way that tell it, by when they were sent."""
        return [at for (told, _), calls in self.sent.items() if told == wish for at in calls]

    def _no_longer_at_work(self, service: str) -> None:
        for wish, working in self.at_work.items():
            self.at_work[wish] = [each for each in working if each[0] != service]

    # ---------------------------------------------------------------- what may be asked

    def named(self, service_name: str) -> InstanceSeen | None:
        """The instance whose service bears this name, as it was made."""
        wanted = service_name.casefold()
        return next((i for i in self.instances.values() if i.service_name == wanted), None)

    def alive(self, service: str | None) -> bool:
        """Whether it was made, and nobody has asked for its deletion."""
        seen = self.services.get(service or "")
        return seen is not None and seen.alive

    def wished_by(self, uid: str, wish: str) -> bool:
        return uid in self.wishes.get(wish, ())
