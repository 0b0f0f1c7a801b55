"""Manifests: the YAML that kubectl takes, read into pools and claims; and what `get` exports, with instances.

YAML 1.2's few plain types (so `no`, `12:30` and `2026-01-01` stay text), no tags, no key twice, bounded in
size, depth and what aliases expand to. Everything that is wrong is said at once: file, document, line,
field, value (never of a field that may hold a secret), rule.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.records import Installation
from api.records.moving import INSTALLATION
from api.types import (
    API_VERSION,
    DEFAULT_NAMESPACE,
    AgentClaim,
    AgentInstance,
    AgentPool,
    Key,
    key_of,
)

MAX_BYTES = 64 * 1024 * 1024  # 10,000 claims and instances exported are 20 MiB.
MAX_NODES = 50_000  # Scalars, lists and maps of one file, aliases expanded; a large file may have
BYTES_A_NODE = 4  # one for so many of its bytes, which no few aliases can become.
MAX_DEPTH = 40
MAX_PROBLEMS = 20
_SECRET_FIELDS = {"instructions", "value", "joinUrl", "inviteUrl"}
_VALUE_MAX = 60
_PYDANTICS = re.compile(r"^(Input|String|Value|Object) should")

EXPORT = "pool.convos.org/export"  # Annotation of a `List`: what `get` says of the store it read.
Declared = AgentPool | AgentClaim | AgentInstance
Path = tuple[str | int, ...]
_KINDS: dict[str, type[AgentPool] | type[AgentClaim]] = {
    "AgentPool": AgentPool,
    "AgentClaim": AgentClaim,
}


@dataclass(frozen=True, slots=True)
class Manifests:
    """All that was read, in its order. `with_status`: those records that say how far they had come."""

    records: tuple[Declared, ...] = ()
    with_status: frozenset[tuple[str, Key]] = frozenset()
    exports: tuple[str, ...] = ()  # JSON, as `get` wrote it.
    installation: Installation | None = None


class ManifestError(Exception):
    """Each problem is one line for people."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems[:MAX_PROBLEMS]))
        self.problems = tuple(problems)


def parse(text: str, source: str, namespace: str = DEFAULT_NAMESPACE) -> list[Declared]:
    """The records of one file. Raises ManifestError."""
    return list(read(text, source, namespace).records)


def read(text: str, source: str, namespace: str = DEFAULT_NAMESPACE) -> Manifests:
    """All of one file; records that name no namespace go to `namespace`.

    Raises ManifestError with every problem found; `source` is how they call the file.
    """
    size = len(text) if len(text) > MAX_BYTES else len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise ManifestError([f"{source}: is larger than {MAX_BYTES} bytes"])
    found: list[Manifests] = []
    problems: list[str] = []
    for document in _documents(text, source, max(MAX_NODES, size // BYTES_A_NODE)):
        try:
            found.append(_read(document, namespace))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    if not found:
        raise ManifestError([f"{source}: holds no manifest"])
    return together(found)


def together(found: Sequence[Manifests]) -> Manifests:
    """Of several files or documents, in their order."""
    return Manifests(
        tuple(record for each in found for record in each.records),
        frozenset(key for each in found for key in each.with_status),
        tuple(export for each in found for export in each.exports),
        next((each.installation for each in found if each.installation), None),
    )


# ---------------------------------------------------------------- YAML to plain data


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest of a file: what it says, and on which line each field stands."""

    where: str  # "pool.yaml, document 2"
    data: Any = field(repr=False)
    lines: dict[Path, int]
    prefix: Path = ()  # Where it stands in a `List`.
    export: str = ""  # What that list says of itself, at its first item.

    def problem(self, path: Path, text: str) -> ManifestError:
        return ManifestError([self.line_of(path, text)])

    def line_of(self, path: Path, text: str) -> str:
        known = next(p for n in range(len(path) + 1) if (p := self._upper(path, n)) in self.lines)
        name = dotted(path)
        return f"{self.where}, line {self.lines[known]}: {f'{name}: ' if name else ''}{text}"

    def _upper(self, path: Path, levels: int) -> Path:
        return (*self.prefix, *path[: len(path) - levels])


class _Plain:
    """Turns one document's nodes into plain data, within the bounds of its file."""

    def __init__(self, where: str, budget: Iterator[int], most: int) -> None:
        self._where = where
        self._budget = budget
        self._most = most
        self.lines: dict[Path, int] = {}

    def of(self, node: yaml.Node, path: Path = ()) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if next(self._budget, None) is None:
            raise self._refuse(node, f"more than {self._most} values, aliases expanded")
        if len(path) > MAX_DEPTH:
            raise self._refuse(node, f"nested deeper than {MAX_DEPTH}")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._map(node, path)

    def _map(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refuse(key_node, "a key must be text")
            key = str(key_node.value)
            if key == "<<" and key_node.style is None:
                merged = self._merge(value_node, path) | merged
            elif key in own:
                raise self._refuse(key_node, f"{dotted((*path, key))}: stands there twice")
            else:
                self.lines[(*path, key)] = key_node.start_mark.line + 1
                own[key] = self.of(value_node, (*path, key))
        return merged | own

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """What `<<:` brings in: a map, or a list of maps of which the first to name a key wins."""
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for one in several:
            value = self.of(one, (*path, "<<"))
            if not isinstance(value, dict):
                raise self._refuse(one, "<< takes a map")
            merged = value | merged
        return merged

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag not in ("tag:yaml.org,2002:str", _PLAIN):
            raise self._refuse(node, "tags are not allowed")
        text = str(node.value)
        if node.style is not None or node.tag != _PLAIN:
            return text
        return _resolve(text)

    def _refuse(self, node: yaml.Node, text: str) -> ManifestError:
        return ManifestError([f"{self._where}, line {node.start_mark.line + 1}: {text}"])


_PLAIN = "plain"  # The tag our loader gives to whatever has none of its own.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")


def _resolve(text: str) -> Any:
    """YAML 1.2's core schema, without hexadecimal, octal, infinity and NaN: those stay text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Loader(yaml.SafeLoader):
    """Only scans and composes; what a plain scalar means is for `_resolve`, and nothing is constructed."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else "tag:yaml.org,2002:str"


def _documents(text: str, source: str, most: int) -> Iterator[Document]:
    """Each manifest of the file; the items of a `List` one by one. Raises ManifestError."""
    budget = iter(range(most))
    number = 0
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            number += 1
            plain = _Plain(f"{source}, document {number}", budget, most)
            if (data := plain.of(node)) is not None:
                yield from _items(Document(f"{source}, document {number}", data, plain.lines))
    except yaml.MarkedYAMLError as error:  # Its own text quotes the file; this does not.
        at = error.problem_mark or error.context_mark
        line = f", line {at.line + 1}" if at else ""
        raise ManifestError([f"{source}{line}: is not YAML: {error.problem}"]) from None
    except (yaml.YAMLError, RecursionError):
        rule = "is not YAML, has control characters, or is nested too deeply"
        raise ManifestError([f"{source}, after document {number}: {rule}"]) from None


def _items(document: Document) -> Iterator[Document]:
    data = document.data
    if not (
        isinstance(data, dict) and data.get("kind") == "List" and data.get("apiVersion") == "v1"
    ):
        yield document
        return
    export = _annotation(data, EXPORT)
    for i, item in enumerate(data.get("items") or []):
        where = f"{document.where}, item {i + 1}"
        yield Document(where, item, document.lines, ("items", i), "" if i else export)


def _annotation(data: dict[str, Any], name: str) -> str:
    """`metadata.annotations[name]`, if it is text there."""
    found: Any = data
    for step in ("metadata", "annotations", name):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


# ---------------------------------------------------------------- plain data to the kinds


def _read(document: Document, namespace: str) -> Manifests:
    data = document.data
    exports = (document.export,) if document.export else ()
    if not isinstance(data, dict):
        raise document.problem((), "must be a map with apiVersion, kind, metadata and spec")
    if data.get("kind") == "Secret" and data.get("apiVersion") == "v1":
        return Manifests(exports=exports, installation=_installation(document, data))
    record = _declared(document, data, namespace)
    told = {(record.kind, key_of(record))} if data.get("status") else set()
    return Manifests((record,), frozenset(told), exports)


def _installation(document: Document, data: dict[str, Any]) -> Installation:
    """The Secret that says which installation records belong to; of no other is anything read."""
    meta, values = data.get("metadata"), data.get("data")
    if not isinstance(meta, dict) or meta.get("name") != INSTALLATION:
        raise document.problem(("kind",), f"the one Secret that is applied here is {INSTALLATION}")
    try:
        owner, secret = (
            base64.b64decode(values[name], validate=True)  # type: ignore[index]
            for name in ("ownerId", "instanceSecret")
        )
        return Installation(owner.decode(), secret)
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise document.problem(("data",), "needs ownerId and instanceSecret in base64") from None


def _declared(document: Document, data: dict[str, Any], namespace: str) -> Declared:
    kind = _kind(document, data)
    if isinstance(meta := data.get("metadata"), dict):
        data = {**data, "metadata": {"namespace": namespace, **meta}}
    try:
        return kind.model_validate_json(json.dumps(data), by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    except UnicodeEncodeError:
        raise document.problem((), "contains half of a surrogate pair") from None
    raise ManifestError([document.line_of(_path(e), rule(e, kind)) for e in found])


def _kind(document: Document, data: dict[str, Any]) -> type[Declared]:
    if data.get("apiVersion") != API_VERSION:
        shown = _shown((), data.get("apiVersion"))
        raise document.problem(("apiVersion",), f"{shown}must be {API_VERSION}")
    if data.get("kind") == "AgentInstance":
        if data.get("status"):  # As it was exported.
            return AgentInstance
        raise document.problem(("kind",), "instances are written by the controller only")
    kind = _KINDS.get(str(data.get("kind")))
    if kind is None:
        shown = _shown((), data.get("kind"))
        raise document.problem(("kind",), f"{shown}must be one of {', '.join(_KINDS)}")
    return kind


def _path(error: ErrorDetails) -> Path:
    return tuple(error["loc"])


def rule(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """One line: the value where it may be shown, and the rule in our own words where they are better."""
    path, said = _path(error), error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            near = get_close_matches(str(path[-1]), _fields(kind), n=1)
            return "is not a field" + (f"; did you mean {near[0]}?" if near else "")
        case "string_type" if isinstance(error["input"], int | float):
            said = "must be text: put it in quotes"
    return _shown(path, error["input"]) + _PYDANTICS.sub("must", said)


def _shown(path: Path, value: Any) -> str:
    names = {part for part in path if isinstance(part, str)}
    if names & _SECRET_FIELDS or not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"{text if len(text) <= _VALUE_MAX else text[:_VALUE_MAX] + '…'} "


def _fields(model: type[BaseModel]) -> set[str]:
    """Every field name that occurs in that kind, as written in YAML."""
    schema = json.dumps(model.model_json_schema(by_alias=True))
    return set(re.findall(r'"([A-Za-z]+)": \{', schema))


def dotted(path: Path) -> str:
    """`spec.template.env[0].value`"""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
