"""psql on our store: the wheel's own, else the one on PATH."""

import shutil
from urllib.parse import parse_qsl, unquote, urlsplit

from api.settings import SettingError
from controller.local.postgres import packaged_binaries


def psql_program() -> str:
    try:
        return str(packaged_binaries() / "psql")
    except SettingError:
        found = shutil.which("psql")
        if found is None:
            raise SettingError("PATH", "has no psql: install PostgreSQL's client") from None
        return found


def psql_environment(url: str) -> dict[str, str]:
    """The URL as libpq's variables: arguments can be read by anybody on the machine, these cannot."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    named = {
        "PGHOST": parts.hostname or query.get("host"),
        "PGPORT": str(parts.port or query.get("port") or 5432),
        "PGUSER": parts.username and unquote(parts.username),
        "PGPASSWORD": parts.password and unquote(parts.password),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
        "PGSSLMODE": query.get("sslmode"),
        "PGSSLROOTCERT": query.get("sslrootcert"),
    }
    return {name: value for name, value in named.items() if value}
