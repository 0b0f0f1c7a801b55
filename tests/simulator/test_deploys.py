"""What starts a deployment, how many of them, and what becomes of each."""

import pytest

from controller.railway import NotAuthorized
from controller.railway.simulator import deploys
from controller.railway.simulator.builds import NO_SNAPSHOT
from controller.railway.simulator.deploys import TRIGGERS, Source, started
from controller.railway.simulator.habits import AT_ONCE, Pace
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.inprocess import SimulatedRailway
from controller.railway.simulator.state import TokenKind
from tests.simulator.builders import AGENT, Lab, a_lab
from tests.simulator.making import IMAGE, REPO, a_make, railway_of

SLOW = Pace(queue_s=(1, 1), build_s=(2, 2), deploy_s=(3, 3), boot_s=(4, 4), warm_s=(5, 5))


def deployed(lab: Lab) -> int:
    return len(lab.effects("deployment"))


# ---------------------------------------------------------------- the three ways to create a service


@pytest.mark.parametrize(("source", "most"), [(IMAGE, 1), (REPO, 3)])
async def test_a_project_token_creates_with_two_requests(source: object, most: int) -> None:
    for seed in range(10):
        lab = a_lab(seed=seed)
        railway = railway_of(lab)
        service_id = await railway.create_whole(a_make(source))
        await railway.create_domain(service_id)
        assert len(lab.effects("request")) == 2
        assert 1 <= deployed(lab) <= most


async def test_over_the_seeds_a_repository_is_deployed_once_twice_and_thrice() -> None:
    counts = set()
    for seed in range(20):
        lab = a_lab(seed=seed)
        await railway_of(lab).create_whole(a_make(REPO))
        counts.add(deployed(lab))
    assert counts == {1, 2, 3}


async def test_settings_cost_a_project_token_two_more_requests_and_one_more_deployment() -> None:
    lab = a_lab()
    railway = railway_of(lab)
    make = a_make(IMAGE, healthcheck_path="/version")
    service_id = await railway.create_whole(make)
    await railway.create_domain(service_id)
    await railway.update_settings(service_id, make)
    await railway.deploy(service_id)
    assert (len(lab.effects("request")), deployed(lab)) == (4, 2)


@pytest.mark.parametrize("kind", ["workspace", "project"])
async def test_an_image_by_patch_takes_three_requests_and_one_deployment(kind: TokenKind) -> None:
    lab = a_lab(project_token_may_patch=True)
    railway = railway_of(lab, kind)
    service_id = await railway.create_empty("a")
    await railway.create_domain(service_id)
    await railway.patch(service_id, a_make(IMAGE))
    assert (len(lab.effects("request")), deployed(lab)) == (3, 1)


async def test_a_repository_by_patch_takes_four_requests_and_one_deployment() -> None:
    lab = a_lab()
    railway = railway_of(lab, "workspace")
    service_id = await railway.create_empty("a")
    await railway.create_domain(service_id)
    await railway.patch(service_id, a_make(REPO, branch="next"))
    await railway.auto_deploy_off(service_id)
    assert (len(lab.effects("request")), deployed(lab)) == (4, 1)
    instance = next(iter(lab.world.instances.values()))
    assert instance.deployments[0].meta["branch"] == "next"


async def test_a_project_token_may_not_patch() -> None:
    lab = a_lab()
    railway: SimulatedRailway = railway_of(lab)
    service_id = await railway.create_empty("a")
    with pytest.raises(NotAuthorized):
        await railway.patch(service_id, a_make(IMAGE))
    assert not (await railway.probe()).may_patch


# ---------------------------------------------------------------- the rules one by one


@pytest.mark.parametrize(("row", "count"), TRIGGERS.items())
def test_each_row_of_the_table_is_what_started_says(
    row: tuple[str, Source | None, Source], count: int
) -> None:
    act, before, after = row
    assert started(act, before or Source.NONE, after) == count


def test_an_empty_service_deploys_nothing() -> None:
    lab = a_lab()
    lab.world.create_service(*lab.place, "a")
    assert deployed(lab) == 0


@pytest.mark.parametrize(("habit", "count"), [(False, 0), (True, 1)])
def test_whether_variables_without_a_source_deploy_is_a_switch(habit: bool, count: int) -> None:
    lab = a_lab(variables_alone_deploy=habit)
    lab.world.create_service(*lab.place, "a", None, AGENT)
    assert deployed(lab) == count


def test_only_the_first_image_set_by_an_update_deploys() -> None:
    lab = a_lab()
    place = (lab.world.create_service(*lab.place, "a").id, lab.environment.id)
    assert lab.world.update_instance(*place, {"source": {"image": "one"}})
    assert deployed(lab) == 1
    assert lab.world.update_instance(*place, {"source": {"image": "two"}, "startCommand": "x"})
    assert not lab.world.update_instance(*place, {"startCommand": "x", "region": None})
    assert deployed(lab) == 1


@pytest.mark.parametrize(("skip", "count"), [(False, 3), (True, 1)])
def test_each_upsert_of_variables_deploys_again_unless_skipped(skip: bool, count: int) -> None:
    lab = a_lab()
    service = lab.service()
    for _ in range(2):
        lab.world.upsert_variables(service.id, lab.environment.id, {"A": "1"}, skip_deploys=skip)
    assert deployed(lab) == count


def test_an_upsert_on_an_empty_service_is_refused_unless_deploys_are_skipped() -> None:
    lab = a_lab()
    place = (lab.world.create_service(*lab.place, "a").id, lab.environment.id)
    with pytest.raises(Refusal, match="Problem processing request"):
        lab.world.upsert_variables(*place, {"A": "1"})
    lab.world.upsert_variables(*place, {"A": "1"}, skip_deploys=True)
    assert deployed(lab) == 0


def test_a_connect_deploys_exactly_once_of_the_branch_it_names() -> None:
    lab = a_lab()
    service = lab.world.create_service(*lab.place, "a")
    lab.world.connect(service.id, {"repo": "o/r", "branch": "next", "image": None})
    assert [d.meta["branch"] for d in lab.instance(service).deployments] == ["next"]


def test_a_create_from_a_repository_heeds_no_branch() -> None:
    lab = a_lab()
    service = lab.world.create_service(*lab.place, "a", {"repo": "o/r", "branch": "next"})
    assert {d.meta["branch"] for d in lab.instance(service).deployments} == {"main"}


def test_an_empty_or_disconnected_service_cannot_be_deployed() -> None:
    lab = a_lab()
    service = lab.service(repo="o/r")
    lab.world.disconnect(service.id)
    for instance in (lab.instance(service), lab.instance(lab.world.create_service(*lab.place))):
        with pytest.raises(Refusal, match=NO_SNAPSHOT):
            lab.world.deploy(instance, "deploy")


def test_a_redeploy_waits_for_the_build_and_replays_the_old_config() -> None:
    lab = a_lab(pace=SLOW)
    instance = lab.instance(lab.service())
    with pytest.raises(Refusal, match="Cannot redeploy yet"):
        lab.world.redeploy(instance)
    lab.clock.forward(60)
    place = (instance.service_id, instance.environment_id)
    lab.world.upsert_variables(*place, {"A": "1"}, skip_deploys=True)
    assert "A" not in lab.world.redeploy(instance).variables
    assert lab.world.deploy(instance, "deploy").variables["A"] == "1"


async def test_a_deploy_of_a_commit_that_is_none_is_refused() -> None:
    lab = a_lab()
    deploy = (
        "mutation ($s: String!, $e: String!, $c: String!) "
        "{ serviceInstanceDeployV2(serviceId: $s, environmentId: $e, commitSha: $c) }"
    )
    where = {"s": lab.service().id, "e": lab.environment.id}
    _, refused = await lab.ask(deploy, {**where, "c": "main"})
    assert refused["errors"][0]["message"] == "Commit not found"
    _, done = await lab.ask(deploy, {**where, "c": "0" * 40})
    assert done["data"]["serviceInstanceDeployV2"]


def test_a_rename_a_domain_and_the_auto_deploy_switch_deploy_nothing() -> None:
    lab = a_lab()
    service = lab.service()
    lab.world.rename_service(service.id, "b")
    lab.world.create_domain(service.id, lab.environment.id)
    lab.world.set_auto_deploy(service.id, lab.environment.id, False)
    assert deployed(lab) == 1


# ---------------------------------------------------------------- what becomes of one


def statuses(lab: Lab, source: str, seconds: int) -> list[str | None]:
    service = lab.service(**{source: "o/r"})
    seen = []
    for _ in range(seconds):
        seen.append(lab.status(service))
        lab.clock.forward(1)
    return seen


def test_an_image_goes_from_initializing_over_deploying_to_success() -> None:
    seen = statuses(a_lab(pace=SLOW), "image", 6)
    assert seen == ["INITIALIZING"] + 3 * ["DEPLOYING"] + 2 * ["SUCCESS"]


def test_a_repository_is_built_and_is_up_only_when_its_health_check_answers() -> None:
    lab = a_lab(pace=SLOW, repo_deploys_most=1)
    seen = statuses(lab, "repo", 11)
    assert seen == ["INITIALIZING"] + 2 * ["BUILDING"] + 7 * ["DEPLOYING"] + ["SUCCESS"]


@pytest.mark.parametrize(("path", "status"), [("/version", "SUCCESS"), ("/pool/status", "FAILED")])
def test_a_health_check_that_wants_a_key_fails(path: str, status: str) -> None:
    lab = a_lab()
    service = lab.world.create_service(*lab.place, "a")
    place = (service.id, lab.environment.id)
    lab.world.update_instance(*place, {"healthcheckPath": path, "source": {"image": "i"}})
    lab.clock.forward(301)
    assert lab.status(service) == status


@pytest.mark.parametrize(
    ("fault", "after_s", "status"),
    [
        ("deployFailed", 1, "FAILED"),
        ("deployCrashed", 1, "CRASHED"),
        ("deployStuck", 9999, "DEPLOYING"),
        ("deploySleeping", 10, "SLEEPING"),
    ],
)
def test_each_deploy_fault_ends_as_it_says(fault: str, after_s: int, status: str) -> None:
    lab = a_lab()
    lab.fault(fault)
    service = lab.service()
    lab.clock.forward(after_s)
    assert lab.status(service) == status


def test_a_slow_boot_takes_twenty_times_as_long() -> None:
    lab = a_lab(pace=SLOW)
    lab.fault("slowBoot")
    service = lab.service()
    lab.clock.forward(79)
    assert lab.status(service) == "DEPLOYING"
    lab.clock.forward(1)
    assert lab.status(service) == "SUCCESS"


def test_a_newer_deployment_that_comes_up_removes_the_older_one() -> None:
    lab = a_lab(pace=SLOW)
    instance = lab.instance(lab.service())
    lab.clock.forward(30)
    lab.world.deploy(instance, "deploy")
    first = instance.deployments[0].id
    seen = []
    for step in (3, 1, 1):
        lab.clock.forward(step)
        seen.append({d.id: status for d, status in deploys.seen(instance, lab.clock.now)}[first])
    assert seen == ["SUCCESS", "REMOVING", "REMOVED"]


def test_an_exit_with_zero_stays_success_and_is_stopped() -> None:
    lab = a_lab()
    service = lab.service()
    lab.world.stop_deployment(lab.instance(service).deployments[0].id)
    assert lab.status(service) == "SUCCESS"
    assert lab.instance(service).deployments[0].process.stopped


def test_a_cancelled_deployment_is_removed() -> None:
    lab = a_lab(pace=SLOW)
    service = lab.service()
    lab.world.end_deployment(lab.instance(service).deployments[0].id, "REMOVED", "deploymentCancel")
    lab.clock.forward(60)
    assert lab.status(service) == "REMOVED"


def test_the_pace_at_once_takes_no_time_at_all() -> None:
    assert AT_ONCE.answer_s == AT_ONCE.delete_s == (0, 0)
