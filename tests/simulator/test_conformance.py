"""One suite for the Railway port: the simulated world in process, and our own client over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.types import Source
from controller.railway import (
    Gone,
    NameTaken,
    NotAuthorized,
    NotReady,
    Railway,
    RailwayError,
    RateLimited,
    Refused,
    Service,
    Unclear,
)
from controller.railway.client import RailwayClient
from controller.railway.simulator.faults import Next, Plan
from controller.railway.simulator.habits import AT_ONCE, Habits
from controller.railway.simulator.server import Simulator, SimulatorConfig
from controller.railway.simulator.state import TokenKind
from controller.railway.simulator.world import World
from tests.simulator.builders import a_lab
from tests.simulator.making import IMAGE, REPO, a_make, railway_of
from tests.sockets import a_closed_port

PACE = replace(AT_ONCE, delete_s=(0.01, 0.02))


@dataclass
class Case:
    """A Railway and the world behind it."""

    railway: Railway
    world: World
    wait: Callable[[float], Awaitable[None]]
    as_token: Callable[[TokenKind], Railway]

    def fault(self, name: str, match: str | None = None) -> None:
        self.world.faults.plan.next.append(Next(name=name, match=match))

    async def only(self) -> Service:
        (service,) = (await self.railway.observe()).services
        return service


async def in_process() -> AsyncIterator[Case]:
    lab = a_lab(pace=PACE, repo_deploys_most=1)
    yield Case(railway_of(lab), lab.world, lab.clock.sleep, lambda kind: railway_of(lab, kind))


async def over_http(folder: Path) -> AsyncIterator[Case]:
    habits = Habits(repo_deploys_most=1)
    port = a_closed_port()
    config = SimulatorConfig(folder, port=0, agent_port=port, seed=1, pace=PACE, habits=habits)
    simulator = Simulator(config)
    await simulator.start()
    environment = next(iter(simulator.world.environments.values()))
    place = (environment.project_id, environment.id)
    clients: list[RailwayClient] = []

    def client(kind: TokenKind) -> RailwayClient:
        value = next(t.value for t in simulator.world.tokens.values() if t.kind == kind)
        made = RailwayClient(simulator.endpoint, value, *place, clock=lambda: datetime.now(UTC))
        clients.append(made)
        return made

    yield Case(client("project"), simulator.world, asyncio.sleep, client)
    for one in clients:
        await one.close()
    await simulator.stop()


@pytest.fixture(params=["in process", "over HTTP"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    made = in_process() if request.param == "in process" else over_http(tmp_path)
    async for one in made:
        yield one


async def test_a_project_token_is_recognised_and_may_not_patch(case: Case) -> None:
    access = await case.railway.probe()
    assert (access.kind, access.may_patch) == ("project", False)


async def test_a_workspace_token_may_patch(case: Case) -> None:
    access = await case.as_token("workspace").probe()
    assert (access.kind, access.may_patch) == ("workspace", True)


async def test_an_empty_environment_is_seen_empty(case: Case) -> None:
    assert (await case.railway.observe()).services == ()


async def test_a_service_made_whole_is_seen_whole(case: Case) -> None:
    service_id = await case.railway.create_whole(a_make(IMAGE))
    host = await case.railway.create_domain(service_id)
    seen = await case.only()
    assert (seen.id, seen.name, seen.domain, seen.has_source) == (service_id, "a", host, True)
    assert seen.deployment is not None
    assert seen.deployment.status == "SUCCESS"
    assert seen.deployment.created_at is not None
    assert await case.railway.owner_of(service_id) == "o/default/p"


async def test_an_empty_service_has_no_source_and_no_deployment(case: Case) -> None:
    service_id = await case.railway.create_empty("a")
    seen = await case.only()
    assert (seen.domain, seen.has_source, seen.deployment) == (None, False, None)
    assert await case.railway.owner_of(service_id) is None


async def test_a_patch_deploys_once_and_an_equal_one_not_again(case: Case) -> None:
    railway = case.as_token("workspace")
    await railway.probe()
    service_id = await railway.create_empty("a")
    for _ in range(2):
        await railway.patch(service_id, a_make(REPO, branch="next", healthcheck_path="/version"))
    (instance,) = case.world.instances.values()
    assert [d.meta["branch"] for d in instance.deployments] == ["next"]
    assert instance.config["deploy"]["healthcheckPath"] == "/version"


async def test_settings_deploy_nothing_and_a_deploy_takes_them_up(case: Case) -> None:
    make = a_make(IMAGE, healthcheck_path="/version")
    service_id = await case.railway.create_whole(make)
    await case.railway.update_settings(service_id, make)
    (instance,) = case.world.instances.values()
    assert len(instance.deployments) == 1
    await case.railway.deploy(service_id)
    assert instance.deployments[-1].config["deploy"]["healthcheckPath"] == "/version"


async def test_auto_deploy_is_switched_off(case: Case) -> None:
    service_id = await case.railway.create_whole(a_make(REPO))
    await case.railway.auto_deploy_off(service_id)
    (instance,) = case.world.instances.values()
    assert not instance.auto_deploys


@pytest.mark.parametrize(("source", "from_repo"), [(IMAGE, False), (REPO, True)])
async def test_a_look_tells_repositories_from_images(
    case: Case, source: Source, from_repo: bool
) -> None:
    await case.railway.create_whole(a_make(source))
    seen = await case.only()
    assert (seen.has_source, seen.from_repo) == (True, from_repo)


async def test_a_name_that_is_taken_is_named_so(case: Case) -> None:
    await case.railway.create_empty("a")
    for create in (case.railway.create_empty("A"), case.railway.create_whole(a_make(IMAGE))):
        with pytest.raises(NameTaken):
            await create


async def test_a_rename_shows_and_keeps_id_and_domain(case: Case) -> None:
    service_id = await case.railway.create_whole(a_make(IMAGE))
    host = await case.railway.create_domain(service_id)
    await case.railway.rename(service_id, "b")
    seen = await case.only()
    assert (seen.id, seen.name, seen.domain) == (service_id, "b", host)


async def test_a_deleted_service_is_gone_after_a_while(case: Case) -> None:
    service_id = await case.railway.create_whole(a_make(IMAGE))
    await case.railway.delete(service_id)
    await case.wait(0.03)
    assert (await case.railway.observe()).services == ()
    with pytest.raises((NotAuthorized, Gone, Unclear)):
        await case.railway.delete(service_id)


async def test_an_empty_service_cannot_be_deployed(case: Case) -> None:
    service_id = await case.railway.create_empty("a")
    with pytest.raises(Refused):
        await case.railway.deploy(service_id)


async def test_an_instance_that_is_late_is_not_ready_for_a_domain(case: Case) -> None:
    case.fault("readLag")
    service_id = await case.railway.create_whole(a_make(IMAGE))
    with pytest.raises(NotReady):
        await case.railway.create_domain(service_id)
    assert (await case.railway.observe()).services == ()


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        ("timeoutAfter", True),
        ("nullData", True),
        ("cutOff", True),
        ("timeoutBefore", False),
        ("badGateway", False),
        ("unavailable", False),
    ],
)
async def test_an_unclear_create_may_have_happened(case: Case, fault: str, happened: bool) -> None:
    case.fault(fault, "serviceCreate")
    with pytest.raises(Unclear):
        await case.railway.create_empty("a")
    assert bool(case.world.services) is happened


@pytest.mark.parametrize("fault", ["rateLimited", "edgeLimited"])
async def test_a_limited_create_has_not_happened(case: Case, fault: str) -> None:
    case.fault(fault, "serviceCreate")
    with pytest.raises(RateLimited) as limited:
        await case.railway.create_empty("a")
    assert limited.value.after_s >= 1
    assert not case.world.services


@pytest.mark.parametrize("fault", ["halfPage", "elsewhere", "nullData", "cutOff", "badGateway"])
async def test_half_a_look_is_no_look(case: Case, fault: str) -> None:
    for name in "abcd":
        await case.railway.create_empty(name)
    case.fault(fault)
    with pytest.raises(Unclear):
        await case.railway.observe()


async def test_a_list_may_lack_one_but_never_twice_in_a_row(case: Case) -> None:
    for name in "abcd":
        await case.railway.create_empty(name)
    case.world.faults.replace(Plan(rates={"omitted": 1.0}))
    seen = [len((await case.railway.observe()).services) for _ in range(4)]
    assert seen == [3, 4, 3, 4]


@pytest.mark.parametrize(("fault", "error"), [("drift", Refused), ("notFound", Gone)])
async def test_a_clear_no_without_an_effect_is_named(
    case: Case, fault: str, error: type[RailwayError]
) -> None:
    made = await case.railway.create_empty("a")
    case.fault(fault)
    with pytest.raises(error):
        await case.railway.rename(made, "b")
    assert case.world.services[made].name == "a"


async def test_more_than_a_page_is_seen_whole(case: Case) -> None:
    environment = next(iter(case.world.environments.values()))
    for n in range(501):
        case.world.create_service(environment.project_id, environment.id, f"s{n}")
    seen = await case.railway.observe()
    assert (len(seen.services), seen.requests) == (501, 2)


async def test_without_the_right_token_nothing_is_done(case: Case) -> None:
    token = next(t for t in case.world.tokens.values() if t.kind == "project")
    del case.world.tokens[token.value]
    with pytest.raises(NotAuthorized):
        await case.railway.probe()
