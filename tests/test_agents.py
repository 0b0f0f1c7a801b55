"""What an agent's answer means: every row of the table in the claim's path, and what is not the agent's."""

import json
from typing import Any

import pytest

from controller.agents import Heard, Letter, Reply, Status, read_reply, read_status

INVITE = "https://dev.convos.test/v2?i=abc"
EDGE = {"status": "error", "message": "Application not found", "request_id": "r"}
DONE = {"inviteUrl": INVITE, "qrDataUrl": None, "conversationId": "c1", "joined": False}
IDLE = {"ready": True, "provisioned": False, "conversationId": None, "inviteUrl": None}


def reply(code: int, said: Any) -> Reply:
    return read_reply(code, json.dumps(said).encode())


def status(code: int, said: Any) -> Status:
    return read_status(code, json.dumps(said).encode())


# ---------------------------------------------------------------- provision


def test_200_is_a_conversation_with_its_invite() -> None:
    assert reply(200, DONE) == Reply(Heard.DONE, "c1", INVITE, joined=False)


def test_200_of_a_join_says_so() -> None:
    assert reply(200, DONE | {"joined": True}) == Reply(Heard.DONE, "c1", INVITE, joined=True)


def test_409_tells_the_conversation_that_the_agent_has() -> None:
    already = reply(
        409, {"error": "Already provisioned", "conversationId": "c0"} | {"joined": True}
    )
    assert (already.heard, already.conversation_id, already.joined) == (Heard.ALREADY, "c0", False)


def test_202_waits_to_be_let_in() -> None:
    said = {"status": "waiting_for_acceptance", "message": "ask the admin"}
    assert reply(202, said).heard is Heard.WAITING


@pytest.mark.parametrize(
    ("code", "heard"),
    [
        (400, Heard.BAD_REQUEST),
        (401, Heard.WRONG_KEY),
        (409, Heard.ALREADY),
        (500, Heard.FAILED),
        (503, Heard.NOT_READY),
    ],
)
def test_the_agents_own_error_counts_and_the_edges_look_alike_does_not(
    code: int, heard: Heard
) -> None:
    assert reply(code, {"error": "said by the agent"}).heard is heard
    assert reply(code, EDGE | {"code": code}).heard is Heard.SILENT
    assert reply(code, {"error": "Bad Gateway", "code": code}).heard is Heard.SILENT
    assert reply(code, {"error": {"nested": True}}).heard is Heard.SILENT
    assert read_reply(code, b"<html>").heard is Heard.SILENT


@pytest.mark.parametrize("body", [b"", b"<html>", json.dumps(EDGE | {"code": 404}).encode()])
def test_404_is_nobody_there(body: bytes) -> None:
    assert read_reply(404, body).heard is Heard.UNREACHED


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, b'{"conversationId": ""}'),
        (200, b'{"conversationId": 7}'),
        (200, b'{"conversationId": "a\\u0000b"}'),
        (200, b'{"conversationId": "%s"}' % (b"x" * 257)),
        (200, b"[" * 50_000),
        (200, b"\xff\xfe\x00"),
        (200, b'{"conversationId": 1' + b"0" * 5000 + b"}"),
        (201, json.dumps(DONE).encode()),
        (202, b"{}"),
        (302, b""),
        (413, b'{"error": "request entity too large"}'),
        (502, b'{"error": "Bad Gateway"}'),
        (504, b""),
    ],
)
def test_anything_else_may_have_been_heard(code: int, body: bytes) -> None:
    assert read_reply(code, body).heard is Heard.SILENT


@pytest.mark.parametrize(
    "invite",
    [
        None,
        7,
        "",
        "http://dev.convos.test/",
        "javascript:alert(1)",
        "https://a b",
        "https://a\nb",
        "https://a\u0000b",
        "https://a\ud800b",
        "https://" + "x" * 2048,
        "https://" + "é" * 1021,
    ],
)
def test_an_invite_that_is_not_a_short_https_url_is_none(invite: Any) -> None:
    assert reply(200, DONE | {"inviteUrl": invite}) == Reply(Heard.DONE, "c1", None)
    assert status(200, IDLE | {"inviteUrl": invite}).invite_url is None


def test_an_agents_own_words_do_not_get_into_the_detail() -> None:
    for code in (200, 202, 400, 401, 404, 409, 500, 503):
        assert "canary" not in reply(code, {"error": "canary", "message": "canary"}).detail


def test_neither_letter_nor_reply_shows_what_is_private() -> None:
    letter = Letter("Tokyo", "canary instructions", "https://canary.test/join")
    assert "canary" not in repr(letter)
    assert INVITE not in repr(reply(200, DONE))
    assert INVITE not in repr(status(200, IDLE | {"inviteUrl": INVITE}))


# ---------------------------------------------------------------- status


def test_a_status_is_read_whole() -> None:
    said = {"ready": True, "provisioned": True, "conversationId": "c1", "inviteUrl": INVITE}
    assert status(200, said) == Status(True, True, True, "c1", INVITE)
    assert status(200, IDLE) == Status(reached=True, ready=True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (200, {}),
        (200, IDLE | {"ready": "yes"}),
        (200, IDLE | {"provisioned": None}),
        (500, IDLE),
        (503, {"error": "hm"}),
        (401, EDGE | {"code": 401}),
        (302, IDLE),
    ],
)
def test_a_status_that_is_not_the_agents_own_tells_nothing(code: int, said: Any) -> None:
    assert status(code, said) == Status(reached=False)


def test_a_status_tells_a_wrong_key_from_nobody_there() -> None:
    wrong = status(401, {"error": "Invalid or missing pool API key"})
    assert wrong == Status(reached=False, wrong_key=True)
    assert status(404, EDGE | {"code": 404}) == Status(reached=False, refused=True)
