"""Leases: taken, renewed, run out, taken over and given up, always over what was read."""

import asyncio

import pytest

from api.records import Conflict, Lease, Records
from tests.records.harness import Store

NAME = "environment"


async def test_a_lease_nobody_ever_took_is_free(store: Store) -> None:
    records = await store.client()
    assert await records.lease(NAME) == Lease(NAME, holder="", version=0)


async def test_a_lease_is_taken_renewed_and_given_up(store: Store) -> None:
    records = await store.client()
    taken = await records.write_lease(await records.lease(NAME), "p1")
    assert (taken.name, taken.holder) == (NAME, "p1")
    renewed = await records.write_lease(taken, "p1")
    assert renewed.version != taken.version
    given_up = await records.write_lease(renewed, "")
    assert given_up.holder == ""
    assert await records.lease(NAME) == given_up
    again = await records.write_lease(given_up, "p2")
    assert len({lease.version for lease in (taken, renewed, given_up, again)}) == 4


async def test_whoever_reads_the_lease_sees_each_renewal(store: Store) -> None:
    records, watcher = await store.client(), await store.client()
    taken = await records.write_lease(Lease(NAME), "p1")
    assert await watcher.lease(NAME) == taken
    renewed = await records.write_lease(taken, "p1")
    assert await watcher.lease(NAME) == renewed


async def test_a_lease_that_ran_out_is_taken_over_and_its_holder_learns_it(store: Store) -> None:
    holder, other = await store.client(), await store.client()
    taken = await holder.write_lease(Lease(NAME), "p1")
    over = await other.write_lease(await other.lease(NAME), "p2")
    with pytest.raises(Conflict):
        await holder.write_lease(taken, "p1")
    with pytest.raises(Conflict):
        await holder.write_lease(taken, "")
    assert await holder.lease(NAME) == over


async def test_a_renewal_shuts_out_who_wanted_to_take_over(store: Store) -> None:
    holder, other = await store.client(), await store.client()
    taken = await holder.write_lease(Lease(NAME), "p1")
    read = await other.lease(NAME)
    renewed = await holder.write_lease(taken, "p1")
    with pytest.raises(Conflict):
        await other.write_lease(read, "p2")
    assert await other.lease(NAME) == renewed


async def test_of_ten_who_take_a_free_lease_one_holds_it(store: Store) -> None:
    clients = [await store.client() for _ in range(5)]
    await race(clients, Lease(NAME))


async def test_of_ten_who_take_a_lease_over_one_holds_it(store: Store) -> None:
    clients = [await store.client() for _ in range(5)]
    await race(clients, await clients[0].write_lease(Lease(NAME), "the dead"))


async def race(clients: list[Records], read: Lease) -> None:
    """Ten write over the same read."""
    every = [clients[n % 5].write_lease(read, f"p{n}") for n in range(10)]
    ends = await asyncio.gather(*every, return_exceptions=True)
    won = [end for end in ends if isinstance(end, Lease)]
    assert len(won) == 1
    assert sum(isinstance(end, Conflict) for end in ends) == 9
    assert await clients[0].lease(NAME) == won[0]


async def test_leases_of_different_names_do_not_meet(store: Store) -> None:
    records = await store.client()
    first = await records.write_lease(Lease(NAME), "p1")
    await records.write_lease(Lease("another"), "p2")
    assert await records.lease(NAME) == first
