"""Agents, path by path and in the order of their checks; and the edge in front of them."""

import asyncio

import pytest

from controller.agents import Heard, Letter
from controller.railway.simulator.agent import PROVIDER_KEYS, Agent, Call
from controller.railway.simulator.house import Cut
from controller.railway.simulator.inprocess import SimulatedAgents
from controller.railway.simulator.state import iso
from tests.simulator.builders import AGENT, Lab, a_lab

TOLD = {"instructions": "Be kind.", "name": "tokyo"}


# ---------------------------------------------------------------- the agent's own answers


async def test_a_fresh_agent_is_ready_and_serves_nobody() -> None:
    lab = a_lab()
    answer = await lab.call(lab.agent(), "/pool/status")
    assert answer.code == 200
    assert answer.said == {
        "ready": True,
        "provisioned": False,
        "conversationId": None,
        "inviteUrl": None,
    }


async def test_it_opens_a_conversation_with_an_invite_of_200_characters() -> None:
    lab = a_lab()
    host = lab.agent()
    answer = await lab.call(host, "/pool/provision", **TOLD)
    invite = answer.said["inviteUrl"]
    assert answer.code == 200
    assert answer.said["joined"] is False
    assert invite.startswith("https://dev.convos.org/v2?i=")
    assert len(invite) == 200
    status = await lab.call(host, "/pool/status")
    assert status.said["provisioned"]
    assert status.said["conversationId"] == answer.said["conversationId"]


async def test_no_two_invites_are_the_same() -> None:
    lab = a_lab()
    answers = [await lab.call(lab.agent(), "/pool/provision", **TOLD) for _ in range(20)]
    assert len({answer.said["inviteUrl"] for answer in answers}) == 20


async def test_asked_to_join_it_names_the_url_that_it_was_given() -> None:
    lab = a_lab()
    url = "https://dev.convos.org/v2?i=theirs"
    answer = await lab.call(lab.agent(), "/pool/provision", **TOLD, joinUrl=url)
    assert (answer.said["inviteUrl"], answer.said["joined"]) == (url, True)


@pytest.mark.parametrize("path", ["/pool/status", "/pool/provision"])
async def test_a_wrong_key_is_refused_before_anything_else(path: str) -> None:
    lab = a_lab()
    host = lab.agent(POOL_AUTH_CHOICE="nonsense")  # It is not ready either.
    told = TOLD if path.endswith("provision") else {}
    answer = await lab.call(host, path, "wrong", **told)
    assert (answer.code, answer.said) == (401, {"error": "Invalid or missing pool API key"})


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Basic key", "key"])
async def test_no_bearer_is_a_missing_key(authorization: str) -> None:
    lab = a_lab()
    answer = await lab.house.handle(lab.agent(), Call("GET", "/pool/status", authorization))
    assert answer.code == 401


async def test_the_scheme_may_be_in_any_case() -> None:
    lab = a_lab()
    answer = await lab.house.handle(lab.agent(), Call("GET", "/pool/status", "bEARER key"))
    assert answer.code == 200


async def test_without_a_key_of_its_own_it_answers_500() -> None:
    lab = a_lab()
    answer = await lab.call(lab.agent(POOL_API_KEY=""), "/pool/status")
    assert (answer.code, answer.said) == (500, {"error": "POOL_API_KEY is not set"})


async def test_not_ready_comes_before_what_is_wrong_with_the_body() -> None:
    lab = a_lab()
    answer = await lab.call(lab.agent(ANTHROPIC_API_KEY=""), "/pool/provision", name="x")
    assert (answer.code, answer.said) == (503, {"error": "Instance not ready yet"})


async def test_provisioned_comes_before_what_is_wrong_with_the_body() -> None:
    lab = a_lab()
    host = lab.agent()
    first = await lab.call(host, "/pool/provision", **TOLD)
    answer = await lab.call(host, "/pool/provision", name="x")
    assert (answer.code, answer.said["error"]) == (409, "Already provisioned")
    assert answer.said["conversationId"] == first.said["conversationId"]
    assert answer.said["inviteUrl"] == first.said["inviteUrl"]


@pytest.mark.parametrize("instructions", [None, "", 7, ["x"]])
async def test_instructions_must_be_a_text(instructions: object) -> None:
    lab = a_lab()
    answer = await lab.call(lab.agent(), "/pool/provision", instructions=instructions)
    assert (answer.code, answer.said) == (400, {"error": "instructions (string) is required"})


@pytest.mark.parametrize(("body", "code"), [(b"{", 400), (b'"' + b"x" * 1_000_000 + b'"', 413)])
async def test_a_body_that_is_no_json_or_too_large_never_reaches_it(body: bytes, code: int) -> None:
    lab = a_lab()
    call = Call("POST", "/pool/provision", "Bearer key", body)
    answer = await lab.house.handle(lab.agent(), call)
    assert answer.code == code
    assert answer.content_type == "text/html"


@pytest.mark.parametrize("path", ["/setup/healthz", "/version"])
async def test_two_paths_need_no_key(path: str) -> None:
    lab = a_lab()
    assert (await lab.house.handle(lab.agent(), Call("GET", path))).code == 200


async def test_a_blank_name_becomes_agent() -> None:
    lab = a_lab()
    await lab.call(lab.agent(), "/pool/provision", instructions="x", name="  ")
    await lab.call(lab.agent(), "/pool/provision", instructions="x")
    assert {line["name"] for line in lab.memory.heard} == {"Agent"}


@pytest.mark.parametrize(("choice", "variable"), PROVIDER_KEYS.items())
def test_it_is_ready_only_with_the_variable_of_its_auth_choice(choice: str, variable: str) -> None:
    lab = a_lab()
    deployment = lab.instance(lab.service()).deployments[0]

    def ready(**variables: str) -> bool:
        return Agent({"POOL_AUTH_CHOICE": choice} | variables, deployment.process, 2e9).ready

    assert ready(**{variable: "sk"})
    assert not ready()
    assert not ready(**{variable: ""})


# ---------------------------------------------------------------- overlapping calls, restarts


async def test_two_calls_that_overlap_both_go_through_and_the_later_to_end_wins() -> None:
    lab = a_lab()
    gates = [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)

    async def sleep(_: float) -> None:
        await next(waiting).wait()

    lab.house.sleep = sleep
    host = lab.agent()
    one, two = (asyncio.create_task(lab.call(host, "/pool/provision", **TOLD)) for _ in "ab")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gates[1].set()
    second = await two
    gates[0].set()
    first = await one
    assert (first.code, second.code) == (200, 200)
    status = await lab.call(host, "/pool/status")
    assert status.said["conversationId"] == first.said["conversationId"]
    assert first.said["conversationId"] != second.said["conversationId"]


async def test_it_goes_on_when_the_caller_is_gone() -> None:
    lab = a_lab()
    gate = asyncio.Event()

    async def sleep(_: float) -> None:
        await gate.wait()

    lab.house.sleep = sleep
    host = lab.agent()
    call = asyncio.create_task(lab.call(host, "/pool/provision", **TOLD))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await lab.call(host, "/pool/status")).said["provisioned"]


async def test_a_restart_loses_its_memory_and_readiness_comes_again() -> None:
    lab = a_lab()
    host = lab.agent()
    await lab.call(host, "/pool/provision", **TOLD)
    _, instance, _ = lab.world.at(host) or pytest.fail("no such host")
    lab.world.restart(instance, instance.deployments[0])
    answer = await lab.call(host, "/pool/status")
    assert (answer.said["ready"], answer.said["provisioned"]) == (True, False)


async def test_a_new_deployment_is_a_new_agent() -> None:
    lab = a_lab()
    host = lab.agent()
    await lab.call(host, "/pool/provision", **TOLD)
    _, instance, _ = lab.world.at(host) or pytest.fail("no such host")
    lab.world.deploy(instance, "deploy")
    assert not (await lab.call(host, "/pool/status")).said["provisioned"]


# ---------------------------------------------------------------- what is on record


async def test_a_call_that_is_taken_in_is_on_record_before_the_agent_acts() -> None:
    lab = a_lab()
    seen: list[int] = []

    async def sleep(_: float) -> None:
        seen.append(len(lab.memory.heard))

    lab.house.sleep = sleep
    host = lab.agent()
    answer = await lab.call(host, "/pool/provision", **TOLD)
    before, after = lab.memory.heard
    assert seen == [1]
    assert list(before) == [
        "at",
        "service",
        "instanceId",
        "path",
        "keyHash",
        "name",
        "instructionsSha256",
        "answered",
        "conversationId",
        "reached",
    ]
    assert (before["answered"], before["conversationId"]) == (None, None)
    assert (after["answered"], after["conversationId"]) == (200, answer.said["conversationId"])
    assert before["instanceId"] == AGENT["POOL_INSTANCE_ID"]
    assert "Be kind." not in str(lab.memory.heard) + str(lab.memory.journal)


async def test_what_is_on_record_tells_for_how_long_a_call_waited_at_the_edge() -> None:
    lab = a_lab()
    host = lab.agent()
    lab.fault("agentSlow")
    called = iso(lab.world.now)
    await lab.call(host, "/pool/provision", **TOLD)
    before, _ = lab.memory.heard
    assert before["reached"] == called < before["at"]


async def test_a_call_that_is_turned_away_leaves_one_line_that_tells_no_instructions() -> None:
    lab = a_lab()
    await lab.call(lab.agent(), "/pool/provision", "wrong", **TOLD)
    (line,) = lab.memory.heard
    assert (line["answered"], line["instructionsSha256"]) == (401, None)


# ---------------------------------------------------------------- the edge


def is_the_edges(said: object) -> bool:
    return isinstance(said, dict) and said.get("status") == "error" and "code" in said


async def test_the_edge_answers_404_where_nothing_was_deployed_and_where_it_was_deleted() -> None:
    lab = a_lab()
    empty = lab.world.create_service(*lab.place, "empty")
    hosts = [lab.world.create_domain(empty.id, lab.environment.id).host, lab.agent(), "nobody"]
    found = lab.world.at(hosts[1])
    assert found is not None
    lab.world.delete_service(found[0].id)
    for host in hosts:
        answer = await lab.call(host, "/pool/status")
        assert (answer.code, answer.said["message"]) == (404, "Application not found")
        assert is_the_edges(answer.said)


@pytest.mark.parametrize("how", ["crashed", "stopped", "booting"])
async def test_the_edge_answers_502_where_the_program_does_not(how: str) -> None:
    lab = a_lab()
    host = lab.agent()
    found = lab.world.at(host)
    assert found is not None
    deployment = found[1].deployments[0]
    if how == "crashed":
        lab.world.end_deployment(deployment.id, "CRASHED", "crashed")
    elif how == "stopped":
        lab.world.stop_deployment(deployment.id)
    else:
        deployment.process.up_at = lab.clock.now + 1
    answer = await lab.call(host, "/pool/status")
    assert answer.code == 502
    assert is_the_edges(answer.said)


async def test_a_sleeping_agent_answers_its_first_caller_502_and_wakes() -> None:
    lab = a_lab()
    host = lab.agent()
    found = lab.world.at(host)
    assert found is not None
    service, instance, _ = found
    lab.world.end_deployment(instance.deployments[0].id, "SLEEPING", "sleeping")
    assert lab.status(service) == "SLEEPING"
    assert (await lab.call(host, "/pool/status")).code == 502
    assert (await lab.call(host, "/pool/status")).code == 200
    assert lab.status(service) == "SUCCESS"


# ---------------------------------------------------------------- faults, as the port sees them


async def told(lab: Lab, host: str, join_url: str | None = None) -> Heard:
    agents = SimulatedAgents(lab.house)
    letter = Letter("tokyo", "Be kind.", join_url)
    return (await agents.provision(f"http://{host}", ("key",), letter)).heard


@pytest.mark.parametrize(
    ("fault", "heard", "taken_in", "provisioned"),
    [
        ("agentDead", Heard.SILENT, False, False),
        ("agentDies", Heard.SILENT, True, False),
        ("agentRestarted", Heard.SILENT, False, False),
        ("answerLost", Heard.SILENT, True, True),
        ("agentGarbage", Heard.SILENT, True, True),
        ("agent500", Heard.FAILED, True, False),
        ("agentUsed", Heard.ALREADY, True, True),
        ("agentSlow", Heard.DONE, True, True),
    ],
)
async def test_each_fault_of_an_agent(
    fault: str, heard: Heard, taken_in: bool, provisioned: bool
) -> None:
    lab = a_lab()
    host = lab.agent()
    lab.fault(fault)
    assert await told(lab, host) is heard
    assert any(line["instructionsSha256"] for line in lab.memory.heard) is taken_in
    assert (await lab.call(host, "/pool/status")).said["provisioned"] is provisioned


async def test_waiting_for_the_groups_admin_is_heard_and_not_provisioned() -> None:
    lab = a_lab()
    host = lab.agent()
    lab.fault("agentWaiting")
    assert await told(lab, host, "https://dev.convos.org/v2?i=x") is Heard.WAITING
    assert await told(lab, host, "https://dev.convos.org/v2?i=x") is Heard.DONE


async def test_an_agent_can_be_made_never_to_become_ready() -> None:
    lab = a_lab()
    lab.fault("neverReady")
    host = lab.agent()
    lab.clock.forward(1e6)
    answer = await lab.call(host, "/pool/status")
    assert answer.said["ready"] is False


async def test_a_program_that_is_deleted_while_it_works_answers_nobody() -> None:
    lab = a_lab()
    host = lab.agent()
    found = lab.world.at(host)
    assert found is not None

    async def sleep(_: float) -> None:
        lab.world.delete_service(found[0].id)

    lab.house.sleep = sleep
    with pytest.raises(Cut):
        await lab.call(host, "/pool/provision", **TOLD)


async def test_a_second_known_key_is_tried_only_after_a_401() -> None:
    lab = a_lab()
    agents = SimulatedAgents(lab.house)
    host = lab.agent()
    reply = await agents.provision(host_url(host), ("old", "key"), Letter("n", "x"))
    assert reply.heard is Heard.DONE
    assert [line["answered"] for line in lab.memory.heard] == [401, None, 200]
    assert (await agents.status(host_url(host), ("old",))).wrong_key


def host_url(host: str) -> str:
    return f"http://{host}"
