"""Everything that is refused is refused in JSON, with its field named and nothing told."""

import asyncio
import json
from typing import Any

import pytest

from tests.rest.served import SEED_BODY, Served, a_sidecar
from tests.rest.world import World

POST = "/api/pool/claim"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"agentId": "a" * 129}, "agentId"),
        ({"agentId": "two\nlines"}, "agentId"),
        ({"agentId": "nul\0"}, "agentId"),
        ({"instructions": "x" * (100 * 1024 + 1)}, "instructions"),
        ({"instructions": "é" * (50 * 1024 + 1)}, "instructions"),
        ({"instructions": "bell\a"}, "instructions"),
        ({"joinUrl": "http://insecure.org"}, "joinUrl"),
        ({"joinUrl": "https://x.org/" + "a" * 2048}, "joinUrl"),
        ({"pool": "Not A Name"}, "pool"),
        ({"pool": None}, "pool"),
    ],
)
async def test_a_field_out_of_bounds_is_named_and_not_repeated(
    body: dict[str, Any], says: str
) -> None:
    async with a_sidecar() as served:
        answer = await served.claim(SEED_BODY | body)
    assert answer.status == 400
    assert answer.json["error"].startswith(f"{says}: ")
    assert len(answer.text) < 200
    assert served.world.claims == []


@pytest.mark.parametrize(
    "body",
    [
        {"agentId": "a" * 128},
        {"agentId": "日本 ✈"},
        {"instructions": "x" * (100 * 1024)},
        {"instructions": "tabs\tand\r\nlines"},
        {"joinUrl": ""},
        {"joinUrl": None},
    ],
)
async def test_a_field_at_its_bound_is_taken(body: dict[str, Any]) -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle()
        assert (await served.claim(SEED_BODY | body)).status == 200


async def test_half_a_character_is_refused() -> None:
    async with a_sidecar() as served:
        raw = rb'{"instructions": "\ud800", "agentId": "a"}'
        headers = {"Content-Type": "application/json"}
        answer = await served.ask("POST", POST, data=raw, headers=headers)
    assert answer.status == 400
    assert answer.json["error"].startswith("instructions: ")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[1]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"instructions": "' + b"x" * (256 * 1024) + b'"}', 413),
    ],
)
async def test_a_body_that_is_no_claim_is_refused(raw: bytes, status: int) -> None:
    async with a_sidecar() as served:
        headers = {"Content-Type": "application/json"}
        answer = await served.ask("POST", POST, data=raw, headers=headers)
    assert (answer.status, list(answer.json)) == (status, ["error"])


async def test_a_large_body_of_unknown_length_is_refused_too() -> None:
    async def pieces() -> Any:
        for _ in range(300):
            yield b" " * 1024

    async with a_sidecar() as served:
        headers = {"Content-Type": "application/json"}
        answer = await served.ask("POST", POST, data=pieces(), headers=headers)
    assert answer.status == 413
    assert list(answer.json) == ["error"]


async def test_only_json_is_taken() -> None:
    async with a_sidecar() as served:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
            answer = await served.ask(
                "POST", POST, data=json.dumps(SEED_BODY), headers={"Content-Type": kind}
            )
            assert (answer.status, list(answer.json)) == (415, ["error"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", POST, "POST"),
        ("DELETE", "/api/pool/claims", "GET,HEAD"),
        ("PUT", "/api/pool/status", "GET,HEAD"),
        ("PATCH", "/healthz", "GET,HEAD"),
    ],
)
async def test_a_wrong_method_learns_the_right_ones(method: str, path: str, allowed: str) -> None:
    async with a_sidecar() as served:
        answer = await served.ask(method, path)
    assert (answer.status, list(answer.json)) == (405, ["error"])
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/pool/claims/Not%20A%20Name", "/page/../rest.py", "/page/none.js"]
)
async def test_an_unknown_path_is_a_404_in_json(path: str) -> None:
    async with a_sidecar() as served:
        answer = await served.ask("GET", path)
    assert (answer.status, list(answer.json)) == (404, ["error"])


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
async def test_an_idempotency_key_is_printable_and_short(key: str) -> None:
    async with a_sidecar() as served:
        answer = await served.claim(Idempotency_Key=key)
    assert answer.status == 400
    assert "Idempotency-Key" in answer.json["error"]


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=", "respond-async, wait=1.5"])
async def test_a_preference_for_no_number_is_refused(prefer: str) -> None:
    async with a_sidecar() as served:
        assert (await served.claim(Prefer=prefer)).status == 400


@pytest.mark.parametrize("query", ["?qr=svg", "?wait=x"])
async def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    async with a_sidecar() as served:
        assert (await served.ask("GET", "/api/pool/claims/some" + query)).status == 400


async def test_unknown_fields_are_taken_and_each_is_named_in_a_warning() -> None:
    odd = {'"quoted\\': 1, "x" * 500: 2, "agent_id": 3, "new\r\nline": 4}
    many = {f"field-{n}": n for n in range(50)}
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle(3)
        none = await served.claim()
        few = await served.claim(SEED_BODY | odd)
        lots = await served.claim(SEED_BODY | many)
    assert none.headers.getall("Warning", []) == []
    assert few.status == 200
    assert few.headers.getall("Warning") == [
        r'299 - "unknown field \"?quoted?\""',
        rf'299 - "unknown field \"{"x" * 64}\""',
        r'299 - "unknown field \"agent_id\""',
        r'299 - "unknown field \"new??line\""',
    ]
    assert len(lots.headers.getall("Warning")) == 10


async def raw(served: Served, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.sidecar.ports[0])
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_in_json(request_: bytes) -> None:
    async with a_sidecar() as served:
        head, _, body = (await raw(served, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert list(json.loads(body)) == ["error"]


async def test_a_body_in_a_broken_encoding_is_a_400() -> None:
    async with a_sidecar() as served:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = await served.ask("POST", POST, data=b"not gzip at all", headers=headers)
    assert (answer.status, list(answer.json)) == (400, ["error"])


async def test_a_bug_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with a_sidecar() as served:

        async def broken(op: str) -> None:
            if op == "create_claims before":
                raise KeyError(SEED_BODY["instructions"])

        served.world.records.pause = broken
        answer = await served.claim()
    assert (answer.status, answer.json) == (500, {"error": "Internal error"})
    assert "KeyError" in caplog.text
    assert "Tokyo" not in caplog.text
