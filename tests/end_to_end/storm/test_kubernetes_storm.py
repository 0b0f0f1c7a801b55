"""Must show: the storm on a real API server: killed, stopped, cut off, compacted; none lost, none double.

This is the small one; the large one is `python -m tests.end_to_end.storm --records kubernetes`.
"""

from pathlib import Path

from controller.local.apiserver import ETCD, SERVER
from tests.end_to_end.storm.kubernetes_stage import KubernetesStage
from tests.end_to_end.storm.kubernetes_trouble import BRIEF
from tests.end_to_end.storm.storm import Plan, Storm, verdict


async def test_claims_in_a_storm_on_a_real_api_server(state: Path) -> None:
    plan = Plan(claims=30, warm=10, every_s=2.0, misfortunes=len(BRIEF.deck))
    result = await Storm(KubernetesStage(state, BRIEF, **plan.variables), plan).run()
    assert set(result.answers) == {"200"}
    assert result.answers["200"] >= plan.claims
    assert result.kills["controller"] >= 1
    assert {SERVER, ETCD} <= set(result.stops)
    assert {"is compacted", "has its old token rejected"} <= set(result.more)
    await verdict(result.history)
