"""Must show: claims while processes die, freeze and are cut off: none lost, double or destroyed."""

from pathlib import Path

from tests.end_to_end.storm.postgres_stage import PostgresStage
from tests.end_to_end.storm.storm import Plan, Storm, verdict


async def test_1000_claims_in_a_storm_of_real_processes(state: Path) -> None:
    plan = Plan()
    result = await Storm(PostgresStage(state, **plan.variables), plan).run()
    assert set(result.answers) == {"200"}
    assert result.answers["200"] >= plan.claims
    assert min(map(len, (result.kills, result.stops, result.cuts))) > 1
    await verdict(result.history)
