"""The rules of the house that a machine can check: short files and functions, no mocks, no paths."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import api
import controller

ROOT = Path(__file__).parents[1]
OURS = ("api", "controller", "tests")
FILE_MAX = 400
FUNCTION_MAX = 60
MEDIAN_MAX = 10
LOCKS = {"requirements.lock", "requirements-test.lock"}
# Put together here, so that this file does not name them either.
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "proxy.golang" + ".org", "npmjs" + ".org")
MOCKS = ("unittest." + "mock", "Magic" + "Mock", "monkeypatch." + "setattr", "mocker" + ".")


def sources(*folders: str, kinds: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in kinds)


def functions(*folders: str) -> Iterator[tuple[str, int]]:
    """Name and lines of every function, docstring included."""
    for path in sources(*folders):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_file_is_long() -> None:
    kinds = (".py", ".sql", ".graphql")
    lengths = {p: len(p.read_text().splitlines()) for p in sources(*OURS, kinds=kinds)}
    assert len(lengths) > 50
    assert [f"{p}: {n}" for p, n in lengths.items() if n > FILE_MAX] == []


def test_no_function_is_long() -> None:
    assert [f"{name}: {n}" for name, n in functions(*OURS) if n > FUNCTION_MAX] == []


def test_the_median_function_is_short() -> None:
    assert statistics.median(n for _, n in functions("api", "controller")) <= MEDIAN_MAX


def test_every_file_opens_with_what_it_is_for() -> None:
    written = {p: p.read_text() for p in sources(*OURS)}
    said = {p: ast.get_docstring(ast.parse(text)) for p, text in written.items() if text.strip()}
    assert [str(p) for p, docstring in said.items() if not docstring] == []


def test_nothing_is_mocked() -> None:
    found = [f"{p}: {m}" for p in sources("tests") for m in MOCKS if m in p.read_text()]
    assert found == []


def test_no_tracked_file_names_a_registry_or_a_place_of_this_machine() -> None:
    places = [f"{place}/" for place in (ROOT, Path.home()) if len(place.parts) > 2]
    forbidden = re.compile("|".join(map(re.escape, (*REGISTRIES, *places))))
    found = []
    for path in tracked():
        if path.is_file() and (hit := forbidden.search(path.read_text(errors="replace"))):
            found.append(f"{path.relative_to(ROOT)}: {hit.group()}")
    assert found == []


def test_the_locks_hold_nothing_without_a_hash_and_name_no_index() -> None:
    for lock in LOCKS:
        text = (ROOT / lock).read_text()
        pins = re.findall(r"^[a-z0-9][^\s=]*==", text, flags=re.MULTILINE)
        assert len(pins) > 20
        assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(
            pins
        )
        assert "://" not in text
        assert "--index" not in text


def test_the_packages_that_are_tested_are_these() -> None:
    assert [Path(p.__file__ or "").parents[1] for p in (api, controller)] == [ROOT, ROOT]
