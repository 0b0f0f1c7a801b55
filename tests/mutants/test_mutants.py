"""The planted faults are fit to be planted: they apply, say what they break, and name who should notice."""

import ast
import re
from pathlib import Path

import pytest

from tests.history.checker import LAWS
from tests.mutants.planted import DoesNotApply, Mutant, copy_code, plant, planted
from tests.mutants.trial import noticed

ALL = planted()
AT_LEAST = 34
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TOUCHED = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    copy_code(folder)
    return folder


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in ALL]
    assert len(names) >= AT_LEAST
    assert len({name.casefold() for name in names}) == len(names)
    assert [name for name in names if not NAME.fullmatch(name)] == []


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_fault_applies_and_still_compiles(mutant: Mutant, copy: Path, tmp_path: Path) -> None:
    plant(mutant, copy, dry=True)
    for name in TOUCHED.findall(mutant.patch.read_text()):
        there = tmp_path / name
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text((copy / name).read_text())
    plant(mutant, tmp_path)
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text())


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_fault_says_its_rule_and_a_law_that_exists(mutant: Mutant) -> None:
    assert mutant.rule.endswith(".")
    assert mutant.law != ""
    assert set(mutant.laws) <= {law.__name__ for law in LAWS}


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_fault_is_in_the_product_and_not_in_its_stand_ins(mutant: Mutant) -> None:
    touched = TOUCHED.findall(mutant.patch.read_text())
    assert touched != []
    for path in touched:
        assert path.startswith(("api/", "controller/"))
        assert not path.startswith("controller/railway/simulator/")


def test_a_patch_that_no_longer_applies_is_named(tmp_path: Path) -> None:
    with pytest.raises(DoesNotApply, match=ALL[0].name):
        plant(ALL[0], tmp_path)


def test_a_storms_first_words_tell_seed_and_law() -> None:
    law = "seed 12, shape ONE: Broken law_1_one_claim_for_life: x heard 2 wishes"
    assert noticed(f"noise\n{law}\n  more\n") == (12, "law_1_one_claim_for_life")
    assert noticed("seed 3, shape TWO: AssertionError ['a bug']") == (3, "AssertionError")
    assert noticed("seed 3, shape TWO: KeyError 'x'") == (3, "KeyError")
    assert noticed("5000 seeds in 900 s") is None
