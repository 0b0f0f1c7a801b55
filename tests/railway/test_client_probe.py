"""Which token it is, what it may do, and what is said when it is the wrong one."""

from typing import Any

import pytest

from controller.railway import Access, NotAuthorized, Unclear
from tests.railway.answers import TOKEN, a_client, data, errors, text

OURS = {"projectToken": {"projectId": "p", "environmentId": "e"}}
PATCHED = data({"environmentPatchCommit": "commitChanges/e/1"})
REFUSED = errors("Not Authorized")


def workspaces(count: int) -> dict[str, Any]:
    return {"apiToken": {"workspaces": [{"id": f"w{n}"} for n in range(count)]}}


async def test_a_project_token_whose_patch_is_refused_is_the_narrow_case() -> None:
    client, railway = a_client(data(OURS), REFUSED)
    assert await client.probe() == Access("project", False, "p", "e")
    assert [asked.operation for asked in railway.asked] == [
        "ProjectTokenWhoAmI",
        "EnvironmentPatchCommit",
    ]


async def test_the_patch_is_probed_by_one_that_changes_nothing() -> None:
    client, railway = a_client(data(OURS), PATCHED)
    assert await client.probe() == Access("project", True, "p", "e")
    assert railway.asked[1].variables["patch"] == {}


@pytest.mark.parametrize(("count", "kind"), [(1, "workspace"), (2, "account")])
async def test_another_token_is_sent_as_bearer_and_never_again_as_a_project_token(
    count: int, kind: str
) -> None:
    client, railway = a_client(
        REFUSED, data(workspaces(count)), data({"environment": {"id": "e"}}), PATCHED
    )
    assert (await client.probe()).kind == kind
    as_project = ["project-access-token" in asked.headers for asked in railway.asked]
    as_bearer = [asked.headers.get("authorization") for asked in railway.asked]
    assert as_project == [True, False, False, False]
    assert as_bearer == [None, *[f"Bearer {TOKEN}"] * 3]


@pytest.mark.parametrize(
    ("project", "environment", "setting"),
    [("other", "e", "RAILWAY_PROJECT_ID"), ("p", "other", "RAILWAY_ENVIRONMENT_ID")],
)
async def test_a_project_token_for_another_place_names_the_setting(
    project: str, environment: str, setting: str
) -> None:
    place = {"projectId": project, "environmentId": environment}
    client, _ = a_client(data({"projectToken": place}))
    with pytest.raises(NotAuthorized, match=setting):
        await client.probe()


async def test_a_token_that_nobody_knows_names_the_setting() -> None:
    client, _ = a_client(errors("project token not found"), REFUSED)
    with pytest.raises(NotAuthorized, match="RAILWAY_API_TOKEN"):
        await client.probe()


async def test_a_workspace_token_that_does_not_reach_the_environment_names_the_settings() -> None:
    client, _ = a_client(REFUSED, data(workspaces(1)), errors("Environment not found"))
    with pytest.raises(NotAuthorized, match="RAILWAY_PROJECT_ID or RAILWAY_ENVIRONMENT_ID"):
        await client.probe()


async def test_an_outage_is_not_taken_for_a_verdict_on_the_token() -> None:
    client, _ = a_client(text(503, "<html>"))
    with pytest.raises(Unclear):
        await client.probe()


async def test_an_outage_is_not_taken_for_a_refused_patch() -> None:
    client, _ = a_client(data(OURS), errors("Problem processing request"))
    with pytest.raises(Unclear):
        await client.probe()


@pytest.mark.parametrize("token", ["", "two\nlines", "kéy"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(NotAuthorized) as raised:
        a_client(token=token)
    assert not token or token not in str(raised.value)
