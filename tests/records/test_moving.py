"""What a move asks of a store: who leads, who it is, and records brought, admitted, dropped."""

from datetime import timedelta
from typing import Any

import pytest

from api.records import AlreadyExists, Conflict, Installation, Invalid, Lease, NotFound
from api.records.moving import CREATED, IMPORT, ORIGIN, is_arriving
from api.records.opening import moving_of
from api.types import (
    AgentClaim,
    AgentInstance,
    Attempt,
    BoundInstance,
    ClaimPhase,
    ClaimRef,
    InstancePhase,
    key_of,
)
from tests.builders import NOW, a_claim, a_pool, an_instance
from tests.records.harness import Store
from tests.records.steps import POOL, changed, intended, seen

MARKS = {IMPORT: "true", ORIGIN: "uid-of-there"}


def arriving_claim(name: str = "c1", **fields: Any) -> AgentClaim:
    whole: dict[str, Any] = {
        "phase": ClaimPhase.READY,
        "conversation_id": "x",
        "annotations": MARKS,
    } | fields
    return a_claim(name=name, **whole)


def arriving_instance(name: str = "i1", **fields: Any) -> AgentInstance:
    whole: dict[str, Any] = {
        "phase": InstancePhase.IDLE,
        "service_id": "s",
        "annotations": MARKS,
    } | fields
    return an_instance(name=name, **whole)


def every(annotations: dict[str, str] = MARKS) -> list[Any]:
    """One of each kind."""
    made = (a_pool, arriving_claim, arriving_instance)
    return [make(annotations=annotations) for make in made]


# ---------------------------------------------------------------- who leads, and who it is


async def test_who_leads_is_known_with_the_time_of_its_last_word(store: Store) -> None:
    records = await store.client()
    moving = moving_of(records)
    assert await moving.leads() == []
    taken = await records.write_lease(Lease("b"), "p1")
    await records.write_lease(await records.write_lease(Lease("a"), "p2"), "")
    now = await records.now()
    first, second = await moving.leads()
    assert [(e.name, e.holder) for e in (first, second)] == [("a", ""), ("b", "p1")]
    assert abs(now - second.renewed_at) < timedelta(seconds=3)
    await store.tick()
    await records.write_lease(taken, "p1")
    assert (await moving.leads())[1].renewed_at > second.renewed_at


async def test_an_empty_store_becomes_another_installation_and_stays_it(store: Store) -> None:
    records = await store.client()
    moving, wanted = moving_of(records), Installation("owner-of-there", b"\x00\xff" * 16)
    await moving.adopt(await records.installation())
    assert await moving.adopt(wanted)
    assert await records.installation() == wanted
    assert not await moving.adopt(wanted)


async def test_a_store_with_instances_becomes_nobody_else(store: Store) -> None:
    records = await store.client()
    before = await records.installation()
    await intended(store, records)
    with pytest.raises(Invalid, match="import into"):
        await moving_of(records).adopt(Installation("somebody", b"y" * 32))
    assert await records.installation() == before
    assert not await moving_of(records).adopt(before)


# ---------------------------------------------------------------- brought


async def test_what_is_brought_is_as_it_says_and_bears_the_mark(store: Store) -> None:
    records = await store.client()
    moving = moving_of(records)
    status = {"idle": 2, "annotations": MARKS, "labels": {"a": "b"}, "min_idle": 2}
    [pool] = await moving.bring([a_pool(**status)])
    [claim] = await moving.bring([arriving_claim(invite_url="https://x.test", bound_at=NOW)])
    ref = ClaimRef(name="c1", uid=claim.metadata.uid)
    claimed = arriving_instance(phase=InstancePhase.CLAIMED, claim_ref=ref, barred="Used")
    [instance] = await moving.bring([claimed])
    assert (await records.pool(POOL)) == pool
    assert (await records.claim(key_of(claim))) == claim
    assert (await records.instance(key_of(instance))) == instance
    assert (pool.status.idle, pool.spec.min_idle, pool.metadata.labels) == (2, 2, {"a": "b"})
    assert claim.status == arriving_claim(invite_url="https://x.test", bound_at=NOW).status
    assert (instance.spec, instance.status) == (claimed.spec, claimed.status)
    for thing in (pool, claim, instance):
        assert is_arriving(thing)
        assert thing.metadata.uid not in ("", "uid-of-there")
        assert thing.metadata.annotations[ORIGIN] == "uid-of-there"


@pytest.mark.parametrize("phase", InstancePhase)
async def test_an_instance_is_brought_in_any_phase(store: Store, phase: InstancePhase) -> None:
    records = await store.client()
    [made] = await moving_of(records).bring([arriving_instance(phase=phase)])
    assert made.status.phase is phase


@pytest.mark.parametrize("phase", ClaimPhase)
async def test_a_claim_is_brought_in_any_phase(store: Store, phase: ClaimPhase) -> None:
    records = await store.client()
    named: dict[str, Any] = {
        "instance": BoundInstance(name="i1"),
        "attempt": Attempt(by="the old", at=NOW),
    }
    told = arriving_claim(phase=phase, **({} if phase is ClaimPhase.PENDING else named))
    [made] = await moving_of(records).bring([told])
    assert made.status == told.status


async def test_what_was_created_earlier_elsewhere_keeps_its_place_in_the_queue(
    store: Store,
) -> None:
    records = await store.client()
    told = [("b", NOW - timedelta(days=400)), ("a", NOW - timedelta(days=399))]
    queue = [a_claim(name=n, annotations={**MARKS, CREATED: at.isoformat()}) for n, at in told]
    made = await moving_of(records).bring(queue)
    await moving_of(records).admit(made)
    await store.tick()
    await records.create_claims([a_claim(name="0-later")])
    view = await seen(store, lambda: records.view(POOL), lambda v: len(v.claims) == 3)
    assert [c.metadata.name for c in view.claims] == ["b", "a", "0-later"]
    assert [c.metadata.creation_timestamp for c in view.claims[:2]] == [at for _, at in told]


async def test_only_what_bears_the_mark_is_brought(store: Store) -> None:
    moving = moving_of(await store.client())
    for thing in every(annotations={}):
        with pytest.raises(Invalid):
            await moving.bring([thing])


async def test_nothing_is_brought_over_what_is_there(store: Store) -> None:
    moving = moving_of(await store.client())
    for thing in every():
        await moving.bring([thing])
        with pytest.raises(AlreadyExists):
            await moving.bring([thing])


# ---------------------------------------------------------------- admitted, or dropped


async def test_what_is_admitted_is_a_record_like_any_other(store: Store) -> None:
    records = await store.client()
    moving = moving_of(records)
    for thing in every():
        [brought] = await moving.bring([thing])
        [admitted] = await moving.admit([brought])
        assert admitted.metadata.annotations == {ORIGIN: "uid-of-there"}
        assert (admitted.spec, admitted.status) == (brought.spec, brought.status)
        with pytest.raises(Conflict):
            await moving.admit([brought])
    instance = await records.instance(key_of(arriving_instance()))
    written = await records.write_instances([changed(instance, phase=InstancePhase.FAILED)])
    assert written != [None]


async def test_of_an_import_that_has_not_ended_everything_can_be_taken_back(store: Store) -> None:
    records = await store.client()
    moving = moving_of(records)
    [pool] = await moving.bring([a_pool(annotations=MARKS)])
    [claim] = await moving.bring([arriving_claim()])
    [instance, other] = await moving.bring([arriving_instance(), arriving_instance("i2")])
    await moving.drop(claim)
    await moving.drop(instance)
    [admitted] = await moving.admit([other])
    with pytest.raises(Conflict):
        await moving.drop(other)
    await moving.drop(admitted)  # Its pool still arrives.
    await moving.drop(pool)
    for read, thing in ((records.claim, claim), (records.instance, other), (records.pool, pool)):
        with pytest.raises(NotFound):
            await read(key_of(thing))
        with pytest.raises(NotFound):
            await moving.drop(thing)


async def test_what_was_admitted_is_dropped_no_more(store: Store) -> None:
    records = await store.client()
    moving = moving_of(records)
    for thing in every():
        [admitted] = await moving.admit(await moving.bring([thing]))
        with pytest.raises(Invalid):
            await moving.drop(admitted)
