"""The REST door end to end: one after the other as they come, all at once, and as many as it can serve."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from tests.bench.bare_kubernetes import BareClaims
from tests.bench.fleet import Member
from tests.bench.kubernetes_store import KubernetesStore
from tests.bench.load import Clients, Load
from tests.bench.rig import Rig
from tests.bench.stores import Store
from tests.bench.table import Row

PER_S, FOR_S = 45.0, 60.0
WARM = 600  # Idle at the start of the minute; every five seconds as many come as have gone.
REFILL_S = 5.0
BURST = 300
CLAIMS = 1_500  # In one repetition of a saturation.
WARM_UP = 50  # Claims before anything is measured: connections, plans, caches.
BARE = 1_000
ON_KUBERNETES = "-kubernetes"  # Ends the names of its rows.


# ---------------------------------------------------------------- floors: the same load on what is bare


async def _bare(fleet: int, *, poisson_s: float = 0, burst: int = 0, clients: int = 0) -> Load:
    """On the bare chain, on a server of its own."""
    async with Rig(controllers=0, sidecars=0, idle=0) as rig:
        await rig.start_bare([Member(n) for n in range(fleet)])
        return await _loaded(Clients(rig), poisson_s, burst, clients)


async def _bare_writes(
    fleet: int, *, poisson_s: float = 0, burst: int = 0, clients: int = 0
) -> Load:
    """On the four writes alone, on an API server of its own."""
    store = KubernetesStore()
    async with (
        Rig(store, controllers=0, sidecars=0, idle=fleet) as rig,
        store.server.http() as http,
    ):
        ask = BareClaims(http, store.idle).claim
        return await _loaded(Clients(rig, ask=ask), poisson_s, burst, clients)


async def _loaded(load: Clients, poisson_s: float, burst: int, clients: int) -> Load:
    await load.one_by_one(WARM_UP)
    if poisson_s:
        return await load.poisson(PER_S, poisson_s)
    return await load.burst(burst) if burst else await load.saturate(BARE, clients)


# ---------------------------------------------------------------- as they come


async def poisson45(repeat: int) -> AsyncIterator[Row]:
    """45 a second for a minute, open loop, once a run; the floor takes a third of the time."""
    floor = await _bare(WARM_UP + int(PER_S * FOR_S / 2), poisson_s=FOR_S / 3)
    async with Rig(idle=WARM_UP + WARM) as rig:
        clients = Clients(rig, qr=True)
        await clients.one_by_one(WARM_UP)
        refilling = asyncio.create_task(_refill(rig))
        load = await clients.poisson(PER_S, FOR_S)
        refilling.cancel()
        await asyncio.gather(refilling, return_exceptions=True)
        await _check(rig)
    for row in _as_they_came("poisson45", load, floor, p50=8.0, p99=25.0):
        yield row


async def poisson45_kubernetes(repeat: int) -> AsyncIterator[Row]:
    """The same. All who are claimed are there from the start: records that come meanwhile are two writes
    each, and would weigh as much as half the claims."""
    floor = await _bare_writes(WARM_UP + int(PER_S * FOR_S / 2), poisson_s=FOR_S / 3)
    async with Rig(KubernetesStore(), idle=WARM_UP + int(1.1 * PER_S * FOR_S)) as rig:
        clients = Clients(rig, qr=True)
        await clients.one_by_one(WARM_UP)
        load = await clients.poisson(PER_S, FOR_S)
        await _check(rig)
    for row in _as_they_came(f"poisson45{ON_KUBERNETES}", load, floor, p50=30.0, p99=120.0):
        yield row


def _as_they_came(name: str, load: Load, floor: Load, *, p50: float, p99: float) -> Iterator[Row]:
    for metric, q, aim in (("p50", 0.5, p50), ("p99", 0.99, p99), ("max", 1.0, None)):
        low = floor.quantile_ms(q)
        yield Row(name, metric, [load.quantile_ms(q)], "ms", floor=low, aim=aim)
    yield Row(name, "failed", [load.failed], "claims", aim=0)
    yield from _costs(name, "45/s", [load], floor.cpu_per_claim_ms)[:-1]


async def _refill(rig: Rig) -> None:
    while True:
        await asyncio.sleep(REFILL_S)
        await rig.grow(int(PER_S * REFILL_S))


# ---------------------------------------------------------------- all at once


async def burst300(repeat: int) -> AsyncIterator[Row]:
    """300 at once."""
    floor = await _bare(WARM_UP + BURST, burst=BURST)
    loads = await _bursts(Rig(idle=WARM_UP + BURST * repeat), repeat)
    for row in _at_once("burst300", loads, floor, p50=150.0, p90=250.0):
        yield row


async def burst300_kubernetes(repeat: int) -> AsyncIterator[Row]:
    """The same."""
    floor = await _bare_writes(WARM_UP + BURST, burst=BURST)
    loads = await _bursts(Rig(KubernetesStore(), idle=WARM_UP + BURST * repeat), repeat)
    for row in _at_once(f"burst300{ON_KUBERNETES}", loads, floor, p50=2_000.0, last=3_000.0):
        yield row


async def _bursts(rig: Rig, repeat: int) -> list[Load]:
    async with rig:
        clients = Clients(rig, qr=True)
        await clients.one_by_one(WARM_UP)
        loads = [await clients.burst(BURST) for _ in range(repeat)]
        await _check(rig)
    return loads


def _at_once(
    name: str,
    loads: Sequence[Load],
    floor: Load,
    *,
    p50: float,
    p90: float | None = None,
    last: float | None = None,
) -> Iterator[Row]:
    for metric, q, aim in (("p50", 0.5, p50), ("p90", 0.9, p90), ("max", 1.0, last)):
        values = [load.quantile_ms(q) for load in loads]
        yield Row(name, metric, values, "ms", floor=floor.quantile_ms(q), aim=aim)
    yield Row(name, "failed", [load.failed for load in loads], "claims", aim=0)


# ---------------------------------------------------------------- as many as it can


async def saturation(repeat: int) -> AsyncIterator[Row]:
    """As many as 64 and 256 clients can have, without QR codes."""
    for clients in (64, 256):
        floor = await _bare(WARM_UP + BARE, clients=clients)
        loads = await _saturated(repeat, clients, qr=False)
        for row in _rates("saturation", clients, loads, floor, aim=1_500.0):
            yield row


async def saturation_kubernetes(repeat: int) -> AsyncIterator[Row]:
    """The same with 32 and 64 clients; the aim is a share of the floor."""
    for clients in (32, 64):
        floor = await _bare_writes(WARM_UP + BARE, clients=clients)
        loads = await _saturated(repeat, clients, store=KubernetesStore(), claims=BARE, qr=False)
        for row in _rates(f"saturation{ON_KUBERNETES}", clients, loads, floor, of_floor=0.7):
            yield row


def _rates(
    name: str,
    clients: int,
    loads: Sequence[Load],
    floor: Load,
    *,
    aim: float | None = None,
    of_floor: float | None = None,
) -> Iterator[Row]:
    metric, rates = f"{clients} clients", [load.per_s for load in loads]
    yield Row(name, metric, rates, "claims/s", floor.per_s, aim, at_least=True, of_floor=of_floor)
    yield from _costs(name, metric, loads, floor.cpu_per_claim_ms)


async def saturation_qr(repeat: int) -> AsyncIterator[Row]:
    """The same with QR codes; its floor is what two cores could do at the CPU that each claim took."""
    loads = await _saturated(repeat, 64, qr=True)
    floor = 2000 / (sum(load.cpu_per_claim_ms for load in loads) / len(loads))
    rates = [load.per_s for load in loads]
    yield Row("saturation_qr", "64 clients", rates, "claims/s", floor, at_least=True, of_floor=0.7)


async def seconds(repeat: int) -> AsyncIterator[Row]:
    """What a second sidecar and a second controller add."""
    one = await _saturated(repeat, 64, qr=False)
    base = sorted(load.per_s for load in one)[len(one) // 2]
    for name, controllers, sidecars in (("2nd sidecar", 1, 2), ("2nd controller", 2, 1)):
        loads = await _saturated(repeat, 64, controllers=controllers, sidecars=sidecars, qr=False)
        note = "beside one of each, in the same run"
        yield Row(name, "64 clients", [x.per_s for x in loads], "claims/s", base, note=note)


async def _saturated(
    repeat: int,
    clients: int,
    *,
    qr: bool,
    store: Store | None = None,
    controllers: int = 1,
    sidecars: int = 1,
    claims: int = CLAIMS,
) -> list[Load]:
    loads = []
    idle = WARM_UP + claims
    async with Rig(store, controllers=controllers, sidecars=sidecars, idle=idle) as rig:
        load = Clients(rig, qr=qr)
        await load.one_by_one(WARM_UP)
        for n in range(repeat):
            if n:
                await rig.grow(claims)
                await rig.look()
            loads.append(await load.saturate(claims, clients))
        await _check(rig)
    return loads


def _costs(name: str, metric: str, loads: Sequence[Load], floor_ms: float) -> list[Row]:
    costs = [load.cpu_per_claim_ms for load in loads]
    rows = [Row(name, f"{metric}: CPU", costs, "ms/claim", floor_ms)]
    for part in loads[0].cpu_s:
        shares = [100 * load.shares()[part] for load in loads]
        rows.append(Row(name, f"{metric}: {part}", shares, "% of CPU"))
    return [*rows, Row(name, f"{metric}: failed", [load.failed for load in loads], "claims", aim=0)]


async def _check(rig: Rig) -> None:
    """No agent was told twice, whatever the figures say."""
    counts = await rig.counts()
    if counts["twice"]:
        raise AssertionError(f"{counts['twice']} agents were told twice")
