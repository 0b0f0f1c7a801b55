"""Names, environments, domains, patches, lag and deletion, as Railway has them."""

from dataclasses import replace

import pytest

from controller.railway.simulator.habits import AT_ONCE
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.world import NO_DOMAIN, NO_ROOM
from tests.simulator.builders import AGENT, a_lab

LATE = replace(AT_ONCE, lag_s=(2, 2), delete_s=(4, 4), patch_s=(3, 3))


def test_a_name_is_taken_once_in_a_project_whatever_its_case() -> None:
    lab = a_lab()
    lab.service("Agent-A")
    with pytest.raises(
        Refusal, match=r'^A service named "agent-a" already exists in this project$'
    ):
        lab.service("agent-a")
    assert len(lab.effects("serviceCreate")) == 1


@pytest.mark.parametrize("name", ["x" * 33])
def test_a_name_has_at_most_32_characters(name: str) -> None:
    lab = a_lab()
    lab.service("x" * 32)
    with pytest.raises(Refusal, match="32"):
        lab.service(name)


def test_a_service_without_a_name_gets_one() -> None:
    lab = a_lab()
    assert lab.world.create_service(*lab.place).name


def test_a_rename_collides_as_a_create_does_and_keeps_the_domain() -> None:
    lab = a_lab()
    lab.service("a")
    service = lab.service("b")
    host = lab.world.create_domain(service.id, lab.environment.id).host
    with pytest.raises(Refusal, match="already exists"):
        lab.world.rename_service(service.id, "A")
    lab.world.rename_service(service.id, "c")
    assert [domain.host for domain in lab.instance(service).domains] == [host]


def test_a_service_appears_in_every_environment_that_is_no_fork() -> None:
    lab = a_lab()
    project_id = lab.environment.project_id
    staging = lab.world.add_environment(project_id, "staging")
    fork = lab.world.add_environment(project_id, "pr-1", fork_of=staging.id)
    one = lab.service("a")
    two = lab.world.create_service(project_id, fork.id, "b")
    assert {i.environment_id for i in lab.world.instances_of(one.id)} == {
        lab.environment.id,
        staging.id,
    }
    assert [i.environment_id for i in lab.world.instances_of(two.id)] == [fork.id]


def test_a_full_project_takes_no_more() -> None:
    lab = a_lab(services_most=1)
    lab.service("a")
    with pytest.raises(Refusal, match=NO_ROOM.split(".")[0]):
        lab.service("b")


# ---------------------------------------------------------------- domains


def test_each_call_makes_another_domain() -> None:
    lab = a_lab()
    service = lab.service()
    hosts = {lab.world.create_domain(service.id, lab.environment.id).host for _ in range(3)}
    assert len(hosts) == 3
    assert all(lab.world.at(host) is not None for host in hosts)


def test_a_target_port_beside_port_fails_where_the_switch_says_so() -> None:
    for fails in (False, True):
        lab = a_lab(target_port_beside_port_fails=fails)
        place = (lab.service().id, lab.environment.id)
        if fails:
            with pytest.raises(Refusal, match=NO_DOMAIN):
                lab.world.create_domain(*place, 8080)
        else:
            assert lab.world.create_domain(*place, 8080).target_port == 8080


def test_the_domain_is_among_the_variables_of_deployments_that_come_after_it() -> None:
    lab = a_lab()
    service = lab.service()
    host = lab.world.create_domain(service.id, lab.environment.id).host
    lab.world.deploy(lab.instance(service), "deploy")
    before, after = lab.instance(service).deployments
    assert "RAILWAY_PUBLIC_DOMAIN" not in before.variables
    assert after.variables["RAILWAY_PUBLIC_DOMAIN"] == host


# ---------------------------------------------------------------- patches


def patch(**parts: object) -> dict[str, object]:
    return {"variables": {"A": {"value": "1"}}, **parts}


def test_a_patch_merges_deeply_deletes_by_null_and_names_its_workflow() -> None:
    lab = a_lab()
    service = lab.service()
    wanted = patch(deploy={"startCommand": "x", "healthcheckPath": "/version"})
    workflow = lab.world.patch(lab.environment.id, {"services": {service.id: wanted}})
    assert workflow.startswith(f"commitChanges/{lab.environment.id}/")
    gone = {"variables": {"PORT": None}, "deploy": {"startCommand": None}}
    lab.world.patch(lab.environment.id, {"services": {service.id: gone}})
    instance = lab.instance(service)
    assert instance.variables == {k: v for k, v in AGENT.items() if k != "PORT"} | {"A": "1"}
    assert instance.config["deploy"] == {"healthcheckPath": "/version"}


def test_an_equal_patch_does_nothing() -> None:
    lab = a_lab(pace=LATE)
    service = lab.service()
    same = {"services": {service.id: {"source": {"image": "agent:1"}}}}
    for _ in range(3):
        lab.world.patch(lab.environment.id, same)
    assert len(lab.effects("deployment")) == 1


def test_one_patch_deploys_each_service_that_it_changed_once() -> None:
    lab = a_lab()
    one, two, three = (lab.service(name) for name in "abc")
    services = {
        one.id: patch(),
        two.id: patch(),
        three.id: {"variables": {"PORT": {"value": "8080"}}},
    }
    lab.world.patch(lab.environment.id, {"services": services})
    counts = [len(lab.instance(service).deployments) for service in (one, two, three)]
    assert counts == [2, 2, 1]


def test_while_a_patch_is_in_flight_another_and_a_new_domain_are_refused() -> None:
    lab = a_lab(pace=LATE)
    service = lab.service()
    wanted = {"services": {service.id: patch()}}
    lab.world.patch(lab.environment.id, wanted)
    with pytest.raises(Refusal, match=NO_DOMAIN):
        lab.world.create_domain(service.id, lab.environment.id)
    with pytest.raises(Refusal, match=NO_DOMAIN):
        lab.world.patch(lab.environment.id, wanted)
    lab.clock.forward(3)
    assert lab.world.create_domain(service.id, lab.environment.id)


def test_a_patch_makes_and_deletes_domains() -> None:
    lab = a_lab()
    service = lab.service()

    def networking(wish: object) -> dict[str, object]:
        return {"services": {service.id: {"networking": {"serviceDomains": {"d1": wish}}}}}

    lab.world.patch(lab.environment.id, networking({"port": 80}))
    assert [d.target_port for d in lab.instance(service).domains] == [80]
    lab.world.patch(lab.environment.id, networking(None))
    assert lab.instance(service).domains == []


def test_a_repository_in_a_patch_can_be_switched_off() -> None:
    lab = a_lab(patch_takes_repo=False)
    service = lab.world.create_service(*lab.place, "a")
    with pytest.raises(Refusal, match="repository"):
        lab.world.patch(lab.environment.id, {"services": {service.id: {"source": {"repo": "o/r"}}}})


# ---------------------------------------------------------------- lag and deletion


def test_a_read_shows_a_service_and_its_domain_only_after_a_while() -> None:
    lab = a_lab(pace=LATE)
    service = lab.service()
    domain = lab.world.create_domain(service.id, lab.environment.id)
    assert lab.world.seen_in(lab.environment.id) == []
    lab.clock.forward(2)
    assert lab.world.seen_in(lab.environment.id) == [lab.instance(service)]
    assert lab.world.shows(domain)


def test_a_late_instance_refuses_writes_until_it_is_there() -> None:
    lab = a_lab()
    lab.fault("readLag")
    service = lab.service()
    place = (service.id, lab.environment.id)
    with pytest.raises(Refusal, match=NO_DOMAIN):
        lab.world.create_domain(*place)
    with pytest.raises(Refusal, match="ServiceInstance not found"):
        lab.world.update_instance(*place, {"startCommand": "x"})
    lab.clock.forward(10)
    assert lab.world.create_domain(*place)


def test_a_deleted_service_is_seen_for_a_while_keeps_its_name_and_then_is_gone() -> None:
    lab = a_lab(pace=LATE)
    service = lab.service("a")
    lab.clock.forward(5)
    lab.world.delete_service(service.id)
    assert lab.world.seen_in(lab.environment.id)
    with pytest.raises(Refusal, match="already exists"):
        lab.service("a")
    lab.clock.forward(4)
    assert lab.world.seen_in(lab.environment.id) == []
    assert len(lab.effects("serviceGone")) == 1
    assert lab.service("a").id != service.id


def test_whatever_is_asked_of_a_deleted_service_is_refused_in_one_of_two_texts() -> None:
    said = set()
    for seed in range(8):
        lab = a_lab(seed=seed, pace=LATE)
        service = lab.service()
        lab.world.delete_service(service.id)
        with pytest.raises(Refusal) as refused:
            lab.world.delete_service(service.id)
        said.add(refused.value.message)
        with pytest.raises(Refusal, match="Not Authorized"):
            lab.world.rename_service(service.id, "b")
    assert said == {"Not Authorized", "Problem processing request"}


def test_the_same_seed_makes_the_same_world() -> None:
    def ids(seed: int) -> list[str]:
        lab = a_lab(seed=seed, pace=AT_ONCE)
        return [lab.service(name, repo="o/r").id for name in "abc"]

    assert ids(1) == ids(1) != ids(2)
