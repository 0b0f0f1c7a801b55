"""GraphQL as Railway answers it, executed by graphql-core over `schema.graphql`: bodies and HTTP statuses."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionContext,
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)

from controller.railway.simulator import mutations, resolvers
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.resolvers import Context
from controller.railway.simulator.world import World

log = logging.getLogger(__name__)
PROBLEM = "Problem processing request"
TOKENS_MAX = 20_000  # Of one query's text.
QUERIES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Said:
    """A JSON answer."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that is well formed and valid."""

    document: DocumentNode
    operation: OperationDefinitionNode
    variables: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The operation's name, else its first field's."""
        return self.operation.name.value if self.operation.name else self.fields[0]

    @property
    def fields(self) -> list[str]:
        chosen = self.operation.selection_set.selections
        return [node.name.value for node in chosen if isinstance(node, FieldNode)]

    def targets(self, world: World) -> set[str]:
        """All that a fault's `match` may name: the operation, its fields, ids and names of services."""
        found = {self.name, *self.fields, *_texts(self.variables)}
        return found | {world.services[i].name for i in found if i in world.services}


def _texts(value: Any, depth: int = 3) -> Iterator[str]:
    """Ids and names in the variables: short texts near the top, and keys of mappings (a patch's services)."""
    if isinstance(value, str) and len(value) <= 64:
        yield value
    elif isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            if name != "variables":
                yield name
                yield from _texts(inner, depth - 1)


class Api:
    """Parses, validates and executes."""

    def __init__(self) -> None:
        self.schema = schema()
        self._parsed = lru_cache(QUERIES_KEPT)(self._parse)

    def ask(self, query: Any, operation_name: Any, variables: Any, trace_id: str) -> Asked | Said:
        """The query, or the 400 that it deserves."""
        if not isinstance(query, str) or not isinstance(variables or {}, dict):
            return _refused([GraphQLError("Must provide query string.")], "BAD_REQUEST", trace_id)
        document, errors, code = self._parsed(query)
        if document is None or errors:
            return _refused(errors, code, trace_id)
        operation = get_operation_ast(document, operation_name)
        if operation is None:
            unknown = GraphQLError("Unknown operation, or more than one and no operationName.")
            return _refused([unknown], "OPERATION_RESOLUTION_FAILURE", trace_id)
        built = ExecutionContext.build(
            self.schema, document, raw_variable_values=variables, operation_name=operation_name
        )
        if isinstance(built, list):
            return _refused(built, "BAD_USER_INPUT", trace_id)
        return Asked(document, operation, variables or {})

    def _parse(self, query: str) -> tuple[DocumentNode | None, list[GraphQLError], str]:
        try:
            document = parse(query, max_tokens=TOKENS_MAX)
        except GraphQLSyntaxError as error:
            return None, [error], "GRAPHQL_PARSE_FAILED"
        return document, validate(self.schema, document), "GRAPHQL_VALIDATION_FAILED"

    def answer(self, asked: Asked, context: Context, trace_id: str) -> Said:
        """Execute it: 200, with `errors` where the world refused."""
        name = asked.operation.name.value if asked.operation.name else None
        result = execute_sync(
            self.schema,
            asked.document,
            context_value=context,
            variable_values=dict(asked.variables),
            operation_name=name,
        )
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [_shown(error, trace_id) for error in result.errors]
        return Said(200, body)


@cache
def schema() -> GraphQLSchema:
    """The schema, with what each field does bound to it."""
    built = build_schema((Path(__file__).parent / "schema.graphql").read_text())
    for type_name, fields in {**resolvers.FIELDS, **mutations.FIELDS}.items():
        kind = built.type_map[type_name]
        for field_name, resolve in fields.items():
            if isinstance(kind, GraphQLObjectType) and field_name in kind.fields:
                kind.fields[field_name].resolve = resolve
    return built


def problem(trace_id: str) -> Said:
    """What Railway says when it says nothing."""
    return Said(200, {"data": None, "errors": [{"message": PROBLEM, "traceId": trace_id}]})


def _refused(errors: list[GraphQLError], code: str, trace_id: str) -> Said:
    shown = [
        {**error.formatted, "extensions": {"code": code}, "traceId": trace_id} for error in errors
    ]
    return Said(400, {"errors": shown})


def _shown(error: GraphQLError, trace_id: str) -> dict[str, Any]:
    cause = error.original_error
    message, code = error.message, "INTERNAL_SERVER_ERROR"
    if isinstance(cause, Refusal):
        code = cause.code
    elif cause is not None:
        log.error("a resolver failed: %s at %s", type(cause).__name__, error.path)
        message = PROBLEM
    return {
        **error.formatted,
        "message": message,
        "extensions": {"code": code},
        "traceId": trace_id,
    }
