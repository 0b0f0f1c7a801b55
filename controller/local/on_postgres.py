"""The store of `up`: a PostgreSQL of our own, or whichever DATABASE_URL names."""

from collections.abc import Mapping, Sequence

from api.records import RecordsError
from api.records.connection import connect
from api.records.migrate import migrate
from api.settings import SettingError, StoreSettings
from controller.local.plan import Plan
from controller.local.postgres import LocalPostgres
from controller.local.stores import Step
from controller.local.supervisor import Supervisor


class PostgresStore:
    """One server; its data is in the state folder where it is our own."""

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._url = plan.api.store.database_url

    def steps(self) -> Sequence[Step]:
        return ("Postgres", self._server), ("schema", self._schema)

    def reached(self) -> StoreSettings:
        return StoreSettings("postgres", self._url)

    def environ(self, part: str) -> Mapping[str, str]:
        return {"DATABASE_URL": self._url}

    def lines(self) -> str:
        return ""

    async def _server(self) -> str:
        if not self._plan.own_postgres:
            return await _server_version(self._url)
        server = LocalPostgres(self._plan.state.folder)
        await self._supervisor.start(server)
        self._url = server.url
        return f"{await _server_version(self._url)} of our own, data in {server.home}"

    async def _schema(self) -> str:
        try:
            applied = await migrate(self._url)
        except RecordsError as error:
            raise SettingError("DATABASE_URL", str(error)) from None
        return f"{len(applied)} migrations applied" if applied else "up to date"


async def _server_version(url: str) -> str:
    """Raises SettingError where nobody answers there, or not to us."""
    try:
        connection = await connect(url)
    except RecordsError as error:
        raise SettingError("DATABASE_URL", f"{error}; is it right, and does it run?") from None
    try:
        return "PostgreSQL " + ".".join(str(n) for n in connection.get_server_version()[:2])
    finally:
        await connection.close()
