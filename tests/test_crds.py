"""The CRDs as they are printed: what is in `crds/`, and what every field of them has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field, StringConstraints

from api.crds import DEFINITIONS, SchemaError, crd, everything, schema
from api.model import Model
from api.parts import Meta
from api.types import AgentClaim, AgentInstance, AgentPool
from controller.cli.main import main
from tests.builders import a_claim, a_pool

CRDS = Path(__file__).parents[1] / "crds"
KINDS = (AgentPool, AgentClaim, AgentInstance)
Json = dict[str, Any]


def fields(part: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every field below, lists' own fields as `env[].name`; metadata is the API server's affair."""
    for name, field in part.get("properties", {}).items():
        if (here := f"{path}.{name}".lstrip(".")) == "metadata":
            continue
        yield here, field
        yield from fields(field, here)
        yield from fields(field.get("items", {}), f"{here}[]")


# ---------------------------------------------------------------- what is printed


def test_the_folder_holds_what_is_printed() -> None:
    there = {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    assert there == everything(), "print them anew: agent-pool crds --output-dir crds"


def test_the_command_prints_them_as_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == [crd(each) for each in DEFINITIONS]


def test_the_command_writes_a_file_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "crds"
    assert main(["crds", "--output-dir", str(folder)]) == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == everything()
    assert capsys.readouterr().out.count(" written\n") == len(DEFINITIONS)


def test_the_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["crds", "--help"])
    assert ended.value.code == 0
    assert "agent-pool crds | kubectl apply" in capsys.readouterr().out


# ---------------------------------------------------------------- what every field has


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_in_a_sentence(kind: type[Model]) -> None:
    said = {path: field["description"] for path, field in fields(schema(kind))}
    assert len(said) > 25
    assert {path: text for path, text in said.items() if not re.fullmatch(r"[A-Z].*\.", text)} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_may_be_long_is_bounded(kind: type[Model]) -> None:
    heads = {"apiVersion", "kind"}
    found = {path: field for path, field in fields(schema(kind)) if path not in heads}
    assert [path for path, field in found.items() if not is_bounded(field)] == []


def is_bounded(field: Json) -> bool:
    match field["type"]:
        case "string":
            return bool(field.keys() & {"maxLength", "enum"})
        case "array":
            return "maxItems" in field and field["x-kubernetes-list-type"] == "map"
        case "object":
            return bool(field["properties"])
        case "integer":
            return bool(field["minimum"] >= 0)
        case other:
            return bool(other == "boolean")


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_says_its_mend(kind: type[Model]) -> None:
    whole = schema(kind)
    parts = [whole, *(field for _, field in fields(whole))]
    parts += [field["items"] for field in parts if "items" in field]
    rules = [rule for part in parts for rule in part.get("x-kubernetes-validations", ())]
    assert len(rules) > 5
    assert all(len(rule["message"]) > 10 for rule in rules)


def test_every_field_of_a_claim_is_immutable() -> None:
    spec = schema(AgentClaim)["properties"]["spec"]
    rules = spec["x-kubernetes-validations"]
    held = {rule["fieldPath"] for rule in rules if "oldSelf" in rule["rule"]}
    assert held == {f".{name}" for name in spec["properties"]}


def test_every_field_of_an_instance_is_immutable_but_for_what_a_rule_lets_change() -> None:
    whole = schema(AgentInstance)
    spec = whole["properties"]["spec"]
    said = str([*spec["x-kubernetes-validations"], *whole["x-kubernetes-validations"]])
    assert [name for name in spec["properties"] if f".{name} == oldSelf." not in said] == []


def test_defaults_are_those_of_our_own_reader() -> None:
    for wire, kind in ((a_pool().wire(), AgentPool), (a_claim().wire(), AgentClaim)):
        for part in ("spec", "status"):
            properties = schema(kind)["properties"][part]["properties"]
            said = {name: p["default"] for name, p in properties.items() if "default" in p}
            given = {"template", "agentId", "instructions"}
            assert said == {n: v for n, v in wire[part].items() if n not in given}


# ---------------------------------------------------------------- what cannot be said


class Kind(Model):
    """A kind with one field in its status."""

    api_version: str
    """Version."""
    kind: str
    """Kind."""
    metadata: Meta


class Nested(Model):
    """Something that holds its like."""

    below: "Nested | None" = None


class OfItself(Kind):
    status: Nested = Nested()


class OfTwoTypes(Kind):
    status: int | str = 0


class OfAnything(Kind):
    status: dict[str, Any] = Field(default={})


class OfAPattern(Kind):
    status: Annotated[str, StringConstraints(pattern="^a$")] = "a"


class OfAMultiple(Kind):
    status: int = Field(default=0, multiple_of=5)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (OfItself, "OfItself.status.below: refers to itself"),
        (OfTwoTypes, "OfTwoTypes.status: a structural schema does not know anyOf"),
        (OfAnything, "OfAnything.status: has no properties"),
        (OfAPattern, "OfAPattern.status: its pattern has no rule that says the mend"),
        (OfAMultiple, "OfAMultiple.status: a structural schema does not know multipleOf"),
    ],
)
def test_what_a_structural_schema_cannot_say_is_an_error(kind: type[Model], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        schema(kind)
