"""Which token may do what, and in which words it is refused."""

import json
from typing import Any

import pytest

from controller.railway.simulator.state import TokenKind
from tests.simulator.builders import TOKENS, Lab, a_lab, auth

WHO = "{ projectToken { projectId environmentId } }"
WHOSE = "{ apiToken { workspaces { id name } } }"
OPERATIONS = {
    "projectToken": "query { projectToken { projectId environmentId } }",
    "apiToken": "query { apiToken { workspaces { id } } }",
    "project": "query ($p: String!) { project(id: $p) { id } }",
    "environment": "query ($p: String!, $e: String!) { environment(id: $e, projectId: $p) { id } }",
    "variables": (
        "query ($p: String!, $e: String!, $s: String) "
        "{ variables(projectId: $p, environmentId: $e, serviceId: $s) }"
    ),
    "serviceCreate": "mutation ($p: String!) { serviceCreate(input: {projectId: $p}) { id } }",
    "serviceUpdate": (
        'mutation ($s: String!) { serviceUpdate(id: $s, input: {name: "renamed"}) { id } }'
    ),
    "serviceDelete": "mutation ($s: String!) { serviceDelete(id: $s) }",
    "serviceConnect": (
        'mutation ($s: String!) { serviceConnect(id: $s, input: {repo: "o/r"}) { id } }'
    ),
    "serviceDomainCreate": (
        "mutation ($e: String!, $s: String!) "
        "{ serviceDomainCreate(input: {environmentId: $e, serviceId: $s}) { domain } }"
    ),
    "deploymentTriggerCreate": (
        "mutation ($p: String!, $e: String!, $s: String!) { deploymentTriggerCreate(input: "
        '{branch: "main", provider: "github", repository: "o/r",'
        " projectId: $p, environmentId: $e, serviceId: $s}) { id } }"
    ),
    "environmentPatchCommit": (
        "mutation ($e: String!) { environmentPatchCommit(environmentId: $e, patch: {}) }"
    ),
    "serviceInstanceAutoDeployUpdate": (
        "mutation ($p: String!, $e: String!, $s: String!) { serviceInstanceAutoDeployUpdate(input: "
        "{enabled: false, projectId: $p, environmentId: $e, serviceId: $s}) { enabled } }"
    ),
}
NOT_BY_A_PROJECT_TOKEN = {
    "apiToken",
    "project",
    "serviceConnect",
    "deploymentTriggerCreate",
    "environmentPatchCommit",
}


async def said(lab: Lab, operation: str, kind: TokenKind) -> str | None:
    """The error's message, None where it was done."""
    query = OPERATIONS[operation]
    values = {"p": lab.environment.project_id, "e": lab.environment.id, "s": lab.service().id}
    used = {name: value for name, value in values.items() if f"${name}:" in query}
    status, body = await lab.ask(query, used, kind=kind)
    assert status == 200
    return body["errors"][0]["message"] if "errors" in body else None


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_a_project_token_may_do(operation: str) -> None:
    message = await said(a_lab(), operation, "project")
    assert (message is not None) == (operation in NOT_BY_A_PROJECT_TOKEN)
    assert message in (None, "Not Authorized", "Bad Access")


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"projectToken"}))
@pytest.mark.parametrize("kind", ["workspace", "account"])
async def test_the_other_kinds_may_do_all_of_it(kind: TokenKind, operation: str) -> None:
    assert await said(a_lab(), operation, kind) is None


async def test_only_a_project_token_is_a_project_token() -> None:
    assert await said(a_lab(), "projectToken", "workspace") == "project token not found"


@pytest.mark.parametrize(
    ("habit", "operation"),
    [
        ("project_token_may_patch", "environmentPatchCommit"),
        ("project_token_may_connect", "serviceConnect"),
        ("project_token_may_trigger", "deploymentTriggerCreate"),
        ("project_token_reads_project", "project"),
    ],
)
async def test_what_is_disputed_is_a_switch(habit: str, operation: str) -> None:
    switches: Any = {habit: True}
    lab = a_lab(**switches)
    assert await said(lab, operation, "project") is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer nobody's"},
        {"Authorization": f"Bearer {TOKENS['project']}"},
        {"Project-Access-Token": TOKENS["workspace"]},
    ],
)
async def test_no_token_a_dead_one_and_one_in_the_wrong_header_are_refused(
    headers: dict[str, str],
) -> None:
    lab = a_lab()
    query = OPERATIONS["environment"]
    place = {"p": lab.environment.project_id, "e": lab.environment.id}
    status, body = await lab.ask(query, place, headers={"x": "y", **headers})
    assert (status, body["data"]) == (200, None)
    assert body["errors"][0]["message"] == "Not Authorized"


async def test_both_headers_may_be_sent() -> None:
    lab = a_lab()
    both = {"Authorization": f"Bearer {TOKENS['project']}"} | auth("project")
    _, body = await lab.ask(WHO, headers=both)
    assert body["data"]["projectToken"]["projectId"] == lab.environment.project_id


async def test_a_project_token_reaches_one_environment_alone() -> None:
    lab = a_lab()
    other = lab.world.add_environment(lab.environment.project_id, "staging")
    foreign = {"p": lab.environment.project_id, "e": other.id}
    _, body = await lab.ask(OPERATIONS["environment"], foreign, kind="project")
    assert body["errors"][0]["message"] == "Not Authorized"


async def test_introspection_needs_no_token() -> None:
    status, body = await a_lab().ask("{ __schema { queryType { name } } }", headers={"x": "y"})
    assert (status, body["data"]["__schema"]["queryType"]["name"]) == (200, "Query")


async def test_no_secret_is_in_the_journal() -> None:
    lab = a_lab()
    create = "mutation ($i: ServiceCreateInput!) { serviceCreate(input: $i) { id } }"
    where: dict[str, Any] = {"projectId": lab.environment.project_id, "name": "a"}
    await lab.ask(create, {"i": {**where, "variables": {"A": "canary-1"}}})
    service_id = next(iter(lab.world.services))
    upsert = "mutation ($i: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $i) }"
    place = {"projectId": where["projectId"], "environmentId": lab.environment.id}
    named = {**place, "serviceId": service_id, "skipDeploys": True}
    _, body = await lab.ask(upsert, {"i": {**named, "variables": {"B": "canary-2"}}})
    assert body == {"data": {"variableCollectionUpsert": True}}
    assert "canary" not in json.dumps([dict(line) for line in lab.memory.journal])
    assert len(lab.effects("variables")) == 1
