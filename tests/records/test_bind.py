"""Binding: a promise holds when both sides agree, is given once, and a half bind is mended."""

import asyncio
import random

from api.records import Bind, Fate
from api.types import ClaimPhase, InstancePhase, ReclaimPolicy, key_of
from tests.builders import a_claim
from tests.records.harness import Store
from tests.records.steps import (
    POOL,
    agreed,
    an_attempt,
    bind_what_waits,
    changed,
    half_bind,
    idle,
    mend,
    one,
    pending,
    promise,
    settle,
    unpromise,
)

BINDERS = 20


async def test_a_bind_that_holds_is_on_both_sides_as_it_stands(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    claim = await one(records, a_claim(reclaim_policy=ReclaimPolicy.DELETE))
    attempt = await an_attempt(records, "p1")
    [bind] = await records.bind([Bind(claim, instance)], attempt)
    assert bind.claim == await records.claim(key_of(claim))
    assert bind.instance == await records.instance(key_of(instance))
    status, ref = bind.claim.status, bind.instance.spec.claim_ref
    assert status.phase is ClaimPhase.BOUND
    assert status.attempt == attempt
    assert status.bound_at == attempt.at
    assert status.instance is not None
    assert status.instance.name == instance.metadata.name
    assert status.instance.url == instance.status.url
    assert ref is not None
    assert ref.name == claim.metadata.name
    assert ref.uid == claim.metadata.uid
    assert ref.reclaim_policy is ReclaimPolicy.DELETE
    assert await records.fate(bind.instance) is Fate.KEPT


async def test_one_promise_that_cannot_be_given_costs_the_others_nothing(store: Store) -> None:
    records = await store.client()
    i1, i2, i3 = await idle(store, records, 3)
    c1, c2, c3 = await pending(store, records, 3)
    await promise(records, c2, i2)
    binds = [Bind(c1, i1), Bind(c2, i2), Bind(c3, i3)]
    held = await records.bind(binds, await an_attempt(records))
    assert {(b.claim.metadata.uid, b.instance.metadata.uid) for b in held} == {
        (c1.metadata.uid, i1.metadata.uid),
        (c3.metadata.uid, i3.metadata.uid),
    }


async def test_an_instance_is_promised_to_one_claim_only(store: Store) -> None:
    one_, two = await store.client(), await store.client()
    [instance] = await idle(store, one_)
    first, second = await pending(store, one_, 2)
    held = await promise(one_, first, instance)
    assert await two.bind([Bind(second, instance)], await an_attempt(two, "p2")) == []
    assert await two.bind([Bind(second, held.instance)], await an_attempt(two, "p2")) == []
    assert await one_.instance(key_of(instance)) == held.instance


async def test_a_claim_is_promised_one_instance_only(store: Store) -> None:
    one_, two = await store.client(), await store.client()
    i1, i2 = await idle(store, one_, 2)
    [claim] = await pending(store, one_)
    held = await promise(one_, claim, i1)
    assert await two.bind([Bind(claim, i2)], await an_attempt(two, "p2")) == []
    assert await two.bind([Bind(held.claim, i2)], await an_attempt(two, "p2")) == []
    assert await one_.claim(key_of(claim)) == held.claim
    assert (await one_.instance(key_of(i2))).spec.claim_ref is None


async def test_one_batch_promises_nothing_twice(store: Store) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    c1, c2 = await pending(store, records, 2)
    every = [Bind(c, i) for c in (c1, c2) for i in (i1, i2)]
    held = await records.bind(every, await an_attempt(records))
    assert len({b.claim.metadata.uid for b in held}) == len(held)
    assert len({b.instance.metadata.uid for b in held}) == len(held)
    assert held


async def test_only_an_instance_that_may_be_offered_is_promised(store: Store) -> None:
    records = await store.client()
    barred, failed, retiring = await idle(store, records, 3)
    claims = await pending(store, records, 3)
    unfit = await records.write_instances(
        [
            changed(barred, barred="Heard"),
            changed(failed, phase=InstancePhase.FAILED),
            changed(retiring, phase=InstancePhase.RETIRING),
        ]
    )
    for read in ((barred, failed, retiring), unfit):
        binds = [Bind(c, i) for c, i in zip(claims, read, strict=True) if i is not None]
        assert await records.bind(binds, await an_attempt(records)) == []
    for instance in (barred, failed, retiring):
        assert (await records.instance(key_of(instance))).spec.claim_ref is None


async def test_an_ended_claim_is_promised_nothing(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    failed = await settle(records, claim, phase=ClaimPhase.FAILED)
    assert failed is not None
    for read in (claim, failed):
        assert await records.bind([Bind(read, instance)], await an_attempt(records)) == []
    assert (await records.instance(key_of(instance))).spec.claim_ref is None


async def test_a_claim_ref_is_set_once_and_for_all(store: Store) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    first, second = await pending(store, records, 2)
    held = await promise(records, first, i1)
    ref = held.instance.spec.claim_ref
    assert ref is not None
    for forged in (None, ref.model_copy(update={"uid": second.metadata.uid})):
        now = await records.instance(key_of(i1))
        spec = now.spec.model_copy(update={"claim_ref": forged})
        await records.write_instances([changed(now, url="x").model_copy(update={"spec": spec})])
    assert (await records.instance(key_of(i1))).spec.claim_ref == ref
    freed = await unpromise(records, held.claim)
    assert freed is not None
    assert (await records.instance(key_of(i1))).spec.claim_ref == ref
    now = await records.instance(key_of(i1))
    assert await records.bind([Bind(second, now)], await an_attempt(records)) == []
    again = await records.bind([Bind(freed, now)], await an_attempt(records))
    assert again == []
    assert (await promise(records, freed, i2)).claim.metadata.uid == first.metadata.uid
    assert await records.fate(now) is Fate.MOVED


async def test_twenty_binders_promise_each_instance_once_where_claims_outnumber_them(
    store: Store,
) -> None:
    await race(store, claims=12, instances=9)


async def test_twenty_binders_promise_each_claim_once_where_instances_outnumber_them(
    store: Store,
) -> None:
    await race(store, claims=9, instances=12)


async def race(store: Store, claims: int, instances: int) -> None:
    """Binders of several processes look and bind until nothing is left to bind."""
    records = await store.client()
    await idle(store, records, instances, apart=False)
    waiting = await pending(store, records, claims, apart=False)
    clients = [await store.client() for _ in range(5)]
    held: list[Bind] = []

    async def binder(n: int) -> None:
        rng = random.Random(n)
        while len(await agreed_so_far()) < min(claims, instances):
            held.extend(await bind_what_waits(clients[n % 5], f"p{n}", rng))

    async def agreed_so_far() -> set[str]:
        return {
            i.metadata.name for i in await clients[0].instances() if i.spec.claim_ref is not None
        }

    async with asyncio.timeout(60):
        await asyncio.gather(*(binder(n) for n in range(BINDERS)))
    for bind in held:  # Completing a bind twice tells the same promise twice.
        ref = bind.instance.spec.claim_ref
        assert ref is not None
        assert ref.uid == bind.claim.metadata.uid
    pairs = {(b.claim.metadata.uid, b.instance.metadata.uid) for b in held}
    assert len({claim for claim, _ in pairs}) == len(pairs) == min(claims, instances)
    assert len({instance for _, instance in pairs}) == len(pairs)
    for n in range(10):  # The looks that follow mend what the race left half.
        await bind_what_waits(records, "last", random.Random(n))
    names = await agreed(records, waiting)
    assert len(names) == len(set(names.values())) == min(claims, instances)


async def test_two_claims_that_were_promised_the_same_instance_end_with_one_each(
    store: Store,
) -> None:
    records = await store.client()
    i1, _ = await idle(store, records, 2)
    first, second = await pending(store, records, 2)
    await half_bind(records, second, i1)
    await records.bind([Bind(first, i1)], await an_attempt(records))
    for n in range(10):
        await bind_what_waits(records, "p1", random.Random(n))
    names = await agreed(records, [first, second])
    assert len(set(names.values())) == 2


async def test_a_half_bind_is_not_held_and_the_next_look_completes_it(store: Store) -> None:
    records = await store.client()
    [instance] = await idle(store, records)
    [claim] = await pending(store, records)
    half = await half_bind(records, claim, instance)
    assert (await records.instance(key_of(instance))).spec.claim_ref is None
    light = await records.bindable(POOL, limit=5)
    assert light.claims == ()
    [bind] = await records.bind([Bind(half, instance)], await an_attempt(records, "p2"))
    assert bind.claim == await records.claim(key_of(claim))
    assert await agreed(records, [claim]) == {claim.metadata.name: instance.metadata.name}


async def test_a_half_bind_of_another_instance_is_not_completed_by_this_one(
    store: Store,
) -> None:
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    [claim] = await pending(store, records)
    half = await half_bind(records, claim, i1)
    assert await records.bind([Bind(half, i2)], await an_attempt(records)) == []
    assert await records.bind([Bind(claim, i2)], await an_attempt(records)) == []
    assert await records.claim(key_of(claim)) == half


async def test_a_half_bind_to_a_barred_instance_is_replaced(store: Store) -> None:
    await replaced(store, barred="Heard")


async def test_a_half_bind_to_a_retiring_instance_is_replaced(store: Store) -> None:
    await replaced(store, phase=InstancePhase.RETIRING)


async def test_a_half_bind_to_a_failed_instance_is_replaced(store: Store) -> None:
    await replaced(store, phase=InstancePhase.FAILED)


async def replaced(store: Store, **spoilt: object) -> None:
    """A half bind whose instance is then spoilt ends with another instance, and never comes back."""
    records = await store.client()
    i1, i2 = await idle(store, records, 2)
    [claim] = await pending(store, records)
    half = await half_bind(records, claim, i1)
    [lost] = await records.write_instances([changed(i1, **spoilt)])
    assert lost is not None
    attempt = await an_attempt(records, "p2")
    assert await records.bind([Bind(half, lost)], attempt) == []
    await mend(records, half, attempt)
    now = await records.claim(key_of(claim))
    assert (now.status.phase, now.status.instance) == (ClaimPhase.PENDING, None)
    assert (await records.bindable(POOL, limit=5)).claims == (now,)
    bind = await promise(records, now, i2)
    assert await records.fate(bind.instance) is Fate.KEPT
    assert await unpromise(records, half) is None
