"""Every operation that we ever send, against the published schema and the simulator's."""

import pytest
from graphql import (
    NoDeprecatedCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)

from controller.railway.wire import OPERATIONS
from tests.railway.answers import SCHEMAS

RULES = (*specified_rules, NoDeprecatedCustomRule)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_each_operation_is_valid_and_uses_nothing_deprecated(operation: str, schema: str) -> None:
    assert validate(SCHEMAS[schema](), parse(OPERATIONS[operation]), RULES) == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_operation_that_railway_does_not_know_would_be_noticed(schema: str) -> None:
    wrong = "mutation X($id: String!) { volumeDelete(id: $id) }"  # It is volumeId.
    assert validate(SCHEMAS[schema](), parse(wrong), RULES)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_each_operation_is_sent_alone_under_its_name_with_one_root_field(operation: str) -> None:
    (definition,) = parse(OPERATIONS[operation]).definitions
    assert isinstance(definition, OperationDefinitionNode)
    assert definition.name
    assert definition.name.value == operation
    assert len(definition.selection_set.selections) == 1
