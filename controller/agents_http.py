"""HTTP to agents: the `Agents` port on aiohttp. One call, one connection, no redirects, bounded answers.

The caller bounds how many calls are open: with thousands of hosts aiohttp's own limit is what costs most
(measured: 2.0 ms a call against 0.4), and each agent is another host, so no connection is kept.
"""

import json
from typing import Any, Literal

import aiohttp
from yarl import URL

from controller.agents import (
    ANSWER_MAX_BYTES,
    Heard,
    Letter,
    Reply,
    Status,
    read_reply,
    read_status,
)

STATUS_TIMEOUT_S = 5.0  # As the seed's service.
PROVISION_TIMEOUT_S = 60.0  # The agent tries up to 5 times, each a network set-up of seconds.
URL_MAX = 2048
LETTER_MAX_BYTES = 1_000_000  # The agent reads JSON bodies up to 1 MB.
Path = Literal["/pool/status", "/pool/provision"]


class _NotSent(Exception):
    """Nobody can have heard. The text says why."""


class _Lost(Exception):
    """Somebody may have heard, and no whole answer came. The text says why."""


class HttpAgents:
    """Calls to agents. Never raises but for cancellation; an URL of another scheme is never called."""

    def __init__(
        self,
        schemes: frozenset[str] = frozenset({"https"}),
        provision_timeout_s: float = PROVISION_TIMEOUT_S,
        status_timeout_s: float = STATUS_TIMEOUT_S,
    ) -> None:
        self._schemes = schemes
        self._provision_timeout_s = provision_timeout_s
        self._status_timeout_s = status_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def status(self, url: str, keys: tuple[str, ...]) -> Status:
        said = Status(reached=False, wrong_key=True)
        for key in keys:
            said = await self._status(url, key)
            if not said.wrong_key:
                break
        return said

    async def provision(self, url: str, keys: tuple[str, ...], letter: Letter) -> Reply:
        body = _body(letter)
        if len(body) > LETTER_MAX_BYTES:
            return Reply(Heard.BAD_REQUEST, detail="more than the agent reads; not sent")
        reply = Reply(Heard.WRONG_KEY, detail="no key is known")
        for key in keys:
            reply = await self._provision(url, key, body)
            if reply.heard is not Heard.WRONG_KEY:
                break
        return reply

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _status(self, url: str, key: str) -> Status:
        try:
            return read_status(*await self._ask(url, "/pool/status", key, self._status_timeout_s))
        except _NotSent:
            return Status(reached=False, refused=True)
        except _Lost:
            return Status(reached=False)

    async def _provision(self, url: str, key: str, body: bytes) -> Reply:
        timeout_s = self._provision_timeout_s
        try:
            return read_reply(*await self._ask(url, "/pool/provision", key, timeout_s, body))
        except _NotSent as why:
            return Reply(Heard.UNREACHED, detail=str(why))
        except _Lost as why:
            return Reply(Heard.SILENT, detail=str(why))

    async def _ask(
        self, url: str, path: Path, key: str, timeout_s: float, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Code and body of the answer. POST with a body, GET without. Raises _NotSent, _Lost."""
        target = self._target(url, path)
        try:
            async with self._open().request(
                "GET" if body is None else "POST",
                target,
                data=body,
                headers={"Authorization": f"Bearer {key}"},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                return response.status, await _bounded(response)
        except aiohttp.ClientConnectorError as error:
            raise _NotSent(f"cannot connect ({type(error).__name__})") from None
        except TimeoutError:
            raise _Lost(f"no answer in {timeout_s:g} s") from None
        except (
            Exception
        ) as error:  # The port never raises; whatever it was, it may have been heard.
            raise _Lost(f"no whole answer ({type(error).__name__})") from None

    def _target(self, url: str, path: Path) -> URL:
        try:
            base = URL(url[: URL_MAX + 1])
        except ValueError:
            raise _NotSent("not an URL") from None
        if len(url) > URL_MAX or not base.host or base.scheme not in self._schemes:
            raise _NotSent(f"not an URL of {' or '.join(sorted(self._schemes))}")
        return base.origin() / path[1:]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # It wants a running loop, which a constructor may not have.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                # Nothing small can unpack into something large.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "Content-Type": "application/json"},
            )
        return self._session


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body; what is too large is no agent's own and reads as empty."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            return b""
    return bytes(content)


def _body(letter: Letter) -> bytes:
    said: dict[str, Any] = {"instructions": letter.instructions, "name": letter.name}
    if letter.join_url is not None:
        said["joinUrl"] = letter.join_url
    return json.dumps(said).encode()  # ASCII: half a surrogate pair cannot make it fail.
