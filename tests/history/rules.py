"""Rules of a claim's path and of Railway (DESIGN.md sections 3, 5 and 6), held like the laws."""

from datetime import datetime

from tests.history.events import Answered, ClaimSeen, Did, InstanceSeen, Requested, Told
from tests.history.facts import FRESH_FOR_S, Facts
from tests.history.known import Changed, Known, ServiceSeen
from tests.history.laws import Law, Verdict, hold, ours

# Longer than a process is stopped between a look and what it does by it, or its write is under way.
BY_AN_OLD_LOOK_S = 60.0
FASTEST = 0.97  # Of a minute by one clock, as another's may see it.
# Why a claim may leave an agent that serves it: nobody can know.
UNHEARD_OF = ("Silent", "Unreached")


def rule_3_only_the_leader_acts(facts: Facts, event: Known) -> Verdict:
    """Losing the lease stops effects before it runs out: nobody acts while another process holds it."""
    match event:
        case Told(actor=actor, over=False) | Requested(actor=actor, outcome="sent"):
            holder, since = facts.leader
            if not holder or not ours(actor) or "late" in actor:
                return None
            what = f"{actor} acts, and {holder} leads since {facts.now - since:.1f} s"
            return hold(rule_3_only_the_leader_acts, actor == holder, what)
    return None


def rule_3_paused_makes_nothing(facts: Facts, event: Known) -> Verdict:
    """While a pool is paused nothing is created for it."""
    match event:
        case Changed(actor=actor, name=name, before=None, after=InstanceSeen(pool=pool)):
            pauses = facts.pauses.get(pool)
            if pauses is None or not ours(actor):
                return None
            paused = all(pauses.since(facts.now - BY_AN_OLD_LOOK_S))
            return hold(rule_3_paused_makes_nothing, not paused, f"{name} is intended", name)
    return None


def rule_5_an_open_call_is_waited_for(facts: Facts, event: Known) -> Verdict:
    """The deadline is looked at only while no call is open; an answer inside it wins. Nor does a claim leave
    its agent while somebody tells it."""
    match event:
        case Changed(before=ClaimSeen(phase="Bound") as was, after=ClaimSeen() as claim):
            if not ours(event.actor) or was.instance in facts.rewound:
                return None
            instance = facts.instances.get(was.instance or "")
            sent = facts.sent.get((claim.wish, (instance.url if instance else None) or ""), [])
            if claim.reason == "TimedOut":
                # Who told hung up when its attempt was over, and the agent may be at work still.
                open_ = [at for at in sent if not facts.outlives(at)]
                what = f"{event.name} ran out of time while its agent was being told"
                return hold(rule_5_an_open_call_is_waited_for, not open_, what, event.name)
            if claim.phase != "Pending" or len(facts.wishes[claim.wish]) > 1:
                return None
            # One that began half an attempt ago may be given up for silent; a younger one is somebody's.
            young = [at for at in sent if facts.now - at < facts.handover_s / 2]
            what = f"{event.name} left its agent while that was being told"
            return hold(rule_5_an_open_call_is_waited_for, not young, what, event.name)
    return None


def rule_5_a_call_begins_with_its_attempt(facts: Facts, event: Known) -> Verdict:
    """A call begins only in the first five seconds of its attempt, so that it has ended before another's."""
    match event:
        case Told(actor=actor, wish=wish, over=False) if wish in facts.attempted_at:
            age_s = facts.now - facts.attempted_at[wish]
            what = f"{actor} tells {age_s:.1f} s after its attempt was written"
            return hold(rule_5_a_call_begins_with_its_attempt, age_s <= FRESH_FOR_S, what)
    return None


def rule_5_who_holds_the_attempt_decides(facts: Facts, event: Known) -> Verdict:
    """Only the process in attempt.by renews it, lets its agent go or gives up; anybody else not before the
    attempt has had its time. (What the agent itself says, anybody may write.)"""
    match event:
        case Changed(actor=actor, before=ClaimSeen(phase="Bound") as was, after=ClaimSeen() as now):
            kept = now.phase == "Bound" and now.attempt == was.attempt
            if kept or now.phase == "Ready" or now.left == "HalfBind" or not ours(actor):
                return None
            holder = (was.attempt or "").partition(" ")[0]
            writer = (now.attempt or "").partition(" ")[0] or actor.partition(",")[0]
            age_s = facts.now - facts.attempts.get((was.uid, was.attempt or ""), 0.0)
            old = age_s >= facts.handover_s * FASTEST
            may = old or writer == holder or _is_of_many(writer)
            what = (
                f"{writer} decides about {event.name} {age_s:.1f} s after the attempt of {holder}"
            )
            return hold(rule_5_who_holds_the_attempt_decides, may, what, event.name)
    return None


def rule_5_an_attempt_never_goes_back(facts: Facts, event: Known) -> Verdict:
    """An attempt is renewed over the one that was read: its time does not go back, or somebody else would
    take it for older than it is while its call is open."""
    match event:
        case Changed(before=ClaimSeen(phase="Bound") as was, after=ClaimSeen(phase="Bound") as now):
            known = was.attempt and now.attempt and was.uid == now.uid
            if not known or was.attempt == now.attempt or not ours(event.actor):
                return None
            back_s = _made_at(was.attempt) - _made_at(now.attempt)
            what = f"the attempt of {event.name} goes back by {back_s:.1f} s"
            return hold(rule_5_an_attempt_never_goes_back, back_s <= 0, what, event.name)
    return None


def _made_at(attempt: str | None) -> float:
    """By the store's clock."""
    return datetime.fromisoformat((attempt or "").partition(" ")[2]).timestamp()


def _is_of_many(writer: str) -> bool:
    """`controller`, `controller-2`: of real processes a history knows only from an attempt who it was."""
    return writer == "controller" or writer.removeprefix("controller-").isdecimal()


def rule_5_none_idle_is_no_answer(facts: Facts, event: Known) -> Verdict:
    """NoneIdle is a refusal, not an answer: the same key may try again."""
    match event:
        case Answered(status=status, claim=claim) if status in (200, 500):
            refused = status == 500 and facts.reasons.get(claim) == "NoneIdle"
            what = f"{claim} was answered 500 for NoneIdle"
            return hold(rule_5_none_idle_is_no_answer, not refused, what, claim)
    return None


def rule_5_who_is_served_stays(facts: Facts, event: Known) -> Verdict:
    """An agent that heard a claim and said so keeps it: another one is asked only where this one cannot be
    heard any more."""
    match event:
        case Changed(
            before=ClaimSeen(phase="Bound") as was, after=ClaimSeen(phase="Pending") as now
        ):
            if was.uid != now.uid or not ours(event.actor) or was.instance in facts.rewound:
                return None
            instance = facts.instances.get(was.instance or "")
            seen = facts.services.get((instance.service if instance else None) or "")
            if seen is None or not seen.alive:
                return None
            served = _serves(facts, seen, now.wish) and now.left not in UNHEARD_OF
            what = f"{event.name} left {was.instance} ({now.left}), which serves it"
            return hold(rule_5_who_is_served_stays, not served, what, event.name)
    return None


def _serves(facts: Facts, seen: ServiceSeen, wish: str) -> bool:
    opened_for = facts.opened.get(seen.conversation or "")
    return not seen.blurred and wish in (opened_for, seen.waiting)


def rule_5_a_strangers_conversation_is_not_ours(facts: Facts, event: Known) -> Verdict:
    """409 to the first POST of the process that bound: somebody else's conversation. (One whose term ended
    meanwhile has forgotten that it bound, and what it heard: the known gap.)"""
    match event:
        case Changed(actor=actor, after=ClaimSeen(phase="Ready") as claim, name=name):
            strange = facts.opened.get(claim.conversation or "") not in facts.wishes
            instance = facts.instances.get(claim.instance or "")
            call = claim.wish, (instance.url if instance else None) or ""
            replies = facts.replies.get(call, [])
            knows = facts.binders.get(claim.uid) == actor
            only = knows and replies == [(actor, "already")]
            what = f"{name} took {claim.conversation}, a stranger's"
            fine = not (strange and only)
            return hold(rule_5_a_strangers_conversation_is_not_ours, fine, what, name)
    return None


def rule_5_silence_ends_an_attempt(facts: Facts, event: Known) -> Verdict:
    """After silence nobody tells again before the attempt was taken over."""
    match event:
        case Told(actor=actor, wish=wish, over=False):
            attempt = facts.attempt_at(wish)
            if attempt is None:
                return None
            again = facts.silent.get((actor, wish)) == attempt
            what = f"{actor} tells again after silence"
            return hold(rule_5_silence_ends_an_attempt, not again, what)
    return None


def rule_5_renamed_once_ready(facts: Facts, event: Known) -> Verdict:
    """A service is renamed after its claim, once that is Ready."""
    match event:
        case Did(actor=actor, effect="rename", service=service, name=name) if ours(actor):
            of = [i for i in facts.instances.values() if i.service == service]
            ready = [i for i in of if i.claim_uid in facts.ready]
            what = f"{name} was renamed before its claim was Ready"
            return hold(rule_5_renamed_once_ready, bool(ready) or not of, what, name[-8:])
    return None


def rule_6_look_before_a_repeat(facts: Facts, event: Known) -> Verdict:
    """A request to Railway that was answered, or whose answer was lost, is not sent again before a look."""
    match event:
        case Requested(actor=actor, what=what, target=str(target), outcome="sent") if target:
            if (
                what == "delete"
            ):  # What is gone cannot be deleted again; a new term need not look first.
                return None
            before = facts.requests.get((actor, what, target))
            said = f"{actor} sends {what} {target} again, which was {before}"
            fine = before in (None, "refused")
            return hold(rule_6_look_before_a_repeat, fine, said, target[-8:])
    return None


def rule_6_no_push_restarts(facts: Facts, event: Known) -> Verdict:
    """An instance becomes Idle only when auto-deploy is off: a push would restart claimed agents."""
    match event:
        case Did(service=service) if (
            service in facts.services and facts.services[service].overtaken
        ):
            return None  # Perhaps of an earlier template, and from a repository; nobody knows yet.
        case Did(effect="push", service=service, name=name):
            used = [
                i
                for i in facts.instances.values()
                if i.service == service and (i.claim_uid or i.phase == "Idle")
            ]
            what = f"a push deploys {name}, which is offered or claimed"
            return hold(rule_6_no_push_restarts, not used, what, name[-8:])
    return None


RULES: tuple[Law, ...] = (
    rule_3_only_the_leader_acts,
    rule_3_paused_makes_nothing,
    rule_5_an_open_call_is_waited_for,
    rule_5_a_call_begins_with_its_attempt,
    rule_5_who_holds_the_attempt_decides,
    rule_5_an_attempt_never_goes_back,
    rule_5_none_idle_is_no_answer,
    rule_5_who_is_served_stays,
    rule_5_a_strangers_conversation_is_not_ours,
    rule_5_silence_ends_an_attempt,
    rule_5_renamed_once_ready,
    rule_6_look_before_a_repeat,
    rule_6_no_push_restarts,
)
