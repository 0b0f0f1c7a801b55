"""Named queries: a `.sql` file in which each query follows a line `-- name: its_name`."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)


def queries(text: str) -> Mapping[str, str]:
    """The queries of such a file by name, without comments. Raises ValueError for a name used twice."""
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) < len(names):
        raise ValueError("a query's name is used twice")
    bare = (_COMMENT.sub("", body).strip() for body in bodies)
    return MappingProxyType(dict(zip(names, bare, strict=True)))


SQL = queries((files("api.records") / "queries.sql").read_text(encoding="utf-8"))
