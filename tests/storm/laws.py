"""The laws of DESIGN.md section 4, over what the outside saw. Each is told every event.

A law returns None where it says nothing of the event, True where it was put to the test and holds; it raises
Broken where it does not.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from api.types import (
    AgentClaim,
    AgentInstance,
    ClaimPhase,
    InstancePhase,
    Key,
    ReclaimPolicy,
    pool_key,
)
from tests.storm.facts import Agreed, Answered, Did, Event, Facts, Heard, ServiceSeen, Wrote

# A decision stands on what was read: the pool's policy may have been edited between look and write.
READ_BEFORE_S = 60.0
ORPHAN_SEEN_S = 40.0  # Two looks of 15 s, and the time until reads show it.

Verdict = bool | None
Law = Callable[[Facts, Event], Verdict]


class Broken(AssertionError):
    """A law does not hold. `names`: the claim and the instance concerned."""

    def __init__(self, law: str, what: str, names: Iterable[str] = ()) -> None:
        super().__init__(f"{law}: {what}")
        self.law, self.what, self.names = law, what, frozenset(names)


def _hold(law: Law, fine: bool, what: str, *names: str) -> bool:
    if not fine:
        raise Broken(law.__name__, f"{what}\n  {law.__doc__}", names)
    return True


def law_1_one_claim_for_life(facts: Facts, event: Event) -> Verdict:
    """An instance serves at most one claim in all its life: no agent hears two claims' instructions."""
    law = law_1_one_claim_for_life
    match event:
        case Heard(service=service, instance=name, wish=wish, code=None) if wish in facts.wishes:
            heard = set(facts.services[service].heard)
            return _hold(law, len(heard) == 1, f"{name} heard {len(heard)} wishes", name)
        case Agreed(claim=claim, instance=instance):
            uids, name = facts.agreed[instance.metadata.name], instance.metadata.name
            return _hold(law, len(uids) == 1, f"{name} was bound to {uids}", name, _name(claim))
        case Wrote(before=AgentInstance() as before, after=AgentInstance() as after):
            if before.spec.claim_ref is None:
                return None
            same = before.spec.claim_ref == after.spec.claim_ref
            return _hold(law, same, f"claimRef of {_name(after)} changed", _name(after))
    return None


def law_2_bound_before_heard(facts: Facts, event: Event) -> Verdict:
    """The bind is on record before the agent hears the instructions."""
    match event:
        case Heard(instance=name, wish=wish, code=None) if wish in facts.wishes:
            bound = set(facts.agreed.get(name, ())) & set(facts.wishes[wish])
            what = f"{name} heard what no claim bound to it wishes"
            return _hold(law_2_bound_before_heard, bool(bound), what, name)
    return None


def law_3_nothing_claimed_is_deleted(facts: Facts, event: Event) -> Verdict:
    """A claimed service is deleted only because its claim was released under Delete, or, under the pool's
    Delete, because its claim has moved on. Under Retain nothing else is deleted. What has no record of ours
    is never deleted."""
    law = law_3_nothing_claimed_is_deleted
    match event:
        case Did(effect="serviceDelete", actor=actor, service=service) if _ours(actor):
            retired = service in facts.retired
            name = facts.services[service].name
            return _hold(law, retired, f"{actor} deleted {name}, not retired", name[-8:])
        case Wrote(before=AgentInstance() as before, after=AgentInstance() as after):
            turned = before.status.phase is not InstancePhase.RETIRING
            if after.status.phase is InstancePhase.RETIRING and turned:
                why = f"{_name(after)} was retired"
                return _hold(law, _may_retire(facts, before), why, _name(after))
    return None


def _may_retire(facts: Facts, instance: AgentInstance) -> bool:
    since = facts.now() - READ_BEFORE_S
    policies = facts.policies[pool_key(instance)].since(since)
    ref = instance.spec.claim_ref
    if ref is None:
        return ReclaimPolicy.DELETE in policies
    claim = facts.claims.get(Key(instance.metadata.namespace, ref.name))
    released = claim is None or claim.metadata.uid != ref.uid
    moved = (ref.uid, instance.metadata.name) in facts.moved
    return (released and ref.reclaim_policy is ReclaimPolicy.DELETE) or (
        moved and ReclaimPolicy.DELETE in policies
    )


def law_4_never_more_than_max_total(facts: Facts, event: Event) -> Verdict:
    """Services in existence or intended never exceed maxTotal (a create already on the wire when an orphan
    appears may)."""
    match event:
        case Did(effect="serviceCreate", actor=actor, name=name) if _ours(actor):
            instance = facts.named(name)
            if instance is None:
                return None  # Law 6 speaks of it.
            pool, intended_at = pool_key(instance), facts.intended_at[instance.metadata.name]
            count = sum(service.pool == pool for service in _known(facts))
            most = max(facts.caps[pool].since(intended_at))
            what = f"{count} services of {pool}, maxTotal {most}"
            return _hold(law_4_never_more_than_max_total, count <= most, what, name[-8:])
    return None


def _known(facts: Facts) -> list[ServiceSeen]:
    """Services that exist, but for orphans that no look can have counted yet."""
    seen_by = facts.now() - ORPHAN_SEEN_S
    return [
        service
        for i, service in facts.services.items()
        if facts.alive(i) and facts.orphans.get(i, seen_by) <= seen_by
    ]


def law_5_never_offered_again(facts: Facts, event: Event) -> Verdict:
    """An instance that may have heard somebody's instructions is never offered to anybody else; what may
    have been heard is never taken back."""
    law = law_5_never_offered_again
    match event:
        case Agreed(claim=claim, instance=instance):
            names = (_name(claim), _name(instance))
            fit = instance.status.barred is None
            seen = facts.services.get(instance.status.service_id or "")
            others = [
                w for w in _may_have_heard(facts, instance, seen) if not _wishes(facts, claim, w)
            ]
            what = f"{names[1]} was offered to {names[0]}"
            return _hold(law, fit and not others, what, *names)
        case Wrote(actor, before=AgentClaim() as claim, after=None) if actor.startswith("sidecar"):
            told = claim.status.phase in (ClaimPhase.BOUND, ClaimPhase.READY)
            return _hold(law, not told, f"{actor} withdrew {_name(claim)}", _name(claim))
    return None


def _may_have_heard(facts: Facts, instance: AgentInstance, seen: ServiceSeen | None) -> set[str]:
    sent = {call.wish for call in facts.calls if call.url == instance.status.url}
    return sent | set(seen.heard if seen else ())


def _wishes(facts: Facts, claim: AgentClaim, wish: str) -> bool:
    return claim.metadata.uid in facts.wishes.get(wish, ())


def law_6_record_before_service(facts: Facts, event: Event) -> Verdict:
    """The instance record, with its name, is written before the service is created. A repeated create
    collides on the name and is adopted: our record exists, its name matches, it has no serviceId yet. Nothing
    else is ever adopted."""
    law = law_6_record_before_service
    match event:
        case Did(effect="serviceCreate", actor=actor, name=name) if _ours(actor):
            return _hold(law, facts.named(name) is not None, f"{name} has no record", name[-8:])
        case Wrote(before=AgentInstance() as before, after=AgentInstance() as after):
            old, new = before.status.service_id, after.status.service_id
            if new is None or old == new:
                return _hold(law, old == new, f"{_name(after)} lost its service") if old else None
            made = facts.services.get(new)
            ours = made is not None and made.name == after.spec.service_name and _ours(made.actor)
            return _hold(law, ours and old is None, f"{_name(after)} adopted {new}", _name(after))
    return None


def law_8_ended_stays_ended(facts: Facts, event: Event) -> Verdict:
    """What ended stays ended: Ready and Failed claims change no more (but for release)."""
    match event:
        case Wrote(before=AgentClaim() as before, after=after) if before.ended:
            what = f"{_name(before)} changed after its end"
            return _hold(law_8_ended_stays_ended, after is None, what, _name(before))
    return None


def law_9_one_answer_for_a_key(facts: Facts, event: Event) -> Verdict:
    """While a claim's record is kept, the same idempotency key and body get the same answer: what one claim
    became, and no other claim while that one is kept."""
    law = law_9_one_answer_for_a_key
    match event:
        case Answered(since, key, claim, instance, conversation):
            became = [
                uid
                for uid, end in facts.ready.items()
                if (end.name, end.instance, end.conversation) == (claim, instance, conversation)
                and (end.released_at is None or end.released_at >= since)
            ]
            _hold(law, bool(became), f"{claim} was answered {instance} {conversation}", claim)
            before = facts.keys.get(key or "", became[0])
            if key is not None:
                facts.keys[key] = became[0]
            same = before in became or facts.ready[before].released_at is not None
            return _hold(law, same, f"{key} was answered {before} before {became}", claim)
    return None


def law_11_one_call_open(facts: Facts, event: Event) -> Verdict:
    """At most one call that tells instructions is open for a claim, and a Ready claim names the conversation
    its agent serves."""
    law = law_11_one_call_open
    match event:
        case Heard(instance=name, wish=wish, code=None) if wish in facts.wishes:
            calls = sum(c.arrived and c.wish == wish for c in facts.calls)
            what = f"{name} hears while {calls - 1} other calls are open"
            return _hold(law, calls <= 1 or _released(facts, wish), what, name)
        case Heard(service=service, instance=name, code=200):
            uid = next(iter(facts.agreed.get(name, ())), None)
            ended = facts.ready.get(uid or "")
            return _serves(facts, service, ended.conversation, name) if ended else None
        case Wrote(after=AgentClaim(status=status) as claim) if status.phase is ClaimPhase.READY:
            return _names_its_own(facts, claim)
    return None


def _released(facts: Facts, wish: str) -> bool:
    """The key of a claim that was released may be used again while its call is still open."""
    return len(facts.wishes[wish]) > 1


def _names_its_own(facts: Facts, claim: AgentClaim) -> Verdict:
    """The conversation its agent serves, and never one that was opened for another claim. (A stranger who
    used an agent just before its bind cannot be told from us by those who were not answered.)"""
    named, conversation = claim.status.instance, claim.status.conversation_id
    wish = facts.opened.get(conversation or "")
    fits = wish is not None and (wish not in facts.wishes or _wishes(facts, claim, wish))
    what = f"{_name(claim)} names {conversation}, which was not opened for it"
    _hold(law_11_one_call_open, fits and named is not None, what, _name(claim))
    name = named.name if named else ""
    instance = facts.instances.get(Key(claim.metadata.namespace, name))
    service = instance.status.service_id if instance else None
    return _serves(facts, service or "", conversation, _name(claim), name)


def _serves(facts: Facts, service: str, conversation: str | None, *names: str) -> Verdict:
    """What the agent says now. One that restarted remembers nothing, and may be a stranger's by now."""
    now = facts.serves(service) if facts.alive(service) else None
    if now is None or (now != conversation and facts.opened[now] not in facts.wishes):
        return None
    what = f"the agent serves {now}, the claim names {conversation}"
    return _hold(law_11_one_call_open, now == conversation, what, *names)


LAWS: tuple[Law, ...] = (
    law_1_one_claim_for_life,
    law_2_bound_before_heard,
    law_3_nothing_claimed_is_deleted,
    law_4_never_more_than_max_total,
    law_5_never_offered_again,
    law_6_record_before_service,
    law_8_ended_stays_ended,
    law_9_one_answer_for_a_key,
    law_11_one_call_open,
)


def judge(facts: Facts, event: Event, met: "Counter[str]") -> None:
    """Put every law to the event; count those that had something to say of it."""
    for law in LAWS:
        if law(facts, event):
            met[law.__name__] += 1


def _name(thing: AgentClaim | AgentInstance) -> str:
    return thing.metadata.name


def _ours(actor: str) -> bool:
    return actor.startswith("controller")
