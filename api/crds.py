"""The CustomResourceDefinitions, printed from the kinds: `crds/` holds what this prints.

pydantic's JSON schema is refused by the API server as it is: what a structural schema may not say is
either said in its words (references inlined, null dropped) or an error here, never left out silently.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from api.model import RULES, Model
from api.scalars import format_duration
from api.types import API_VERSION, AgentClaim, AgentInstance, AgentPool

Json = dict[str, Any]

GROUP, VERSION = API_VERSION.split("/")
CATEGORY = "convos"
HEADER = "# Printed from api/types.py by `agent-pool crds`: change it there.\n"
_READY = '.status.conditions[?(@.type=="Ready")].status'
_DATE_MAX = 64  # A date-time is 35 characters at most; a bound lets the API server cost its rules.
# What may stand beside `type` in a structural schema, in the order of our files.
_WORDS = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "maxItems",
    "required",
    "properties",
    "items",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    RULES,
)
_UNSAID = {"title", "additionalProperties", "const"}  # Pruning and `fieldValidation` do the second.


@dataclass(frozen=True, slots=True)
class Column:
    """What `kubectl get` shows; with priority 1 only under `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    def wire(self) -> Json:
        wide = {"priority": self.priority} if self.priority else {}
        return {"name": self.name, "type": self.type, "jsonPath": self.path} | wide


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CRD says besides its schema."""

    kind: type[Model]
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    scale: Mapping[str, str] | None = None

    @property
    def singular(self) -> str:
        return self.kind.__name__.lower()

    @property
    def plural(self) -> str:
        return f"{self.singular}s"

    @property
    def file(self) -> str:
        return f"{self.plural}.yaml"


DEFINITIONS = (
    Definition(
        AgentPool,
        "apool",
        (
            Column("Desired", ".spec.minIdle", "integer"),
            Column("Idle", ".status.idle", "integer"),
            Column("Claimed", ".status.claimed", "integer"),
            Column("Total", ".status.total", "integer"),
            Column("Max", ".spec.maxTotal", "integer"),
            Column("Ready", _READY),
            Column("Starting", ".status.provisioning", "integer", 1),
            Column("Failed", ".status.failed", "integer", 1),
            Column("Waiting", ".status.waiting", "integer", 1),
            Column("Outdated", ".status.outdated", "integer", 1),
            _AGE,
        ),
        scale={
            "specReplicasPath": ".spec.minIdle",
            "statusReplicasPath": ".status.idle",
            "labelSelectorPath": ".status.selector",
        },
    ),
    Definition(
        AgentClaim,
        "aclaim",
        (
            Column("Pool", ".spec.poolRef.name"),
            Column("Phase", ".status.phase"),
            Column("Ready", _READY),
            Column("Agent", ".status.instance.name"),
            Column("Agent ID", ".spec.agentId", priority=1),
            Column("Conversation", ".status.conversationId", priority=1),
            _AGE,
        ),
        (".spec.poolRef.name", ".status.phase"),
    ),
    Definition(
        AgentInstance,
        "ainst",
        (
            Column("Pool", ".spec.poolRef.name"),
            Column("Phase", ".status.phase"),
            Column("Claim", ".spec.claimRef.name"),
            Column("Service", ".spec.serviceName"),
            Column("Barred", ".status.barred", priority=1),
            Column("URL", ".status.url", priority=1),
            _AGE,
        ),
        (".spec.poolRef.name", ".status.phase"),
    ),
)


# ---------------------------------------------------------------- what is printed


def everything() -> dict[str, str]:
    """The YAML of every kind by the name of its file."""
    return {each.file: HEADER + to_yaml(crd(each)) for each in DEFINITIONS}


def crd(of: Definition) -> Json:
    """One CustomResourceDefinition, JSON-able."""
    scale = {"scale": dict(of.scale)} if of.scale else {}
    paths = {"selectableFields": [{"jsonPath": path} for path in of.selectable]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{of.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": of.kind.__name__,
                "listKind": f"{of.kind.__name__}List",
                "plural": of.plural,
                "singular": of.singular,
                "shortNames": [of.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}} | scale,
                    **(paths if of.selectable else {}),
                    "additionalPrinterColumns": [column.wire() for column in of.columns],
                    "schema": {"openAPIV3Schema": schema(of.kind)},
                }
            ],
        },
    }


def to_yaml(data: Json) -> str:
    text: str = yaml.dump(
        data, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    return text


class _Plain(yaml.SafeDumper):
    """Without anchors, and with lists indented as people write them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


# ---------------------------------------------------------------- from pydantic's schema to a structural one


class SchemaError(Exception):
    """A kind says something that a structural schema cannot; names the field."""


class _Wire(GenerateJsonSchema):
    """Defaults as they stand on the wire: `15m`, and not `PT15M`."""

    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return format_duration(dft)
            case BaseModel():
                return dft.model_dump(mode="json", by_alias=True, exclude_none=True)
            case _:
                return super().encode_default(dft)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Json:
        """Left out, and not null."""
        return self.generate_inner(schema["schema"])


def schema(kind: type[Model]) -> Json:
    """The structural schema of a kind. Raises SchemaError."""
    whole = kind.model_json_schema(by_alias=True, mode="validation", schema_generator=_Wire)
    known, properties = whole.pop("$defs", {}), whole["properties"]
    for name in ("apiVersion", "kind"):  # Checked by the API server, as metadata is.
        properties[name] = {"description": properties[name]["description"], "type": "string"}
    order = list(properties)
    del properties["metadata"]
    whole["required"] = ["spec"]
    said = _structural(whole, known, kind.__name__)
    parts = said["properties"] | {"metadata": {"type": "object"}}
    return said | {"properties": {name: parts[name] for name in order}}


def _structural(given: Json, known: Json, where: str, inside: tuple[str, ...] = ()) -> Json:
    """This part of a schema in the words of a structural one. Raises SchemaError."""
    said, inside = _resolved(given, known, where, inside)
    if "properties" in said:
        said["properties"] = {
            name: _structural(part, known, f"{where}.{name}", inside)
            for name, part in said["properties"].items()
        }
    if "items" in said:
        said["items"] = _structural(said["items"], known, f"{where}[]", inside)
    if said.get("format") == "date-time":
        said["maxLength"] = _DATE_MAX
    if said.get("type") == "integer":
        said["format"] = "int32" if "maximum" in said else "int64"
    if (pattern := said.pop("pattern", None)) is not None:
        _need_mend(pattern, said, where)
    if "default" in said and said["default"] is None:
        del said["default"]
    if said.get("type") == "object" and "properties" not in said:
        raise SchemaError(f"{where}: has no properties")
    if unknown := said.keys() - set(_WORDS) - _UNSAID:
        raise SchemaError(
            f"{where}: a structural schema does not know {', '.join(sorted(unknown))}"
        )
    return {word: said[word] for word in _WORDS if word in said}


def _resolved(
    given: Json, known: Json, where: str, inside: tuple[str, ...]
) -> tuple[Json, tuple[str, ...]]:
    """A copy with its reference inlined, and what it is now inside of.

    What stands beside a reference wins; the rules of both hold.
    """
    said = deepcopy(given)
    while (ref := said.pop("$ref", None)) is not None:
        if ref in inside:
            raise SchemaError(f"{where}: refers to itself")
        inside = (*inside, ref)
        target = deepcopy(known[ref.removeprefix("#/$defs/")])
        joined = [*target.pop(RULES, ()), *said.pop(RULES, ())]
        said = target | said | ({RULES: joined} if joined else {})
    return said, inside


def _need_mend(pattern: str, said: Json, where: str) -> None:
    """A pattern is left to a rule, which says the mend and keeps a secret value out of the refusal."""
    if not any(pattern in rule["rule"] for rule in said.get(RULES, ())):
        raise SchemaError(f"{where}: its pattern has no rule that says the mend")
