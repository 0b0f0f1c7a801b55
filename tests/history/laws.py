"""The laws of DESIGN.md section 4 that hold after every step, over what was seen from outside.

A law returns None where it says nothing of the event, else how often it was put to the test and holds; it
raises Broken where it does not. Those of rest are in `rest.py`.
"""

from collections.abc import Callable, Iterable

from tests.history.events import (
    Answered,
    ClaimSeen,
    Did,
    Heard,
    InstanceSeen,
    Requested,
    Said,
)
from tests.history.facts import ENDED, OVER, Facts
from tests.history.known import Agreed, Changed, Known, ServiceSeen, Timeline, Wait

# A decision stands on what was read: the pool's policy may have been edited between look and write.
READ_BEFORE_S = 60.0
ROOM_READ_S = 5.0  # A create stands on what was read so long before it was sent, and no longer.
ORPHAN_SEEN_S = 40.0  # Two looks of 15 s, and the time until reads show it.
CLOCKS_DIFFER_S = 15.0  # The store's clock may have been set meanwhile, more than once.
PASSED_OVER_S = 60.0  # Longer than any process is stopped between its look and its bind.

CANARIES = ("Serve wish", "-canary-")  # In all that is secret in a storm.

Verdict = int | None  # How often it was put to the test; True is once.
Law = Callable[[Facts, Known], Verdict]


class Broken(AssertionError):
    """A law does not hold. `names`: the claim and the instance concerned."""

    def __init__(self, law: str, what: str, names: Iterable[str] = ()) -> None:
        super().__init__(f"{law}: {what}")
        self.law, self.what, self.names = law, what, frozenset(names)


def hold(law: Law, fine: bool, what: str, *names: str) -> bool:
    """True, or Broken with the law's own sentence."""
    if not fine:
        raise Broken(law.__name__, f"{what}\n  {law.__doc__}", names)
    return True


def ours(actor: str) -> bool:
    """Whether a controller did it, and not a person."""
    return actor.startswith("controller")


def law_1_one_claim_for_life(facts: Facts, event: Known) -> Verdict:
    """An instance serves at most one claim in all its life: no agent hears two claims' instructions."""
    law = law_1_one_claim_for_life
    match event:
        case Heard(service=service, instance=name, wish=wish, code=None) if wish in facts.wishes:
            if name in facts.rewound or service not in facts.services:
                return None
            heard = set(facts.services[service].heard)
            return hold(law, len(heard) == 1, f"{name} heard {len(heard)} wishes", name)
        case Agreed(name=claim, instance_name=name):
            uids = facts.agreed[name]
            hold(law, len(uids) == 1, f"{name} was bound to {uids}", name, claim)
            back = (uids[0], name) in facts.moved
            return hold(law, not back, f"{claim} moved back to {name}", name, claim)
        case Changed(before=InstanceSeen() as before, after=InstanceSeen() as after, name=name):
            if before.claim_uid is None:
                return None
            same = before.claim_uid == after.claim_uid
            return hold(law, same, f"claimRef of {name} changed", name)
    return None


def law_2_bound_before_heard(facts: Facts, event: Known) -> Verdict:
    """The bind is on record before the agent hears the instructions."""
    match event:
        case Heard(instance=name, wish=wish, code=None) if wish in facts.wishes:
            if name in facts.rewound:
                return None
            bound = set(facts.agreed.get(name, ())) & set(facts.wishes[wish])
            what = f"{name} heard what no claim bound to it wishes"
            return hold(law_2_bound_before_heard, bool(bound), what, name)
    return None


def law_3_nothing_claimed_is_deleted(facts: Facts, event: Known) -> Verdict:
    """A claimed service is deleted only because its claim was released under Delete, or, under the pool's
    Delete, because its claim has moved on. Under Retain nothing else is deleted. What has no record of ours
    is never deleted."""
    law = law_3_nothing_claimed_is_deleted
    match event:
        case Did(effect="serviceDelete", actor=actor, service=service, name=name) if ours(actor):
            retired = service in facts.retired
            hold(law, retired, f"{actor} deleted {name}, which was not retired", name[-8:])
            kept = [c for c, i in _served_by(facts, service) if c.phase == "Ready"]
            return hold(law, not kept, f"{actor} deleted {name} of a Ready claim", name[-8:])
        case Changed(actor=actor, before=InstanceSeen() as before, after=InstanceSeen() as after):
            if after.phase == "Retiring" and before.phase != "Retiring" and actor != "somebody":
                why = f"{event.name} was retired"
                return hold(law, _may_retire(facts, event.name, before), why, event.name)
    return None


def _served_by(facts: Facts, service: str) -> list[tuple[ClaimSeen, InstanceSeen]]:
    """Claims on record whose instance, both sides agreeing, is this service."""
    found = []
    for claim in facts.claims.values():
        instance = facts.instances.get(claim.instance or "")
        if instance and instance.service == service and instance.claim_uid == claim.uid:
            found.append((claim, instance))
    return found


def _may_retire(facts: Facts, name: str, instance: InstanceSeen) -> bool:
    policies = facts.policies.get(instance.pool, Timeline()).since(facts.now - READ_BEFORE_S)
    if instance.claim is None:
        return "Delete" in policies or _is_stillborn(instance)
    claim = facts.claims.get(instance.claim)
    released = claim is None or claim.uid != instance.claim_uid
    moved = (instance.claim_uid or "", name) in facts.moved
    return (released and instance.claim_policy == "Delete") or (moved and "Delete" in policies)


def _is_stillborn(instance: InstanceSeen) -> bool:
    """Railway never made it: there is nothing to delete."""
    return instance.service is None and instance.phase == "Failed"


def law_4_never_more_than_max_total(facts: Facts, event: Known) -> Verdict:
    """Services in existence or intended never exceed maxTotal (a create already on the wire when an orphan
    appears may)."""
    match event:
        case Did(effect="serviceCreate", actor=actor, name=name) if ours(actor):
            instance = facts.named(name)
            if instance is None or instance.pool not in facts.caps:
                return None  # Law 6 speaks of it.
            pool, since = instance.pool, facts.intended_at[_id_of(facts, instance)]
            if name in facts.meant:  # What it may be now was read for as long before it was sent.
                since = max(since, facts.meant[name] - ROOM_READ_S)
            count = sum(service.pool == pool for service in _counted(facts))
            most = max(facts.caps[pool].since(since))
            what = f"{count} services of {pool}, maxTotal {most}"
            return hold(law_4_never_more_than_max_total, count <= most, what, name[-8:])
        case Changed(actor=actor, before=before, after=InstanceSeen(counted=True) as after):
            was = getattr(before, "counted", None)
            if was is True or not ours(actor) or after.pool not in facts.caps:
                return None
            living = (i for i in facts.instances.values() if i.pool == after.pool and i.counted)
            count = sum(i.phase != "Gone" for i in living)
            # Where an intent is counted by a second write, maxTotal may have sunk between the two.
            since = facts.now if was is None else facts.now - READ_BEFORE_S
            most = max(facts.caps[after.pool].since(since))
            what = f"{count} records of {after.pool}, maxTotal {most}"
            return hold(law_4_never_more_than_max_total, count <= most, what, event.name)
    return None


def _id_of(facts: Facts, instance: InstanceSeen) -> str:
    return next(name for name, each in facts.instances.items() if each is instance)


def _counted(facts: Facts) -> list[ServiceSeen]:
    """Services that exist, but for orphans that no look can have counted yet, and for copies that people
    made under other names: those count once their variables were read (law 14 asks for them at rest)."""
    seen_by = facts.now - ORPHAN_SEEN_S
    return [
        service
        for i, service in facts.services.items()
        if service.alive and ours(service.actor) and facts.orphans.get(i, seen_by) <= seen_by
    ]


def law_5_never_offered_again(facts: Facts, event: Known) -> Verdict:
    """An instance that may have heard somebody's instructions is never offered to anybody else; what may
    have been heard is never taken back."""
    law = law_5_never_offered_again
    match event:
        case Agreed(name=name, claim=claim, instance_name=instance_name, instance=instance):
            if instance_name in facts.rewound:
                return None
            others = [w for w in _may_have_heard(facts, instance) if w != claim.wish]
            what = f"{instance_name} was offered to {name}"
            return hold(law, instance.barred is None and not others, what, name, instance_name)
        case Changed(actor=actor, before=ClaimSeen() as claim, after=None, name=name):
            if not actor.startswith("sidecar"):
                return None
            told = claim.phase in ("Bound", "Ready")
            # One with a key that may wait goes on, whoever hung up.
            goes_on = claim.phase == "Pending" and claim.waits and name.startswith("c-")
            return hold(law, not (told or goes_on), f"{actor} withdrew {name}", name)
    return None


def _may_have_heard(facts: Facts, instance: InstanceSeen) -> set[str]:
    seen = facts.services.get(instance.service or "")
    sent = {wish for (wish, url), calls in facts.sent.items() if url == instance.url and calls}
    return sent | set(seen.heard if seen else ())


def law_6_record_before_service(facts: Facts, event: Known) -> Verdict:
    """The instance record, with its name, is written before the service is created. A repeated create
    collides on the name and is adopted: our record exists, its name matches, it has no serviceId yet. Nothing
    else is ever adopted."""
    law = law_6_record_before_service
    match event:
        case (
            Requested(what="create", outcome="sent", actor=actor, target=name)
            | Did(effect="serviceCreate", actor=actor, name=name)
        ) if ours(actor):
            if name[-8:] in facts.rewound:  # On its way while a backup forgot its record.
                return None
            # Where it was seen to be sent with a record, it may take as long as it likes.
            meant = isinstance(event, Did) and name in facts.meant
            fine = meant or facts.named(name) is not None
            return hold(law, fine, f"{name} has no record", name[-8:])
        case Changed(before=InstanceSeen() as before, after=InstanceSeen() as after, name=name):
            old, new = before.service, after.service
            if new is None or old == new:
                return hold(law, old == new, f"{name} lost its service", name) if old else None
            made = facts.services.get(new)
            own = made is not None and made.name == after.service_name and ours(made.actor)
            return hold(law, own and old is None, f"{name} adopted {new}", name)
    return None


def law_7_absence_is_not_guessed(facts: Facts, event: Known) -> Verdict:
    """What Railway did not clearly say is not believed: an instance is Gone only when its service is."""
    match event:
        case Changed(before=InstanceSeen(), after=InstanceSeen(phase="Gone", service=str(service))):
            what = f"{event.name} is Gone, and its service is not"
            fine = not facts.alive(service)
            return hold(law_7_absence_is_not_guessed, fine, what, event.name)
    return None


def law_8_ended_stays_ended(facts: Facts, event: Known) -> Verdict:
    """What ended stays ended: Ready and Failed claims change no more (but for release)."""
    match event:
        case Changed(before=ClaimSeen(phase=phase) as before, after=after) if phase in ENDED:
            gone = after is None or getattr(after, "uid", "") != before.uid
            what = f"{event.name} changed after its end"
            return hold(law_8_ended_stays_ended, gone, what, event.name)
        case Changed(before=InstanceSeen(phase=phase), after=InstanceSeen(phase=now)):
            if phase not in OVER:
                return None
            what = f"{event.name} was {phase} and is {now}"
            return hold(law_8_ended_stays_ended, now in (phase, "Gone"), what, event.name)
    return None


def law_9_one_answer_for_a_key(facts: Facts, event: Known) -> Verdict:
    """While a claim's record is kept, the same idempotency key and body get the same answer: what one claim
    became that wishes just this, and no other claim while that one is kept."""
    law = law_9_one_answer_for_a_key
    match event:
        case Answered(status=200, key=key, claim=claim, instance=instance, conversation=said):
            became = [
                uid
                for uid, end in facts.ready.items()
                if (end.name, end.instance, end.conversation) == (claim, instance, said)
                and (end.released_at is None or end.released_at >= event.since)
                and end.wish == event.wish
            ]
            hold(law, bool(became), f"{claim} was answered {instance} {said}", claim)
            before = facts.keys.get(key or "", became[0])
            if key is not None:
                facts.keys[key] = became[0]
            kept = before in facts.ready and facts.ready[before].released_at is None
            what = f"{key} was answered {before} before {became}"
            return hold(law, before in became or not kept, what, claim)
    return None


def law_10_no_secret_is_told(facts: Facts, event: Known) -> Verdict:
    """No secret and no instructions in a log, an event, a metric, a status or an error."""
    match event:
        case Said(actor=actor, text=text):
            return hold(law_10_no_secret_is_told, not leaks(text), f"{actor} told what is secret")
    return None


def leaks(text: str) -> bool:
    """Whether it holds any of the instructions, keys, secrets and tokens of a storm."""
    return any(canary in text for canary in CANARIES)


def law_11_one_call_open(facts: Facts, event: Known) -> Verdict:
    """At most one call that tells instructions is open for a claim, and a Ready claim names the conversation
    its agent serves."""
    law = law_11_one_call_open
    match event:
        case Heard(instance=name, wish=wish, code=None) if wish in facts.wishes:
            if name in facts.rewound:
                return None
            # Itself is not among them where its call outlived its attempt.
            others = len(facts.at_work[wish]) - 1
            what = f"{name} hears while {others} other calls are open"
            # The key of a claim that was released may be used again while its call is still open.
            return hold(law, others < 1 or len(facts.wishes[wish]) > 1, what, name)
        case Heard(service=service, instance=name, code=200):
            uid = next(iter(facts.agreed.get(name, ())), "")
            end = facts.ready.get(uid)
            return serves(facts, service, end.conversation, name) if end else None
        case Changed(after=ClaimSeen(phase="Ready") as claim, name=name):
            return _names_its_own(facts, name, claim)
    return None


def _names_its_own(facts: Facts, name: str, claim: ClaimSeen) -> Verdict:
    """The conversation its agent serves, and never one that was opened for another claim. (A stranger who
    used an agent just before its bind cannot be told from us by those who were not answered.)"""
    wish = facts.opened.get(claim.conversation or "")
    strange = wish not in facts.wishes or claim.instance in facts.rewound
    fits = wish is not None and (wish == claim.wish or strange)
    what = f"{name} names {claim.conversation}, which was not opened for it"
    hold(law_11_one_call_open, fits and claim.instance is not None, what, name)
    instance = facts.instances.get(claim.instance or "")
    service = instance.service if instance else None
    return serves(facts, service or "", claim.conversation, name, claim.instance or "")


def serves(facts: Facts, service: str, conversation: str | None, *names: str) -> Verdict:
    """What the agent says now. One that restarted remembers nothing; and of strangers, who may use it before
    or beside us, `rule_5_a_strangers_conversation_is_not_ours` speaks."""
    seen = facts.services.get(service)
    now = seen.conversation if seen and seen.alive and not seen.blurred else None
    strange = any(facts.opened.get(each or "") not in facts.wishes for each in (now, conversation))
    if now is None or (now != conversation and strange):
        return None
    what = f"the agent serves {now}, the claim names {conversation}"
    return hold(law_11_one_call_open, now == conversation, what, *names)


def law_13_oldest_first(facts: Facts, event: Known) -> Verdict:
    """Claims of a pool are served oldest first: nobody who waits is passed over for long."""
    match event:
        case Agreed(name=name, claim=claim):
            return _was_not_passed_over(facts, name, claim, facts.queue.get(claim.uid))
        case Changed(
            before=ClaimSeen(phase="Pending"), after=ClaimSeen(reason="TimedOut") as claim
        ):
            return _was_not_passed_over(facts, event.name, claim, facts.waited.get(claim.uid))
    return None


def _was_not_passed_over(facts: Facts, name: str, claim: ClaimSeen, mine: Wait | None) -> Verdict:
    """Looked at when its waiting ends: of what one act binds none comes before the other."""
    if mine is None or (younger := facts.bound_since(mine.since + PASSED_OVER_S)) == []:
        return None
    passed = [
        bind.name
        for bind in younger
        if bind.pool == mine.pool
        and bind.made_at > mine.made_at + CLOCKS_DIFFER_S
        and bind.at < mine.until - CLOCKS_DIFFER_S
        and bind.attempt != claim.attempt
    ]
    what = f"{passed} were bound before {name}, which is older"
    return hold(law_13_oldest_first, not passed, what, name, *passed[:1])


SAFETY: tuple[Law, ...] = (
    law_1_one_claim_for_life,
    law_2_bound_before_heard,
    law_3_nothing_claimed_is_deleted,
    law_4_never_more_than_max_total,
    law_5_never_offered_again,
    law_6_record_before_service,
    law_7_absence_is_not_guessed,
    law_8_ended_stays_ended,
    law_9_one_answer_for_a_key,
    law_10_no_secret_is_told,
    law_11_one_call_open,
    law_13_oldest_first,
)
