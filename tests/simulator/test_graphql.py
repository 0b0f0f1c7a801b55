"""GraphQL as Railway speaks it: statuses, envelopes, nulls that bubble, pages, limits and faults."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    parse,
    validate,
)

from controller.railway.errors import named_error
from controller.railway.limits import allowance
from controller.railway.simulator.faults import Plan
from controller.railway.simulator.graphql_api import schema
from controller.railway.simulator.ratelimit import Budget, ResetFormat
from tests.facts import OPERATIONS, published_schema
from tests.simulator.builders import Clock, a_lab

HERE = Path(__file__).resolve().parents[2] / "controller" / "railway"
OBSERVE = """
query ($p: String!, $e: String!, $first: Int, $after: String) {
  environment(id: $e, projectId: $p) {
    id
    serviceInstances(first: $first, after: $after) {
      edges { node { serviceId serviceName deletedAt latestDeployment { status } } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
CREATE = "mutation Make($i: ServiceCreateInput!) { serviceCreate(input: $i) { id name } }"
DELETE_THREE = """
mutation ($a: String!, $b: String!, $c: String!) {
  d0: serviceDelete(id: $a)
  d1: serviceDelete(id: $b)
  d2: serviceDelete(id: $c)
}
"""


# ---------------------------------------------------------------- the schema


def differences(ours: GraphQLSchema, published: GraphQLSchema) -> list[str]:
    """What ours says otherwise than the published one."""
    found = []
    for name, kind in ours.type_map.items():
        theirs = published.type_map.get(name)
        if theirs is None or type(theirs) is not type(kind):
            found.append(name)
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            known: Any = getattr(theirs, "fields")  # noqa: B009 (a union of types)
            for field_name, field in kind.fields.items():
                other = known.get(field_name)
                same = other is not None and str(other.type) == str(field.type)
                args = {n: str(a.type) for n, a in getattr(field, "args", {}).items()}
                other_args = {n: str(a.type) for n, a in getattr(other, "args", {}).items()}
                if not same or args != other_args:
                    found.append(f"{name}.{field_name}")
        elif str(getattr(kind, "values", "")) and hasattr(kind, "values"):
            found += [f"{name}.{v}" for v in kind.values if v not in theirs.values]  # type: ignore[attr-defined]
    return found


def test_our_schema_is_a_subset_of_the_published_one() -> None:
    assert differences(schema(), published_schema()) == []


def test_a_field_an_argument_or_a_word_of_our_own_would_be_noticed() -> None:
    ours = build_schema(
        "type Query { deployment(id: String!, x: Int): Deployment! nobody: Int }"
        " type Deployment { status: DeploymentStatus } enum DeploymentStatus { SUCCESS NOBODY }"
    )
    assert differences(ours, published_schema()) == [
        "Query.deployment",
        "Query.nobody",
        "Deployment.status",
        "DeploymentStatus.NOBODY",
    ]


def test_every_operation_that_a_pool_needs_is_valid_here() -> None:
    document = parse(OPERATIONS.read_text())
    left_out = {"NotificationRules", "NotificationRuleCreate", "DeploymentWatch"}
    kept = [d for d in document.definitions if getattr(d, "name").value not in left_out]  # noqa: B009
    document.definitions = tuple(kept)
    assert validate(schema(), document) == []
    assert len(kept) == 22


def test_every_operation_of_our_own_client_is_valid_here() -> None:
    document = parse((HERE / "operations.graphql").read_text())
    assert validate(schema(), document) == []


# ---------------------------------------------------------------- statuses and envelopes


async def test_a_business_error_is_a_200_with_code_and_trace() -> None:
    lab = a_lab()
    lab.service("a")
    wanted = {"i": {"projectId": lab.environment.project_id, "name": "a"}}
    status, body = await lab.ask(CREATE, wanted)
    (error,) = body["errors"]
    assert (status, body["data"]) == (200, None)
    assert error["message"] == 'A service named "a" already exists in this project'
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR"}
    assert error["path"] == ["serviceCreate"]
    assert error["traceId"]


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("{ projectToken {", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ nobody }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("{ projectToken { secret } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        (
            'mutation { environmentPatchCommit(environmentId: "e", skipDeploys: true) }',
            {},
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (CREATE, {}, "BAD_USER_INPUT"),
        (CREATE, {"i": {"projectId": "p", "source": {"branch": "b"}}}, "BAD_USER_INPUT"),
    ],
)
async def test_what_the_schema_lacks_is_a_400(
    query: str, variables: dict[str, Any], code: str
) -> None:
    status, body = await a_lab().ask(query, variables)
    assert status == 400
    assert "data" not in body
    assert body["errors"][0]["extensions"]["code"] == code


@pytest.mark.parametrize("raw", [b"", b"[]", b"no json", b'{"query": 7}'])
async def test_a_body_without_a_query_is_a_400(raw: bytes) -> None:
    assert (await a_lab().front.answer(raw, {}, True)).status == 400


async def test_one_error_in_an_aliased_batch_nulls_all_data_and_stops_the_rest() -> None:
    lab = a_lab()
    one, three = lab.service("a"), lab.service("c")
    _, body = await lab.ask(DELETE_THREE, {"a": one.id, "b": "nobody", "c": three.id})
    assert body["data"] is None
    assert one.gone_at is not None
    assert three.gone_at is None


async def test_every_answer_carries_the_limits_but_the_edges() -> None:
    lab = a_lab()
    await lab.ask("{ nobody }")
    await lab.ask("{ projectToken { id } }")
    lab.fault("unavailable")
    await lab.ask("{ projectToken { id } }")
    for answer in lab.answers:
        assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(
            answer.headers
        )


async def test_each_request_is_in_the_journal_with_its_operation() -> None:
    lab = a_lab()
    await lab.ask(CREATE, {"i": {"projectId": lab.environment.project_id}})
    request, made = lab.effects("request")[0], lab.effects("serviceCreate")[0]
    assert (request["op"], request["status"]) == ("Make", 200)
    assert made["request"] == request["request"]


# ---------------------------------------------------------------- pages


async def test_pages_follow_each_other_and_end() -> None:
    lab = a_lab()
    for n in range(7):
        lab.service(f"s{n}")
    place = {"p": lab.environment.project_id, "e": lab.environment.id, "first": 3}
    names: list[str] = []
    after = None
    for _ in range(3):
        _, body = await lab.ask(OBSERVE, {**place, "after": after})
        found = body["data"]["environment"]["serviceInstances"]
        names += [edge["node"]["serviceName"] for edge in found["edges"]]
        after = found["pageInfo"]["endCursor"]
    assert names == [f"s{n}" for n in range(7)]
    assert found["pageInfo"]["hasNextPage"] is False


async def test_a_page_holds_500_at_most() -> None:
    lab = a_lab()
    for n in range(501):
        lab.service(f"s{n}")
    place = {"p": lab.environment.project_id, "e": lab.environment.id, "first": 9999}
    _, body = await lab.ask(OBSERVE, place)
    found = body["data"]["environment"]["serviceInstances"]
    assert (len(found["edges"]), found["pageInfo"]["hasNextPage"]) == (500, True)


# ---------------------------------------------------------------- limits


async def test_a_spent_budget_is_a_429_with_retry_after_until_the_hour_is_over() -> None:
    lab = a_lab(per_hour=2)
    for _ in range(2):
        assert (await lab.ask("{ projectToken { id } }"))[0] == 200
    status, body = await lab.ask("{ projectToken { id } }")
    assert status == 429
    assert body["errors"]
    assert lab.answers[-1].headers["Retry-After"] == "3600"
    assert lab.answers[-1].headers["X-RateLimit-Remaining"] == "0"
    lab.clock.forward(3600)
    assert (await lab.ask("{ projectToken { id } }"))[0] == 200


async def test_too_many_in_one_second_wait_for_the_next() -> None:
    lab = a_lab(per_s=1)
    await lab.ask("{ projectToken { id } }")
    assert (await lab.ask("{ projectToken { id } }"))[0] == 429
    assert lab.answers[-1].headers["Retry-After"] == "1"
    lab.clock.forward(1)
    assert (await lab.ask("{ projectToken { id } }"))[0] == 200


@pytest.mark.parametrize("form", ["iso", "unix", "unix-ms"])
def test_our_client_reads_all_three_forms_of_the_reset(form: ResetFormat) -> None:
    clock = Clock()
    budget = Budget(clock, reset_format=form)
    budget.take()
    read = allowance(httpx.Headers(budget.headers()), datetime.fromtimestamp(clock.now, UTC))
    assert (read.limit, read.remaining) == (10_000, 9_999)
    assert read.reset_in_s == pytest.approx(3600, abs=1)


async def test_without_a_query_string_the_edge_refuses_the_eleventh_in_a_second() -> None:
    lab = a_lab()
    for _ in range(10):
        assert (await lab.ask("{ projectToken { id } }", has_query=False))[0] == 200
    status, text = await lab.ask("{ projectToken { id } }", has_query=False)
    assert (status, text) == (429, "error code: 1015")
    assert lab.answers[-1].headers == {}
    assert (await lab.ask("{ projectToken { id } }", has_query=True))[0] == 200


# ---------------------------------------------------------------- faults of the API


@pytest.mark.parametrize(
    ("fault", "status", "happened"),
    [
        ("rateLimited", 429, False),
        ("edgeLimited", 429, False),
        ("unavailable", 503, False),
        ("badGateway", 502, False),
        ("timeoutBefore", 504, False),
        ("timeoutAfter", 504, True),
        ("nullData", 200, True),
    ],
)
async def test_each_fault_before_or_after_the_effect(
    fault: str, status: int, happened: bool
) -> None:
    lab = a_lab()
    lab.fault(fault, match="serviceCreate")
    assert (await lab.ask("{ projectToken { id } }"))[0] == 200
    said, body = await lab.ask(CREATE, {"i": {"projectId": lab.environment.project_id}})
    assert said == status
    assert bool(lab.effects("serviceCreate")) is happened
    assert body in ({"data": None}, lab.answers[-1].body.decode()) or status == 429


async def test_an_answer_can_be_cut_off_in_its_middle() -> None:
    lab = a_lab()
    lab.fault("cutOff")
    with pytest.raises(ValueError):
        await lab.ask("{ projectToken { id } }", kind="project")


async def test_half_a_page_says_that_there_is_more_and_not_where() -> None:
    lab = a_lab()
    for n in range(4):
        lab.service(f"s{n}")
    lab.fault("halfPage")
    place = {"p": lab.environment.project_id, "e": lab.environment.id}
    _, body = await lab.ask(OBSERVE, place)
    found = body["data"]["environment"]["serviceInstances"]
    assert len(found["edges"]) == 2
    assert found["pageInfo"] == {"hasNextPage": True, "endCursor": None}


async def test_a_problem_may_have_happened_or_not() -> None:
    happened = set()
    for seed in range(12):
        lab = a_lab(faults=Plan(seed=seed, rates={"problem": 1.0}))
        _, body = await lab.ask(CREATE, {"i": {"projectId": lab.environment.project_id}})
        assert body["errors"][0]["message"] == "Problem processing request"
        happened.add(bool(lab.effects("serviceCreate")))
    assert happened == {True, False}


async def test_a_service_can_be_deleted_by_hand_while_somebody_looks() -> None:
    lab = a_lab()
    service = lab.service()
    lab.fault("serviceDeleted")
    await lab.ask("{ projectToken { id } }")
    assert service.gone_at is not None


def test_the_same_seed_misbehaves_alike() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = a_lab(faults=Plan(seed=seed, rates={"badGateway": 0.5})).world.faults
        return [faults.draw("badGateway") for _ in range(64)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_match_is_an_operation_a_name_or_an_id_and_counts_down() -> None:
    faults = a_lab(
        faults=Plan.model_validate(
            {"next": [{"name": "agentDead", "count": 2, "match": "Agent-A"}]}
        )
    ).world.faults
    assert not faults.draw("agentDead", {"agent-b"})
    assert [faults.draw("agentDead", {"id", "agent-a"}) for _ in range(3)] == [True, True, False]
    assert faults.shown()["next"] == []


@pytest.mark.parametrize(
    "plan", [{"rates": {"nobody": 0.1}}, {"rates": {"problem": 2}}, {"next": [{"name": "nobody"}]}]
)
def test_an_unknown_fault_or_a_wrong_rate_is_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Plan.model_validate(plan)


def test_our_refusals_read_as_the_errors_they_are_meant_to_be() -> None:
    names = {
        'A service named "x" already exists in this project': "NameTaken",
        "Failed to create service domain, please try again": "NotReady",
        "ServiceInstance not found": "Gone",
        "Not Authorized": "NotAuthorized",
        "Cannot redeploy without a snapshot": "Refused",
        "Problem processing request": "Unclear",
    }
    for message, name in names.items():
        error = named_error(message, code="INTERNAL_SERVER_ERROR")
        assert type(error).__name__ == name
