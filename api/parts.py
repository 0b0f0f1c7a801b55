"""Parts that all kinds share: who a record is, whom it names, and its conditions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from api.model import Model, rules
from api.scalars import IS_NAME, Name

API_VERSION: Literal["pool.convos.org/v1alpha1"] = "pool.convos.org/v1alpha1"
DEFAULT_NAMESPACE = "default"
CONDITIONS_MAX = 32  # Of one record, in the CRDs; we write at most five.


class Meta(Model):
    """Who a record is. The store writes uid, generation, version, created and seq."""

    name: Name
    namespace: Name = DEFAULT_NAMESPACE
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default={}, max_length=64)
    annotations: dict[str, str] = Field(default={}, max_length=64)
    seq: int = Field(default=0, exclude=True)  # Order of creation on rows; 0 elsewhere.


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where a record is found: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Condition(Model):
    """As metav1.Condition: its time moves only when `status` flips."""

    type: str = Field(json_schema_extra=rules(max_length=316))
    """What it is about, in CamelCase: `Ready`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so: True, False or Unknown."""
    reason: str = Field(json_schema_extra=rules(max_length=1024))
    """Why, as one CamelCase word for programs."""
    message: str = Field(default="", json_schema_extra=rules(max_length=32768))
    """Why, as a sentence for people."""
    last_transition_time: datetime
    """When `status` flipped last."""
    observed_generation: int = Field(default=0, json_schema_extra={"minimum": 0})
    """The metadata.generation that this was said of."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(json_schema_extra=rules(max_items=CONDITIONS_MAX, keyed_by="type")),
]


class LocalRef(Model):
    """A record of the same namespace, by name."""

    name: Name = Field(json_schema_extra=rules(IS_NAME))
    """Its name."""


class ReclaimPolicy(StrEnum):
    """What may be deleted: nothing, or what nobody needs any more."""

    RETAIN = "Retain"
    DELETE = "Delete"
