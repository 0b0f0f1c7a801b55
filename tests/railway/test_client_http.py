"""HTTP as Railway's edge speaks it: limits, outages, lost answers, and what is never shown."""

import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.types import Source
from controller.railway import (
    Allowance,
    Make,
    NotAuthorized,
    NotReady,
    RailwayError,
    RateLimited,
    Unclear,
)
from controller.railway.client import RailwayClient
from controller.railway.wire import Wire
from tests.railway.answers import (
    ENDPOINT,
    NOW,
    TOKEN,
    Answer,
    a_client,
    a_node,
    a_page,
    data,
    errors,
    text,
)
from tests.sockets import HANG, a_closed_port, a_server

SECRET = "canary-secret-91c4"
MAKE = Make("agent-a1", Source(image="agents/convos:1"), {"ANTHROPIC_API_KEY": SECRET})
RENAMED = {"serviceUpdate": {"id": "s1"}}
LIMITS = {"X_RateLimit_Limit": "1000", "X_RateLimit_Remaining": "12"}


@pytest.mark.parametrize(
    ("endpoint", "query"),
    [(ENDPOINT, "source=agent-pool"), (f"{ENDPOINT}?a=1", "a=1&source=agent-pool")],
)
async def test_each_request_names_its_source_and_carries_one_token(
    endpoint: str, query: str
) -> None:
    client, railway = a_client(data(RENAMED), endpoint=endpoint)
    await client.rename("s1", "b")
    (asked,) = railway.asked
    assert asked.url.query.decode() == query
    assert asked.headers["project-access-token"] == TOKEN
    assert "authorization" not in asked.headers
    assert client.endpoint == endpoint


# ---------------------------------------------------------------- limits

RESET = NOW + timedelta(minutes=14)


@pytest.mark.parametrize(
    "reset",
    [
        RESET.isoformat(),
        "2026-08-01T12:14:00.000Z",
        str(int(RESET.timestamp())),
        str(int(RESET.timestamp() * 1000)),
    ],
)
async def test_the_allowance_is_read_in_all_three_formats(reset: str) -> None:
    client, _ = a_client(data(RENAMED, **LIMITS, X_RateLimit_Reset=reset))
    await client.rename("s1", "b")
    assert client.allowance == Allowance(limit=1000, remaining=12, reset_in_s=840.0)


async def test_the_allowance_is_read_from_a_refusal_too() -> None:
    client, _ = a_client(errors("Not Authorized", 200, None, **LIMITS))
    with pytest.raises(NotAuthorized):
        await client.rename("s1", "b")
    assert client.allowance == Allowance(limit=1000, remaining=12)


@pytest.mark.parametrize("limit", ["", "many", "nan", "inf", "-1", "1" * 400])
async def test_a_limit_that_is_no_number_is_none(limit: str) -> None:
    answer = data(RENAMED, X_RateLimit_Limit=limit, X_RateLimit_Reset=limit)
    client, _ = a_client(answer)
    await client.rename("s1", "b")
    assert client.allowance.limit is None


async def test_what_an_earlier_answer_said_is_not_told_again_after_a_lost_one() -> None:
    client, _ = a_client(data(RENAMED, **LIMITS), httpx.ReadError("cut"))
    await client.rename("s1", "b")
    with pytest.raises(Unclear):
        await client.rename("s1", "c")
    assert client.allowance == Allowance()


@pytest.mark.parametrize(
    ("answer", "after_s"),
    [
        (errors("slow down", 429, Retry_After="7"), 7.0),
        (errors("slow down", 429, Retry_After="Sat, 01 Aug 2026 12:02:00 GMT"), 120.0),
        (errors("slow down", 429, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(RESET)), 840.0),
        (errors("slow down", 429), 60.0),
        (text(429, "error code: 1015"), 900.0),
        (text(429, "<html>busy</html>", Retry_After="9"), 9.0),
        (errors("You are creating environments too quickly"), 31.0),
    ],
)
async def test_a_limit_that_was_hit_says_how_long_to_wait(answer: Answer, after_s: float) -> None:
    client, _ = a_client(answer)
    with pytest.raises(RateLimited) as raised:
        await client.observe()
    assert raised.value.after_s == after_s


# ---------------------------------------------------------------- outages


@pytest.mark.parametrize(
    "answer",
    [
        text(502, "upstream connect error"),
        text(503, "<html>503</html>"),
        text(504, ""),
        text(200, "<!DOCTYPE html>"),
        text(200, "[" * 100_000),
        text(200, '["data"]'),
        text(200, '{"data": {}}'),
        text(200, '{"data": {"a": 1, "b": 2}}'),
        text(200, '{"errors": "boom"}'),
        text(200, '{"errors": [7]}'),
        text(404, '{"status": "error", "code": 404, "message": "Application not found"}'),
        text(302, "", Location="https://elsewhere.test"),
        httpx.ReadTimeout("slow"),
        httpx.WriteError("cut"),
        httpx.RemoteProtocolError("Server disconnected"),
    ],
)
async def test_no_clear_answer_is_unclear_and_nothing_is_sent_again(
    answer: Answer | Exception,
) -> None:
    client, railway = a_client(answer)
    with pytest.raises(Unclear):
        await client.create_whole(MAKE)
    assert len(railway.asked) == 1


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    client, _ = a_client(text(200, " " * (16 * 1024 * 1024 + 1)))
    with pytest.raises(Unclear):
        await client.observe()


async def test_a_refused_connection_says_that_nothing_happened() -> None:
    client = RailwayClient(f"http://127.0.0.1:{a_closed_port()}/", TOKEN, "p", "e", clock=_now)
    with pytest.raises(NotReady):
        await client.delete("s1")
    await client.close()


async def test_an_answer_that_takes_too_long_is_unclear() -> None:
    async with a_server(HANG) as (port, heard):
        wire = Wire(f"http://127.0.0.1:{port}/graphql", _now)
        with pytest.raises(Unclear):
            await wire.ask("ServiceDelete", {"id": "s1"}, {}, timeout_s=0.1)
        await wire.close()
    assert len(heard) == 1


async def test_a_connection_that_is_cut_after_the_request_is_unclear() -> None:
    async with a_server(b"") as (port, heard):
        client = RailwayClient(f"http://127.0.0.1:{port}/graphql", TOKEN, "p", "e", clock=_now)
        with pytest.raises(Unclear):
            await client.delete("s1")
        await client.close()
    assert len(heard) == 1


def _now() -> datetime:
    return datetime.now(UTC)


# ---------------------------------------------------------------- what is never shown


@pytest.mark.parametrize(
    "answer",
    [
        errors(f"Invalid variable {SECRET} for token {TOKEN}"),
        errors(f'Variable "$input" got invalid value {{ KEY: "{SECRET}" }}', 400),
        errors(f"Unknown argument {SECRET}", 400, "GRAPHQL_VALIDATION_FAILED"),
        errors(f"{SECRET} already exists"),
        text(502, f"upstream said {SECRET} {TOKEN}"),
        text(429, f"{SECRET} {TOKEN}"),
        httpx.ReadTimeout(f"{ENDPOINT} {TOKEN}"),
        httpx.LocalProtocolError(f"Illegal header value {TOKEN}"),
        httpx.ConnectError(f"{ENDPOINT} {TOKEN}"),
    ],
)
@pytest.mark.parametrize("by", ["create_whole", "patch"])
async def test_no_error_shows_a_secret(
    answer: Answer | Exception, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = a_client(answer)
    with caplog.at_level(logging.DEBUG), pytest.raises(RailwayError) as raised:
        await (client.create_whole(MAKE) if by == "create_whole" else client.patch("s1", MAKE))
    shown = f"{raised.value!r} {raised.value.__cause__!r} {client!r} {MAKE!r} {caplog.text}"
    assert SECRET not in shown
    assert TOKEN not in shown
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


async def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = a_client(a_page(a_node()))
    with caplog.at_level(logging.INFO):
        await client.observe()
    assert not caplog.records
