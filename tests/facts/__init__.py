"""Railway's published schema (the part a pool needs, August 2026) and operations recommended on it.

Facts from outside, kept word for word but for the split into files, so that the tests never depend on
where this checkout stands.
"""

from functools import cache
from pathlib import Path

from graphql import GraphQLSchema, build_schema

HERE = Path(__file__).parent
OPERATIONS = HERE / "railway.operations.graphql"


@cache
def published_schema() -> GraphQLSchema:
    parts = sorted(p for p in HERE.glob("railway.*.graphql") if p != OPERATIONS)
    return build_schema("\n".join(part.read_text() for part in parts))
