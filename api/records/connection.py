"""How we speak to Postgres: one way to connect, one place where its errors become the records' own.

A database error may carry a row in its DETAIL. So nothing of it is passed on but the message of a rule of
ours (SQLSTATE AP422: `column: mend`), a constraint's name, or the class and code of the error.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeAlias, TypedDict, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from api.records import AlreadyExists, Bell, Conflict, Invalid, RecordsError, Unavailable
from api.records.columns import to_json

CONNECT_S = 5.0
COMMAND_S = 10.0  # The server gives up 2 s before the client, so that we hear of it.
CHANNEL = "agent_pool"
BELLS_MAX = 10_000  # Rings one listener may leave unheard; then a `resync` stands for all of them.
QUIET_S = 10.0  # After so long without a bell, ask whether the connection still lives.
AGAIN_S = (0.1, 5.0)  # A listener's back-off: from, doubling, up to.
RULE = "AP422"  # SQLSTATE of our own rules (migrations).
_BELLS = {"pool", "claim", "instance", "look", "looked"}
# libpq knows these, asyncpg would send them to the server as settings, which refuses them.
_LIBPQ_ONLY = {"channel_binding", "connect_timeout", "gssencmode", "sslcompression", "sslsni"} | {
    f"keepalives{part}" for part in ("", "_idle", "_interval", "_count")
}

# Everything asyncpg, the network and the encoding of a value may raise.
Failure = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    UnicodeError,
)


# A plan for each call costs more than the call (docs/speed.md); one made while a table was empty goes through
# all of it for ever (1 s for a bind at 100,000 claims). So plans look rows up, and last for a second only.
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
PLANS_LAST_S = 1


class Options(TypedDict):
    """What every connection of ours is made with."""

    dsn: str
    timeout: float
    command_timeout: float
    max_cached_statement_lifetime: int
    server_settings: dict[str, str]


def options(dsn: str, command_s: float = COMMAND_S) -> Options:
    """Arguments of `asyncpg.connect`."""
    return {
        "dsn": _without_libpq_only(dsn),
        "timeout": CONNECT_S,
        "command_timeout": command_s,
        "max_cached_statement_lifetime": PLANS_LAST_S,
        "server_settings": {
            "application_name": "agent-pool",
            **PLANS,
            "statement_timeout": f"{int((command_s - 2) * 1000)}",
            "idle_in_transaction_session_timeout": f"{int(command_s * 1000)}",
        },
    }


def _without_libpq_only(dsn: str) -> str:
    parts = urlsplit(dsn)
    query = [(k, v) for k, v in parse_qsl(parts.query) if k not in _LIBPQ_ONLY]
    return urlunsplit(parts._replace(query=urlencode(query)))


# One of a pool's, for as long as it is borrowed.
Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


async def connect(dsn: str, command_s: float = COMMAND_S) -> asyncpg.Connection:
    """One connection. Raises Unavailable, or Invalid where the URL cannot be read."""
    try:
        connection = await asyncpg.connect(**options(dsn, command_s))
        await prepare(connection)
        return connection
    except (*Failure, ValueError) as error:
        refused = unconnected(error)
    raise refused


async def prepare(connection: Any) -> None:
    """jsonb as Python values, both ways."""
    await connection.set_type_codec(
        "jsonb", encoder=to_json, decoder=json.loads, schema="pg_catalog"
    )


def unconnected(error: BaseException) -> RecordsError:
    """Why there is no connection; the URL, which holds a password, is not repeated."""
    if isinstance(error, ValueError):
        return Invalid("the database URL cannot be read: postgresql://user:password@host:5432/name")
    if getattr(error, "sqlstate", None) == "08P01":
        return Invalid(
            "the database URL leads to a pooler, where LISTEN is not heard: use the direct one"
        )
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return Unavailable("the database refuses that user or password")
        case asyncpg.InvalidCatalogNameError():
            return Unavailable("the database's server has no database of that name")
        case OSError():  # A time-out, too.
            return Unavailable("the database's server cannot be reached")
    return named(error)


def named(error: BaseException) -> RecordsError:
    """What the caller must do. Raise it outside of the `except`, so that it does not drag the error along."""
    state = getattr(error, "sqlstate", None) or ""
    if state == RULE:
        return Invalid(cast(asyncpg.PostgresError, error).message or "refused")
    if isinstance(error, asyncpg.UniqueViolationError):
        return AlreadyExists(f"{error.table_name}: {error.constraint_name} holds it already")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        broken = error.constraint_name or error.column_name
        return Invalid(f"{error.table_name}: refused by {broken}")
    if state.startswith("22") or isinstance(error, (ValueError, UnicodeError)):
        return Invalid("a value has a form that the database does not take; mend the text")
    if state in ("40001", "40P01"):
        return Conflict("somebody else wrote the same rows; look again")
    if state in ("42P01", "42703", "42883"):
        return Unavailable(f"the tables are not as this program knows them ({state}): migrate")
    code = f", SQLSTATE {state}" if state else ""
    return Unavailable(f"the database did not answer as it should ({type(error).__name__}{code})")


# ---------------------------------------------------------------- doorbells


def bell_of(payload: str) -> Bell | None:
    """The bell of a NOTIFY; None for what is none of ours."""
    try:
        fields = json.loads(payload)
        if fields["kind"] in _BELLS and all(isinstance(v, str) for v in fields.values()):
            return Bell(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    return None


def payload_of(bell: Bell) -> str:
    """As the triggers write it."""
    return json.dumps(asdict(bell))


class Ear:
    """One LISTEN connection: what rang since it was opened, and whether it still lives."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._heard: asyncio.Queue[Bell | None] = asyncio.Queue()
        connection.add_termination_listener(self._broke)

    def hear(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        if self._heard.qsize() >= BELLS_MAX:
            while not self._heard.empty():
                self._heard.get_nowait()
            self._heard.put_nowait(Bell("resync"))
        if bell := bell_of(str(payload)):
            self._heard.put_nowait(bell)

    def _broke(self, connection: Any) -> None:
        self._heard.put_nowait(None)

    async def next(self) -> Bell | None:
        """The next bell; None: the connection is gone."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    return await self._heard.get()
            try:
                await self._connection.execute("SELECT", timeout=CONNECT_S)
            except Failure:
                return None

    def close(self) -> None:
        self._connection.remove_termination_listener(self._broke)
        self._connection.terminate()


async def _listen(dsn: str) -> Ear:
    connection = await connect(dsn)
    ear = Ear(connection)
    try:
        await connection.add_listener(CHANNEL, ear.hear)
        return ear
    except Failure as error:
        deaf = named(error)
    ear.close()
    raise deaf


async def bells(dsn: str) -> AsyncIterator[Bell]:
    """Rings from now on, a `resync` first and after each break; backs off while there is no connection."""
    wait_s = AGAIN_S[0]
    while True:
        try:
            ear = await _listen(dsn)
        except RecordsError:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_S[1])
            continue
        try:
            yield Bell("resync")
            while bell := await ear.next():
                yield bell
        finally:
            ear.close()
        wait_s = AGAIN_S[0]
        await asyncio.sleep(wait_s)
