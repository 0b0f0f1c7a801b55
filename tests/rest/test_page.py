"""The page: no key in it, a cookie for who showed the key once, and no other page may use that cookie."""

from typing import Any

import aiohttp

from tests.rest.served import KEY, SEED_BODY, Said, Served, a_sidecar, said
from tests.rest.world import World


async def logged_in(served: Served, key: str = KEY, **headers: str) -> Said:
    return await served.ask_without_key("POST", "/login", json={"key": key}, headers=headers)


async def as_page(served: Served, method: str, path: str, cookie: str, **options: Any) -> Said:
    headers = {"Cookie": cookie, "Origin": served.url} | options.pop("headers", {})
    return await served.ask_without_key(method, path, headers=headers, **options)


def cookie_of(answer: Said) -> str:
    return str(answer.headers["Set-Cookie"]).split(";")[0]


async def test_the_page_and_its_files_need_no_key_and_hold_none() -> None:
    async with a_sidecar() as served:
        page = await served.ask_without_key("GET", "/")
        script = await served.ask_without_key("GET", "/page/page.js")
        style = await served.ask_without_key("GET", "/page/page.css")
    kinds = [a.headers["Content-Type"].split(";")[0] for a in (page, script, style)]
    assert kinds == ["text/html", "text/javascript", "text/css"]
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert all(KEY not in a.text for a in (page, script, style))


async def test_logging_in_gives_a_cookie_that_opens_the_api_until_the_log_out() -> None:
    async with a_sidecar(World.control_for_ever) as served:
        await served.world.idle()
        entered = await logged_in(served)
        cookie = cookie_of(entered)
        claim = await as_page(served, "POST", "/api/pool/claim", cookie, json=SEED_BODY)
        left = await as_page(served, "POST", "/logout", cookie)
        after = await as_page(served, "GET", "/api/pool/status", cookie)
    flags = entered.headers["Set-Cookie"]
    assert entered.status == 204
    assert "HttpOnly" in flags
    assert "SameSite=Strict" in flags
    assert "Max-Age=43200" in flags
    assert "Secure" not in flags
    assert KEY not in flags
    assert (claim.status, left.status, after.status) == (200, 204, 401)


async def test_behind_https_the_cookie_is_secure() -> None:
    async with a_sidecar() as served:
        answer = await logged_in(served, X_Forwarded_Proto="https")
        proxied = await served.ask_without_key(
            "POST", "/login", json={"key": KEY}, headers={"X-Forwarded-Proto": "https"}
        )
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Secure" in proxied.headers["Set-Cookie"]


async def test_a_wrong_key_opens_no_visit() -> None:
    async with a_sidecar() as served:
        answer = await logged_in(served, key="guess")
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


async def test_with_a_cookie_another_page_may_ask_nothing_that_changes_something() -> None:
    async with a_sidecar() as served:
        cookie = cookie_of(await logged_in(served))
        for headers in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": ""},
        ):
            answer = await as_page(
                served, "POST", "/api/pool/claim", cookie, json=SEED_BODY, headers=headers
            )
            assert (answer.status, list(answer.json)) == (403, ["error"])
        form = await as_page(served, "POST", "/api/pool/claim", cookie, data={"instructions": "x"})
    assert form.status == 415
    assert served.world.claims == []


async def test_wrong_keys_are_slowed_and_the_right_one_is_not() -> None:
    async with a_sidecar() as served:
        for _ in range(11):
            assert (await logged_in(served, key="guess")).status == 401
        timeout = aiohttp.ClientTimeout(total=0.3)
        slowed = False
        try:
            await said(
                served.stranger,
                "POST",
                served.url + "/login",
                json={"key": "guess"},
                timeout=timeout,
            )
        except TimeoutError:
            slowed = True
        assert slowed
        right = await served.ask("GET", "/api/pool/status", timeout=timeout)
        assert right.status == 200
        metrics = await said(served.stranger, "GET", served.ops_url + "/metrics")
    assert "agent_pool_auth_failures_total 12.0" in metrics.text
