"""The planted faults: each a patch whose head says which rule it breaks, and which law should notice."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("api", "controller", "tests", "pyproject.toml")


class DoesNotApply(Exception):
    """The code has changed where this patch changes it: write the patch anew."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule`: the rule it breaks. `law`: the law that should notice, or what else does. `first`: the seed
    that its storm begins with, where it takes seeds of another kind than most."""

    name: str
    rule: str
    law: str
    first: int
    patch: Path

    @property
    def laws(self) -> list[str]:
        """The laws named, by the names of their functions."""
        return [word for word in self.law.replace(",", " ").split() if word.startswith("law_")]


def planted() -> list[Mutant]:
    """All of them, by name."""
    return [_read(patch) for patch in sorted(HERE.glob("*.patch"))]


def _read(patch: Path) -> Mutant:
    head = patch.read_text().partition("--- ")[0].splitlines()
    said = dict(line.removeprefix("# ").split(": ", 1) for line in head if ": " in line)
    first = int(said.get("first", "0"))
    return Mutant(patch.stem, said.get("rule", ""), said.get("law", ""), first, patch)


def copy_code(to: Path) -> None:
    """What the storm needs of this checkout, as it stands."""
    for name in COPIED:
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, to / name)


def plant(mutant: Mutant, copy: Path, *, dry: bool = False) -> None:
    """Change the copy. Raises DoesNotApply."""
    command = ["patch", "-p1", "--fuzz", "2", "--silent", "--force", "-i", str(mutant.patch)]
    done = subprocess.run(
        [*command, *(["--dry-run"] if dry else [])], cwd=copy, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise DoesNotApply(f"{mutant.name}.patch does not apply:\n{done.stdout}{done.stderr}")
