"""The bench measures what it says: rows are judged by their aims, and its fleet is at rest."""

import json
from pathlib import Path

import pytest

from api.types import ClaimPhase, InstancePhase
from tests.bench.bare_kubernetes import BareClaims
from tests.bench.kubernetes_store import KubernetesStore
from tests.bench.load import Clients
from tests.bench.rig import Rig
from tests.bench.sql import connected
from tests.bench.table import Row, Table, number

VERSIONS = "SELECT name, version, phase FROM agent_instances WHERE claim_uid IS NULL"


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("r", "cost", [3.0, 1.0, 2.0], "ms", aim=2.0), True),
        (Row("r", "cost", [3.0], "ms", aim=2.0), False),
        (Row("r", "gain", [900.0], "/s", aim=1000.0, at_least=True), False),
        (Row("r", "gain", [90.0], "/s", floor=100.0, at_least=True, of_floor=0.8), True),
        (Row("r", "gain", [70.0], "/s", floor=100.0, at_least=True, of_floor=0.8), False),
        (Row("r", "told", [70.0], "/s", floor=100.0), None),
    ],
)
def test_a_row_is_judged_by_its_aim(row: Row, met: bool | None) -> None:
    assert row.met is met


def test_a_table_is_for_people_and_for_programs(tmp_path: Path) -> None:
    table = Table([Row("qr", "200 characters", [1.5, 1.25, 2.0], "ms", floor=1.0, aim=1.25)])
    head, line = table.lines()
    assert head.split()[:3] == ["row", "metric", "median"]
    assert "1.25 .. 2" in line
    assert line.endswith("NO")
    table.write(tmp_path / "bench.json")
    said = json.loads((tmp_path / "bench.json").read_text())
    assert set(said) == {"schema", "commit", "machine", "rows"}
    shown = {"value": 1.5, "floor": 1.0, "ratio": 1.5, "aim": 1.25, "met": False}
    assert said["rows"][0].items() >= shown.items()


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (0.0, "0"), (0.123456, "0.123"), (12345.6, "12,346")]
)
def test_figures_are_short(value: float | None, shown: str) -> None:
    assert number(value) == shown


async def test_a_fleet_is_at_rest_is_claimed_from_and_nobody_is_told_twice() -> None:
    async with Rig(idle=5) as rig:
        async with connected(rig.dsn) as db:
            before = await db.fetch(VERSIONS)
            await rig.look()
            assert await db.fetch(VERSIONS) == before
        assert {row["phase"] for row in before} == {"Idle"}
        load = await Clients(rig, qr=True).burst(6)
        assert (len(load.times), load.failed) == (5, 1)  # The sixth finds nobody.
        counts = await rig.counts()
        assert (counts["told"], counts["twice"]) == (5, 0)


async def test_so_it_is_on_kubernetes_and_what_was_sent_is_counted() -> None:
    store = KubernetesStore(audited=True)
    async with Rig(store, idle=5) as rig:
        before = {i.metadata.name: i for i in await rig.records.instances()}
        assert {i.status.phase for i in before.values()} == {InstancePhase.IDLE}
        await rig.look()
        sent = store.sent()
        load = await Clients(rig, qr=True).burst(6)
        assert (len(load.times), load.failed) == (5, 1)  # The sixth finds nobody.
        counts = await rig.counts()
        assert (counts["told"], counts["twice"]) == (5, 0)
        written = store.sent() - sent
        assert written["agent-pool-api", "create", "agentclaims"] == 6
        assert written["agent-pool-controller", "patch", "agentinstances"] == 5
        assert sent["agent-pool-controller", "patch", "agentinstances"] == 0
        assert sent["agent-pool-controller", "patch", "agentinstances/status"] == 0


async def test_the_floor_of_kubernetes_is_four_writes_of_each_claim() -> None:
    store = KubernetesStore()
    async with (
        Rig(store, controllers=0, sidecars=0, idle=3) as rig,
        store.server.http() as http,
    ):
        load = await Clients(rig, ask=BareClaims(http, store.idle).claim).burst(3)
        assert (len(load.times), load.failed) == (3, 0)
        claims = await rig.records.list_claims(rig.store.namespace)
        assert {claim.status.phase for claim in claims} == {ClaimPhase.READY}
        assert all(i.spec.claim_ref for i in await rig.records.instances())
