"""Settling: a claim's status is written only over what was read, and what ended stays ended."""

import asyncio

from api.conditions import condition
from api.records import Bind, Fate, Mark, Outcome
from api.types import Attempt, ClaimPhase, InstancePhase, key_of
from tests.builders import a_claim
from tests.records.harness import Store
from tests.records.steps import (
    POOL,
    an_attempt,
    changed,
    idle,
    one,
    pending,
    promise,
    settle,
    unpromise,
)

DONE = {
    "phase": ClaimPhase.READY,
    "conversation_id": "conversation",
    "invite_url": "https://x.test/i",
    "joined": False,
}


async def test_what_is_settled_is_on_record_with_every_field(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    ready = await settle(records, bind.claim, ready_at=await records.now(), **DONE)
    assert ready is not None
    assert ready.status.model_dump() == bind.claim.status.model_dump() | DONE | {
        "ready_at": ready.status.ready_at
    }
    assert await records.claim(key_of(claim)) == ready


async def test_of_twenty_outcomes_over_one_read_one_is_written(store: Store) -> None:
    records = [await store.client() for _ in range(4)]
    [instance] = await idle(store, records[0])
    [claim] = await pending(store, records[0])
    bound = (await promise(records[0], claim, instance)).claim
    every = [
        settle(records[n % 4], bound, phase=ClaimPhase.READY, conversation_id=f"c{n}")
        for n in range(20)
    ]
    written = [s for s in await asyncio.gather(*every) if s is not None]
    assert len(written) == 1
    assert await records[0].claim(key_of(claim)) == written[0]


async def test_another_phase_than_was_read_leaves_the_claim_alone(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bound = (await promise(records, claim, instance)).claim
    assert await settle(records, claim, phase=ClaimPhase.FAILED) is None
    assert await records.claim(key_of(claim)) == bound


async def test_another_instance_than_was_read_leaves_the_claim_alone(store: Store) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    [claim] = await pending(store, records)
    at_first = (await promise(records, claim, i1)).claim
    freed = await unpromise(records, at_first)
    assert freed is not None
    later = (await promise(records, freed, i2)).claim
    same_attempt = at_first.status.model_copy(update={"attempt": later.status.attempt})
    forged = at_first.model_copy(update={"status": same_attempt})
    assert await settle(records, forged, phase=ClaimPhase.READY) is None
    assert await records.claim(key_of(claim)) == later


async def test_an_attempt_taken_over_shuts_the_former_one_out(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    former = (await promise(records, claim, instance)).claim
    taken = await settle(records, former, attempt=await an_attempt(records, "p2"))
    assert taken is not None
    assert await settle(records, former, **DONE) is None
    assert await settle(records, former, attempt=await an_attempt(records, "p3")) is None
    assert await records.claim(key_of(claim)) == taken
    assert (await settle(records, taken, **DONE)) is not None


async def test_the_same_process_with_an_older_attempt_is_shut_out_too(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    former = (await promise(records, claim, instance)).claim
    await store.tick()
    assert former.status.attempt is not None
    again = Attempt(by=former.status.attempt.by, at=await records.now())
    assert await settle(records, former, attempt=again) is not None
    assert await settle(records, former, **DONE) is None


async def test_a_claim_of_the_same_name_is_not_settled_in_anothers_stead(store: Store) -> None:
    records = await store.client()
    old = await one(records, a_claim(name="c1"))
    await records.delete_claim(old)
    new = await one(records, a_claim(name="c1"))
    assert await settle(records, old, phase=ClaimPhase.FAILED) is None
    assert await records.claim(key_of(new)) == new


async def test_what_ended_stays_ended(store: Store) -> None:
    records = await store.client()
    ready, failed = await pending(store, records, 2)
    [instance] = await idle(store, records)
    bound = (await promise(records, ready, instance)).claim
    ends = [
        await settle(records, bound, **DONE),
        await settle(records, failed, phase=ClaimPhase.FAILED),
    ]
    for ended in ends:
        assert ended is not None
        assert await settle(records, ended, conversation_id="another") is None
        assert await settle(records, ended, phase=ClaimPhase.PENDING, instance=None) is None
        assert await records.claim(key_of(ended)) == ended


async def test_one_outcome_that_does_not_hold_costs_the_others_nothing(store: Store) -> None:
    records = await store.client()
    c1, c2, c3 = await pending(store, records, 3)
    await settle(records, c2, phase=ClaimPhase.FAILED)
    await records.delete_claim(c1)
    failed = c3.status.model_copy(update={"phase": ClaimPhase.FAILED})
    written = await records.settle([Outcome(c, failed) for c in (c1, c2, c3)])
    assert written[:2] == [None, None]
    assert written[2] == await records.claim(key_of(c3))


async def test_a_settle_that_repeats_what_is_there_changes_nothing(store: Store) -> None:
    records = await store.client()
    [claim] = await pending(store, records)
    await settle(records, claim)
    assert await records.claim(key_of(claim)) == claim


# ---------------------------------------------------------------- marks


async def test_a_mark_bars_the_instance_that_the_claim_leaves(store: Store) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    [claim] = await pending(store, records)
    bound = (await promise(records, claim, i1)).claim
    status = claim.status
    [freed] = await records.settle([Outcome(bound, status, Mark("HeardBefore"))])
    assert freed is not None
    left = await records.instance(key_of(i1))
    assert left.status.barred == "HeardBefore"
    assert left.status.phase is not InstancePhase.FAILED
    ready = condition(left.status.conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "HeardBefore")
    assert (await records.instance(key_of(i2))).status == i2.status
    assert await records.fate(left) is Fate.MOVED


async def test_a_mark_may_fail_the_instance_too(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bound = (await promise(records, claim, instance)).claim
    await records.settle([Outcome(bound, claim.status, Mark("Unreached", failed=True))])
    left = await records.instance(key_of(instance))
    assert (left.status.phase, left.status.barred) == (InstancePhase.FAILED, "Unreached")


async def test_a_mark_does_not_bring_a_retiring_instance_back(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    [retiring] = await records.write_instances(
        [changed(bind.instance, phase=InstancePhase.RETIRING)]
    )
    assert retiring is not None
    await records.settle([Outcome(bind.claim, claim.status, Mark("Unreached", failed=True))])
    left = await records.instance(key_of(instance))
    assert left.status.phase is InstancePhase.RETIRING


async def test_an_outcome_that_does_not_hold_marks_nothing(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    await settle(records, bind.claim, attempt=await an_attempt(records, "p2"))
    await records.settle([Outcome(bind.claim, claim.status, Mark("Heard", failed=True))])
    assert (await records.instance(key_of(instance))).status == bind.instance.status


# ---------------------------------------------------------------- release at each moment


async def test_a_claim_released_while_pending_leaves_the_queue(store: Store) -> None:
    records = await store.client()
    gone, stays = await pending(store, records, 2)
    await records.delete_claim(gone)
    assert (await records.view(POOL)).claims == (stays,)
    assert (await records.bindable(POOL, limit=5)).claims == (stays,)
    assert await records.queue_position(stays) == 1


async def test_a_claim_released_between_look_and_bind_is_promised_nothing(store: Store) -> None:
    records, user = await store.client(), await store.client()
    [instance] = await idle(store, records)
    await pending(store, records)
    light = await records.bindable(POOL, limit=5)
    await user.delete_claim(light.claims[0])
    binds = [Bind(light.claims[0], light.idle[0])]
    assert await records.bind(binds, await an_attempt(records)) == []
    now = await records.instance(key_of(instance))
    assert now.spec.claim_ref is None
    [other] = await pending(store, records)
    await promise(records, other, now)


async def test_a_claim_released_while_bound_is_told_by_its_fate(store: Store) -> None:
    records, user = await store.client(), await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    await user.delete_claim(claim)
    assert await records.fate(bind.instance) is Fate.RELEASED
    assert await settle(records, bind.claim, **DONE) is None
    now = await records.instance(key_of(instance))
    assert now.spec.claim_ref == bind.instance.spec.claim_ref


async def test_a_claim_released_when_ready_is_told_by_its_fate(store: Store) -> None:
    records, user = await store.client(), await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    ready = await settle(records, bind.claim, **DONE)
    assert ready is not None
    assert await records.fate(bind.instance) is Fate.KEPT
    await user.delete_claim(ready)
    assert await records.fate(bind.instance) is Fate.RELEASED


async def test_a_namesake_made_after_the_release_changes_no_fate(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    bind = await promise(records, claim, instance)
    await records.delete_claim(claim)
    await one(records, a_claim(name=claim.metadata.name))
    assert await records.fate(bind.instance) is Fate.RELEASED
    assert (await records.view(POOL)).fates == {instance.metadata.name: Fate.RELEASED}
