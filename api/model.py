"""What every kind and every part of one is: a strict, frozen pydantic model, camelCase outside."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Strict, frozen, camelCase outside; an unknown field is an error."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    def wire(self) -> dict[str, Any]:
        """As JSON-able camelCase, without what is unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
