"""Calls to agents over real sockets: what is sent, what each answer and each silence means."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from controller.agents import Heard, Letter, Reply, Status
from controller.agents_http import HttpAgents
from tests.sockets import HANG, a_closed_port, a_server

KEY, OLD_KEY = "canary-key-new", "canary-key-old"
LETTER = Letter("Tokyo", "Plan a trip.\n\u6771\u4eac", None)
DONE = {"inviteUrl": "https://i.test/1", "conversationId": "c1", "joined": False}
IDLE = {"ready": True, "provisioned": False, "conversationId": None, "inviteUrl": None}
PROVISION, STATUS = "/pool/provision", "/pool/status"


@dataclass
class Agent:
    """An agent that knows one key, keeps what it heard, and answers as it is told."""

    code: int = 200
    said: Any = field(default_factory=lambda: DONE)
    key: str = KEY
    headers: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Invalid or missing pool API key"}, status=401)
        body = await request.json() if request.can_read_body else None
        self.heard.append((request.method, request.path, body))
        content = self.said if isinstance(self.said, bytes) else json.dumps(self.said).encode()
        return web.Response(status=self.code, body=content, headers=self.headers)


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", agent.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    agent.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield agent
    finally:
        await runner.cleanup()


@pytest.fixture
async def agents() -> AsyncIterator[HttpAgents]:
    agents = HttpAgents(frozenset({"http"}), provision_timeout_s=5.0, status_timeout_s=5.0)
    yield agents
    await agents.close()


@pytest.fixture
async def hasty() -> AsyncIterator[HttpAgents]:
    agents = HttpAgents(frozenset({"http"}), provision_timeout_s=0.1, status_timeout_s=0.1)
    yield agents
    await agents.close()


# ---------------------------------------------------------------- what is sent


async def test_the_agent_hears_name_and_instructions_and_no_join_url(agents: HttpAgents) -> None:
    async with running(Agent()) as agent:
        reply = await agents.provision(agent.url, (KEY,), LETTER)
    assert reply == Reply(Heard.DONE, "c1", "https://i.test/1")
    said = {"name": "Tokyo", "instructions": LETTER.instructions}
    assert agent.heard == [("POST", PROVISION, said)]


async def test_a_join_url_is_passed_on(agents: HttpAgents) -> None:
    letter = Letter("Tokyo", "hi", "https://i.test/group")
    async with running(Agent()) as agent:
        await agents.provision(f"{agent.url}/", (KEY,), letter)
    assert agent.heard[0][2]["joinUrl"] == "https://i.test/group"


async def test_a_status_is_asked_without_a_body(agents: HttpAgents) -> None:
    async with running(Agent(said=IDLE)) as agent:
        assert await agents.status(agent.url, (KEY,)) == Status(reached=True, ready=True)
    assert agent.heard == [("GET", STATUS, None)]


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("code", "said", "heard"),
    [
        (200, DONE, Heard.DONE),
        (409, {"error": "Already provisioned", "conversationId": "c1"}, Heard.ALREADY),
        (202, {"status": "waiting_for_acceptance"}, Heard.WAITING),
        (500, {"error": "no"}, Heard.FAILED),
        (503, {"error": "Instance not ready yet"}, Heard.NOT_READY),
        (400, {"error": "instructions (string) is required"}, Heard.BAD_REQUEST),
        (404, {"status": "error", "code": 404}, Heard.UNREACHED),
        (503, {"status": "error", "code": 503}, Heard.SILENT),
        (502, b"<html>", Heard.SILENT),
        (200, b"\xff garbage", Heard.SILENT),
        (200, json.dumps(DONE).encode().rjust(64 * 1024 + 1), Heard.SILENT),
    ],
)
async def test_each_answer_of_the_table_over_a_socket(
    agents: HttpAgents, code: int, said: Any, heard: Heard
) -> None:
    async with running(Agent(code, said)) as agent:
        assert (await agents.provision(agent.url, (KEY,), LETTER)).heard is heard
    assert len(agent.heard) == 1


async def test_an_answer_of_64_kib_is_still_read(agents: HttpAgents) -> None:
    said = json.dumps(DONE).encode().rjust(64 * 1024)
    async with running(Agent(said=said)) as agent:
        assert (await agents.provision(agent.url, (KEY,), LETTER)).heard is Heard.DONE


async def test_a_packed_answer_is_not_unpacked(agents: HttpAgents) -> None:
    packed = gzip.compress(json.dumps(DONE).encode())
    async with running(Agent(said=packed, headers={"Content-Encoding": "gzip"})) as agent:
        assert (await agents.provision(agent.url, (KEY,), LETTER)).heard is Heard.SILENT


async def test_a_redirect_is_not_followed(agents: HttpAgents) -> None:
    async with running(Agent()) as other:
        there = {"Location": f"{other.url}{PROVISION}"}
        async with running(Agent(307, b"", headers=there)) as agent:
            assert (await agents.provision(agent.url, (KEY,), LETTER)).heard is Heard.SILENT
            assert await agents.status(agent.url, (KEY,)) == Status(reached=False)
    assert other.heard == []


# ---------------------------------------------------------------- keys


async def test_another_key_is_tried_after_a_wrong_one(agents: HttpAgents) -> None:
    async with running(Agent(key=OLD_KEY)) as agent:
        assert (await agents.provision(agent.url, (KEY, OLD_KEY), LETTER)).heard is Heard.DONE
        agent.said = IDLE
        assert (await agents.status(agent.url, (KEY, OLD_KEY))).ready
    assert [path for _, path, _ in agent.heard] == [PROVISION, STATUS]


async def test_only_a_wrong_key_makes_another_be_tried(agents: HttpAgents) -> None:
    async with running(Agent(500, {"error": "no"})) as agent:
        assert (await agents.provision(agent.url, (KEY, KEY), LETTER)).heard is Heard.FAILED
    assert len(agent.heard) == 1


@pytest.mark.parametrize("keys", [(), (KEY,), (KEY, OLD_KEY)])
async def test_when_no_key_fits_nobody_has_heard(agents: HttpAgents, keys: tuple[str, ...]) -> None:
    async with running(Agent(key="another")) as agent:
        assert (await agents.provision(agent.url, keys, LETTER)).heard is Heard.WRONG_KEY
        assert await agents.status(agent.url, keys) == Status(reached=False, wrong_key=True)
    assert agent.heard == []


# ---------------------------------------------------------------- nobody there, or silence


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-agent.invalid"])
async def test_where_nobody_listens_nobody_has_heard(host: str) -> None:
    agents = HttpAgents(frozenset({"http"}), 60.0, 60.0)  # Longer than a dead resolver takes.
    url = f"http://{host}:{a_closed_port()}"
    assert (await agents.provision(url, (KEY,), LETTER)).heard is Heard.UNREACHED
    assert await agents.status(url, (KEY,)) == Status(reached=False, refused=True)
    await agents.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "agent.test",
        "http://",
        "http://[",
        "http://agent.test:port",
        "https://agent.test",
        "file:///etc/passwd",
        "http://agent.test/" + "x" * 2048,
    ],
)
async def test_what_is_no_url_of_ours_is_never_called(agents: HttpAgents, url: str) -> None:
    assert (await agents.provision(url, (KEY,), LETTER)).heard is Heard.UNREACHED
    assert await agents.status(url, (KEY,)) == Status(reached=False, refused=True)


async def test_http_is_not_called_unless_the_setting_says_so() -> None:
    agents = HttpAgents()
    async with running(Agent()) as agent:
        assert (await agents.provision(agent.url, (KEY,), LETTER)).heard is Heard.UNREACHED
    await agents.close()
    assert agent.heard == []


async def test_an_agent_that_hears_and_says_nothing_may_have_heard(hasty: HttpAgents) -> None:
    async with a_server(HANG) as (port, heard):
        url = f"http://127.0.0.1:{port}"
        reply = await hasty.provision(url, (KEY,), LETTER)
        assert (reply.heard, reply.detail) == (Heard.SILENT, "no answer in 0.1 s")
        assert await hasty.status(url, (KEY,)) == Status(reached=False)
    assert len(heard) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_call_that_is_cut_after_it_was_heard_may_have_been_heard(
    agents: HttpAgents, answer: bytes
) -> None:
    async with a_server(answer) as (port, heard):
        url = f"http://127.0.0.1:{port}"
        assert (await agents.provision(url, (KEY,), LETTER)).heard is Heard.SILENT
    assert len(heard) == 1, "a letter is never sent twice"


async def test_a_letter_that_no_agent_reads_is_not_sent(agents: HttpAgents) -> None:
    async with running(Agent()) as agent:
        letter = Letter("Tokyo", "x" * 1_000_000)
        assert (await agents.provision(agent.url, (KEY,), letter)).heard is Heard.BAD_REQUEST
    assert agent.heard == []


@pytest.mark.parametrize("instructions", ["half a pair \ud800", "a\u0000b", "\u6771" * 30_000])
async def test_instructions_of_any_text_arrive(agents: HttpAgents, instructions: str) -> None:
    async with running(Agent()) as agent:
        letter = Letter("Tokyo", instructions)
        assert (await agents.provision(agent.url, (KEY,), letter)).heard is Heard.DONE
    assert agent.heard[0][2]["instructions"] == instructions


async def test_a_call_can_be_cancelled(agents: HttpAgents) -> None:
    async with a_server(HANG) as (port, _):
        call = asyncio.create_task(agents.status(f"http://127.0.0.1:{port}", (KEY,)))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_no_connection_is_kept_and_no_cookie_comes_back(agents: HttpAgents) -> None:
    seen: list[tuple[Any, str | None]] = []

    class Watching(Agent):
        async def handle(self, request: web.Request) -> web.Response:
            seen.append((request.transport, request.headers.get("Cookie")))
            return await super().handle(request)

    async with running(Watching(said=IDLE, headers={"Set-Cookie": "a=b"})) as agent:
        for _ in range(2):
            # A cookie would be kept for a name, not for an address.
            url = agent.url.replace("127.0.0.1", "localhost")
            assert (await agents.status(url, (KEY,))).reached
    (first, _), (second, cookie) = seen
    assert first is not second
    assert cookie is None


async def test_nothing_that_is_shown_holds_the_key_or_the_letter(agents: HttpAgents) -> None:
    letter = Letter("Tokyo", "canary-instructions", "https://canary-join.test")
    urls = ["http://", f"http://127.0.0.1:{a_closed_port()}"]
    for url in urls:
        for keys in ((KEY,), ("canary\nkey",), ()):
            shown = f"{await agents.provision(url, keys, letter)!r} {agents!r}"
            assert "canary" not in shown
