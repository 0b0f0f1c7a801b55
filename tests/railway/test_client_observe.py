"""A look is complete or it is none."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.railway import Deployment, NotAuthorized, Observation, Service, Unclear
from tests.railway.answers import Answer, a_client, a_domain, a_node, a_page, data, errors

DEPLOYMENT = {
    "id": "d1",
    "status": "SUCCESS",
    "createdAt": "2026-08-01T11:00:00.123Z",
    "deploymentStopped": False,
}


async def test_a_service_is_read_with_its_domain_source_and_newest_deployment() -> None:
    node = a_node(
        source={"image": "agents/convos:1", "repo": None},
        latestDeployment=DEPLOYMENT,
        domains={"serviceDomains": [a_domain("old.test", "DELETING"), a_domain("new.test")]},
    )
    client, railway = a_client(a_page(node))
    created_at = datetime(2026, 8, 1, 11, 0, 0, 123000, UTC)
    deployment = Deployment("d1", "SUCCESS", created_at, stopped=False)
    service = Service("s1", "convos-agent-s1", "new.test", True, deployment=deployment)
    assert await client.observe() == Observation((service,), requests=1)
    variables = {"projectId": "p", "environmentId": "e", "first": 500, "after": None}
    assert railway.asked[0].variables == variables


async def test_an_empty_service_has_neither_domain_nor_source_nor_deployment() -> None:
    client, _ = a_client(a_page(a_node()))
    assert (await client.observe()).services == (Service("s1", "convos-agent-s1"),)


async def test_a_domain_that_is_on_its_way_out_is_none() -> None:
    domains = {"serviceDomains": [a_domain("a.test", "DELETED"), a_domain("b.test", "DELETING")]}
    client, _ = a_client(a_page(a_node(domains=domains)))
    assert (await client.observe()).services[0].domain is None


async def test_a_deleted_service_is_not_there() -> None:
    client, _ = a_client(a_page(a_node("s1", deletedAt="2026-08-01T11:00:00Z"), a_node("s2")))
    assert [service.id for service in (await client.observe()).services] == ["s2"]


async def test_all_pages_are_read_and_counted() -> None:
    client, railway = a_client(
        a_page(a_node("s1"), after="c1"), a_page(a_node("s2"), after="c2"), a_page(a_node("s3"))
    )
    seen = await client.observe()
    assert [service.id for service in seen.services] == ["s1", "s2", "s3"]
    assert seen.requests == 3
    assert [asked.variables["after"] for asked in railway.asked] == [None, "c1", "c2"]


async def test_a_service_on_two_pages_is_one_service() -> None:
    client, _ = a_client(
        a_page(a_node("s1"), after="c1"), a_page(a_node("s1", serviceName="renamed"))
    )
    assert [service.name for service in (await client.observe()).services] == ["renamed"]


async def test_a_cursor_that_comes_again_is_no_observation() -> None:
    client, railway = a_client(*[a_page(a_node(), after="c1")] * 3)
    with pytest.raises(Unclear):
        await client.observe()
    assert len(railway.asked) == 2


async def test_a_failure_on_the_second_page_is_no_observation() -> None:
    client, _ = a_client(a_page(a_node(), after="c1"), errors("Problem processing request"))
    with pytest.raises(Unclear):
        await client.observe()


@pytest.mark.parametrize(
    "answer",
    [
        data(None),
        data({"environment": None}),
        data({"environment": {"id": "e", "serviceInstances": None}}),
        data({"environment": {"id": "e", "serviceInstances": {"edges": None, "pageInfo": None}}}),
        a_page(of="another-environment"),
        a_page({"serviceId": "s1"}),
        a_page(a_node(serviceName=None)),
        a_page(a_node(domains=None)),
        a_page(a_node(latestDeployment=DEPLOYMENT | {"status": None})),
        a_page(a_node(latestDeployment=DEPLOYMENT | {"createdAt": "yesterday"})),
        a_page(a_node(), after=""),
        errors("ServiceInstance not found"),
    ],
)
async def test_half_an_answer_is_no_observation(answer: Answer) -> None:
    client, _ = a_client(answer)
    with pytest.raises(Unclear):
        await client.observe()


async def test_data_beside_an_error_is_no_observation() -> None:
    whole = json.loads(a_page(a_node()).content)
    said = whole | {"errors": [{"message": "hm"}]}
    client, _ = a_client(Answer(200, json.dumps(said).encode()))
    with pytest.raises(Unclear):
        await client.observe()


async def test_a_look_that_is_forbidden_says_so() -> None:
    client, _ = a_client(errors("Not Authorized"))
    with pytest.raises(NotAuthorized):
        await client.observe()


@pytest.mark.parametrize(
    ("variables", "owner"),
    [
        ({"POOL_OWNER": "o/default/default", "SECRET": "canary"}, "o/default/default"),
        ({"SECRET": "canary"}, None),
        ({"POOL_OWNER": 7}, None),
    ],
)
async def test_the_owner_is_all_that_is_read_of_the_variables(
    variables: dict[str, Any], owner: str | None
) -> None:
    client, railway = a_client(data({"variables": variables}))
    assert await client.owner_of("s1") == owner
    place = {"projectId": "p", "environmentId": "e", "serviceId": "s1"}
    assert railway.asked[0].variables == place


async def test_variables_that_are_no_map_say_nothing_of_the_owner() -> None:
    client, _ = a_client(data({"variables": ["canary"]}))
    with pytest.raises(Unclear):
        await client.owner_of("s1")
