"""What a claim costs the records, and what size costs, on rows: the control plane, writes, passes, rest."""

import asyncio
import time
from collections.abc import AsyncIterator

from tests.bench import control, sql
from tests.bench.load import Clients
from tests.bench.rig import Rig
from tests.bench.table import Row

CONTROL_CLAIMS = 3_000
FLOOR_CLAIMS = 4_000
WRITES = (("1 in flight", 1, 50, 3.0), ("64 in flight", 64, 640, 0.5))
SIZES = (100, 1_000, 10_000)
ENDED = 100_000
BINDS = 1_000
REST_S = 60.0
# A transaction of a claim's or an instance's, once each; names it by its transaction.
COUNTER = """
CREATE UNLOGGED TABLE bench_writes (transaction bigint);
CREATE FUNCTION bench_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO bench_writes VALUES (txid_current()); RETURN NULL; END $$;
CREATE TRIGGER bench_count AFTER INSERT OR UPDATE OR DELETE ON agent_claims
    FOR EACH STATEMENT EXECUTE FUNCTION bench_count();
CREATE TRIGGER bench_count AFTER INSERT OR UPDATE OR DELETE ON agent_instances
    FOR EACH STATEMENT EXECUTE FUNCTION bench_count();
"""
WRITTEN = "SELECT count(DISTINCT transaction) FROM bench_writes"
STATEMENTS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


async def control_plane(repeat: int) -> AsyncIterator[Row]:
    """Pending to Ready, agents in process, beside bare one-row claims on the same server."""
    rates = []
    async with Rig(controllers=0, sidecars=0, idle=CONTROL_CLAIMS) as rig:
        bare = await control.floor(rig.dsn, FLOOR_CLAIMS)
        for n in range(repeat):
            if n:
                await rig.grow(CONTROL_CLAIMS)
            rates.append(await control.pending_to_ready(rig, CONTROL_CLAIMS))
    best = max(bare.values())
    yield Row("control", "pending to ready", rates, "claims/s", best, 5_000, at_least=True)
    for connections, rate in bare.items():
        yield Row("control", f"floor, {connections} connections", [rate], "claims/s")


async def writes(repeat: int) -> AsyncIterator[Row]:
    """Statements that write, each claim: insert, bind, ready. A pool's status and leases are apart."""
    async with Rig(idle=sum(count for _, _, count, _ in WRITES) + 20) as rig:
        await sql.execute(rig.dsn, COUNTER)
        clients = Clients(rig, qr=False)
        await clients.one_by_one(20)
        for metric, at_once, count, aim in WRITES:
            before = await sql.count(rig.dsn, WRITTEN)
            await clients.saturate(count, at_once)
            written = await sql.count(rig.dsn, WRITTEN) - before
            yield Row("writes", metric, [written / count], "statements/claim", aim=aim)


async def scale(repeat: int) -> AsyncIterator[Row]:
    """A full look and pass, and binds a second, by the size of the pool, with many ended claims kept."""
    first_pass = first_rate = 0.0
    for size in SIZES:
        async with Rig(idle=size, ended=ENDED) as rig:
            await asyncio.sleep(5.0)  # The first probes, and what they ring for.
            passes = [await pass_cpu_s(rig) for _ in range(repeat)]
            name = f"{size:,} instances"
            linear = first_pass * size / SIZES[0] if first_pass else None
            first_pass = first_pass or sorted(passes)[len(passes) // 2]
            aim = 1.0 if size == SIZES[-1] else None
            yield Row("scale", f"{name}: pass", passes, "CPU s", linear, aim)
            memory = [rig.memory_mb("controller-1")]
            most = 300.0 if size == SIZES[-1] else None
            yield Row("scale", f"{name}: memory", memory, "MB", aim=most)
        rate = await _bind_rates(size, repeat)
        first_rate = first_rate or sorted(rate)[len(rate) // 2]
        flat = 0.8 if size != SIZES[0] else None
        yield Row("scale", f"{name}: binds", rate, "/s", first_rate, at_least=True, of_floor=flat)


async def pass_cpu_s(rig: Rig) -> float:
    """Of the controller, for one look at Railway and the full pass after it. Looks asked for within five
    seconds are one."""
    await asyncio.sleep(6.0)
    before = rig.cpu()["controller-1"]
    await rig.look()
    return rig.cpu()["controller-1"] - before


async def _bind_rates(size: int, repeat: int) -> list[float]:
    """Claims a second through the control plane over a pool of that size."""
    async with Rig(controllers=0, sidecars=0, idle=max(size, BINDS), ended=ENDED) as rig:
        rates = []
        for n in range(repeat):
            if n:
                await rig.grow(BINDS)
            rates.append(await control.pending_to_ready(rig, BINDS))
        return rates


async def rest(repeat: int) -> AsyncIterator[Row]:
    """A minute in which nothing happens: probes, looks and ticks alone."""
    for size in (10, 10_000):
        async with Rig(idle=size) as rig:
            await asyncio.sleep(40.0 if size > 10 else 10.0)  # Past the first looks and probes.
            cpu, committed = rig.cpu(), await sql.count(rig.dsn, STATEMENTS)
            began = time.monotonic()
            await asyncio.sleep(REST_S)
            minutes = (time.monotonic() - began) / 60
            used = {part: now - cpu[part] for part, now in rig.cpu().items()}
            said = await sql.count(rig.dsn, STATEMENTS) - committed
        busy = 100 * (used["controller-1"] + used["api-1"]) / (60 * minutes)
        aim = 0.5 if size == 10 else None
        name = f"{size:,} instances"
        yield Row("rest", f"{name}: CPU", [busy], "% of a core", aim=aim)
        yield Row("rest", f"{name}: statements", [said / minutes], "/min")
