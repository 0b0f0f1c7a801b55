"""Requests to the API server: JSON in, JSON out, and what it refuses as the records' errors.

A request that it rejected unseen (429) is sent again; one whose answer was lost never is. No error holds
a value that was sent: an object may hold instructions.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import aiohttp

from api.kubernetes.config import Cluster
from api.records import AlreadyExists, Conflict, Invalid, NotFound, RecordsError, Unavailable

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0  # TLS included; many at once on a busy machine took more than 5 s.
BUSY_PATIENCE_S = 10.0  # How long 429 is waited out.
BUSY_AGAIN_S = 1.0  # Where it does not say when.
TOKEN_LASTS_S = 60.0
AT_ONCE = (
    16  # Patches a second by 1, 8, 32 at a time: 211, 556, 414; and each more is a TLS handshake.
)
LEASES, LEASES_AT_ONCE = "leases", 4
WATCH_FOR_S = 300
SILENCE_S = 90.0  # Bookmarks come each minute.
LINE_MAX = 4 * 1024 * 1024
CLOCK_SLACK = timedelta(seconds=2)

MERGE = "application/merge-patch+json"
Json = dict[str, Any]


class Expired(RecordsError):
    """The server no longer knows what changed since then: list anew."""


class Api:
    """One server, spoken to as one user. `requests` counts what was sent, by method and plural; a watch that
    says nothing for longer than `silence_s` is dead."""

    def __init__(self, cluster: Cluster, *, silence_s: float = SILENCE_S) -> None:
        self.cluster = cluster
        self._silence_s = silence_s
        self.clock = ServerTime()
        self.requests: dict[tuple[str, str], int] = {}
        self._asking: aiohttp.ClientSession | None = None
        self._leasing: aiohttp.ClientSession | None = None
        self._watching: aiohttp.ClientSession | None = None
        self._token = ("", -TOKEN_LASTS_S)

    async def get(self, path: str, **params: str) -> Json:
        return await self._send("GET", path, params=params)

    async def create(self, path: str, body: Json) -> Json:
        return await self._send("POST", path, body=body, params={"fieldValidation": "Strict"})

    async def replace(self, path: str, body: Json) -> Json:
        return await self._send("PUT", path, body=body)

    async def merge(self, path: str, body: Json) -> Json:
        """A merge patch. Conditional where `body` names metadata.resourceVersion: else Conflict."""
        return await self._send("PATCH", path, body=body, kind=MERGE)

    async def delete(self, path: str, uid: str, version: str = "") -> None:
        """Only that very object, and only at that version where it is given."""
        only = {"uid": uid, **({"resourceVersion": version} if version else {})}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": only}
        await self._send("DELETE", path, body=body)

    async def list(self, path: str, **params: str) -> tuple[list[Json], str]:
        """All of them, page by page, and the version of the first page. Raises Expired, Unavailable."""
        found: list[Json] = []
        version = more = ""
        while True:
            asked = {"limit": "500", **params, **({"continue": more} if more else {})}
            page = await self.get(path, **asked)
            found += page.get("items") or []
            version = version or page["metadata"]["resourceVersion"]
            more = page["metadata"].get("continue") or ""
            if not more:
                return found, version

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """Type and object of each change since that version, until the server ends it. Raises Expired."""
        params = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_FOR_S),
        }
        self._count("WATCH", path)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._silence_s
        )
        try:
            session = self.watching
            url, headers = self.cluster.server + path, self._headers()
            async with session.get(url, params=params, headers=headers, timeout=timeout) as answer:
                if answer.status != 200:
                    raise _refusal("watch", path, answer.status, await _json(answer))
                async for line in lines_of(answer.content):
                    kind, thing = _event(line)
                    if kind == "ERROR":
                        raise _refusal("watch", path, thing.get("code", 500), {})
                    yield kind, thing
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise Unavailable(f"the watch broke: {type(error).__name__}") from None

    async def close(self) -> None:
        for session in (self._asking, self._leasing, self._watching):
            if session is not None:
                await session.close()

    # ---------------------------------------------------------------- one request

    @property
    def asking(self) -> aiohttp.ClientSession:
        if self._asking is None:
            self._asking = self._session(AT_ONCE)
        return self._asking

    @property
    def leasing(self) -> aiohttp.ClientSession:
        """Leases have connections of their own: behind hundreds of writes a renewal would come too late."""
        if self._leasing is None:
            self._leasing = self._session(LEASES_AT_ONCE)
        return self._leasing

    @property
    def watching(self) -> aiohttp.ClientSession:
        """Watches have connections of their own: they never wait for requests, nor requests for them."""
        if self._watching is None:
            self._watching = self._session(0)
        return self._watching

    def _session(self, at_once: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.cluster.tls, limit=at_once)
        return aiohttp.ClientSession(connector=connector, auto_decompress=True)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        until, renewed = time.monotonic() + BUSY_PATIENCE_S, False
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        while True:
            status, answer, after_s = await self._once(method, path, params, data, kind)
            if status < 300:
                return answer
            if status == 429 and time.monotonic() + after_s < until:
                await asyncio.sleep(after_s)
            elif status == 401 and not renewed:  # Rotated under us.
                renewed, self._token = True, ("", -TOKEN_LASTS_S)
            else:
                raise _refusal(method, path, status, answer)

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        data: bytes | None,
        kind: str,
    ) -> tuple[int, Json, float]:
        """Status, body, and after how many seconds it may be tried again. Raises Unavailable."""
        self._count(method, path)
        session = self.leasing if _plural(path) == LEASES else self.asking
        headers = {**self._headers(), "Content-Type": kind, "Accept-Encoding": "identity"}
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with session.request(
                method,
                self.cluster.server + path,
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
            ) as answer:
                self.clock.saw(answer.headers.get("Date", ""))
                after = answer.headers.get("Retry-After", "")
                after_s = float(after) if after.isdigit() else BUSY_AGAIN_S
                return answer.status, await _json(answer), after_s
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise Unavailable(f"the API server: {type(error).__name__}") from None

    def _headers(self) -> dict[str, str]:
        token, read_at = self._token
        if time.monotonic() - read_at >= TOKEN_LASTS_S:
            token = self.cluster.token()
            self._token = (token, time.monotonic())
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _count(self, method: str, path: str) -> None:
        key = (method, _plural(path))
        self.requests[key] = self.requests.get(key, 0) + 1


class ServerTime:
    """The server's clock, from the Date of its answers (whole seconds) and our monotonic clock.

    Of what the answers allow, the earliest that none of them contradicts; a step of the server's clock
    is followed at once.
    """

    def __init__(self) -> None:
        self._ahead: timedelta | None = None  # Server time minus our monotonic clock.

    def saw(self, date: str) -> None:
        said = _date(date)
        if said is None:
            return
        ahead = said - _ours()
        known = self._ahead
        if known is None or ahead > known or known - ahead > CLOCK_SLACK:
            self._ahead = ahead

    def now(self) -> datetime | None:
        """None before the first answer."""
        return None if self._ahead is None else _ours() + self._ahead


@lru_cache(maxsize=8)  # Hundreds of answers of one second bear the same.
def _date(said: str) -> datetime | None:
    try:
        return parsedate_to_datetime(said)
    except ValueError:
        return None


def _ours() -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=time.monotonic())


async def _json(answer: aiohttp.ClientResponse) -> Json:
    """An answer that is no JSON object is nobody's word: a proxy's page, or cut off. Raises ValueError."""
    said = json.loads(await answer.read() or b"{}") if answer.status < 500 else {}
    if not isinstance(said, dict):
        raise ValueError("not an object")
    return said


def _event(line: bytes) -> tuple[str, Json]:
    """Raises ValueError for whatever is none."""
    said = json.loads(line)
    if not (isinstance(said, dict) and isinstance(said.get("object"), dict)):
        raise ValueError("not an event")
    return str(said.get("type")), said["object"]


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Each whole line as soon as it is there, however long; an empty one is none. Raises ValueError."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > LINE_MAX:
            raise ValueError("a line without end")


# ---------------------------------------------------------------- what a refusal means


def _refusal(method: str, path: str, status: int, answer: Json) -> RecordsError:
    plural, reason = _plural(path), str(answer.get("reason", ""))
    if status == 404:
        return NotFound(f"{path.rsplit('/', 1)[-1]} does not exist")
    if status == 409:
        exists = reason == "AlreadyExists"
        return AlreadyExists(f"{plural}: exists") if exists else Conflict(f"{plural}: has changed")
    if status == 410:
        return Expired(f"{plural}: too old a version")
    if status in (400, 422):
        return Invalid(_causes(answer) or f"{plural}: the API server refuses it ({status})")
    if status == 403:
        return Unavailable(f"may not {method} {plural}: give our service account a role that may")
    if status == 401:
        return Unavailable("the API server does not know who we are: is the token still valid?")
    return Unavailable(f"the API server answers {status}")


_VALUE = re.compile(r"^(Invalid|Unsupported) value: .*\": ", re.DOTALL)  # What was sent, in quotes.


def _causes(answer: Json) -> str:
    """`field: rule` of each cause, without any value."""
    causes = (answer.get("details") or {}).get("causes") or ()
    told = []
    for cause in causes[:5]:
        rule = _VALUE.sub("", str(cause.get("message", "")))
        if rule.startswith(("Invalid value", "Unsupported value", "Duplicate value")):
            rule = rule.partition(":")[0]
        told.append(f"{cause.get('field', '')}: {rule}".removeprefix(": "))
    return "; ".join(dict.fromkeys(told))


def _plural(path: str) -> str:
    """Of `/apis/<group>/<version>/namespaces/<ns>/<plural>/<name>[/status]`, the plural."""
    parts = path.strip("/").split("/")
    after = parts[3:] if parts[0] == "apis" else parts[2:]
    if after[:1] == ["namespaces"] and len(after) > 2:
        after = after[2:]
    return after[0] if after else path
