"""What every kind and every part of one is: a strict, frozen pydantic model, camelCase outside.

A rule that a validator holds on this side is said once more beside it in CEL, for the CRDs (`rules`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

RULES = "x-kubernetes-validations"


class Model(BaseModel):
    """Strict, frozen, camelCase outside; an unknown field is an error.

    The text below a field is its description, in the CRDs (`kubectl explain`) as in OpenAPI.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    def wire(self) -> dict[str, Any]:
        """As JSON-able camelCase, without what is unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Extra = Callable[[dict[str, Any]], None]  # What pydantic takes as `json_schema_extra`.
Reason = Literal["FieldValueRequired", "FieldValueForbidden"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, in CEL over the wire's names, and what is said to whom breaks it: the mend."""

    holds: str
    says: str
    at: str = ""  # The field that is named, from where the rule stands: `.minIdle`.
    reason: Reason | None = None

    def wire(self) -> dict[str, str]:
        optional = {"fieldPath": self.at, "reason": self.reason or ""}
        return {"rule": self.holds, "message": self.says} | {k: v for k, v in optional.items() if v}


def rules(
    *these: Rule,
    max_length: int | None = None,
    max_items: int | None = None,
    keyed_by: str | None = None,
) -> Extra:
    """For `json_schema_extra`: rules of the CRD, and bounds that only the CRD has.

    Such a bound stands on what the controller alone writes: rows take it as it is. `keyed_by`: the
    field by which a list is a map, as server-side apply merges it.
    """
    said: dict[str, Any] = {"maxLength": max_length, "maxItems": max_items}
    if keyed_by is not None:
        said |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [keyed_by]}

    def extra(schema: dict[str, Any]) -> None:
        schema.update({name: value for name, value in said.items() if value is not None})
        if these:
            schema[RULES] = [*schema.get(RULES, ()), *(rule.wire() for rule in these)]

    return extra


def matches(pattern: str, says: str, *, secret: bool = False) -> Rule:
    """A pattern that says its mend; where the value may be `secret`, the refusal does not repeat it."""
    reason: Reason | None = "FieldValueForbidden" if secret else None
    return Rule(f"self.matches(r'{pattern}')", says, reason=reason)


def unchanged(*path: str) -> str:
    """In CEL: an optional field was not set, changed or cleared; so is one below what is not there.

    Spelt out, since the API server takes what `.?` and `orValue` give for boundlessly long.
    """
    steps = [".".join(path[: n + 1]) for n in range(len(path))]
    now, before = (
        "(" + " && ".join(f"has({it}.{step})" for step in steps) + ")" for it in ("self", "oldSelf")
    )
    return f"{now} == {before} && (!{now} || self.{steps[-1]} == oldSelf.{steps[-1]})"
