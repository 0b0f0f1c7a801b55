"""scripts/bootstrap: finds a Python that runs, and says in one line what is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "bootstrap"
TOOLS = ("sh", "cat", "cksum", "dirname", "env", "rm", "mkdir", "chmod")
GOOD = 'case "$*" in "-m venv"*) exit 3;; -V) echo "Python 3.12.1";; esac'
WITHOUT_VENV = 'case "$*" in *ensurepip*) exit 1;; esac'
OLD = 'case "$*" in *version_info*) exit 1;; esac'
SHIM = "echo 'pyenv: command not found' >&2; exit 127"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script, empty locks and a PATH that holds the barest tools."""
    for folder in ("scripts", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts" / "bootstrap")
    for name in ("requirements.lock", "requirements-test.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def bootstrap(checkout: Path, pythons: dict[str, str], **env: str) -> tuple[int, str, str]:
    """Exit code, output and errors, with these Pythons on PATH (name -> what it does)."""
    for name, does in pythons.items():
        fake = checkout / "bin" / name
        fake.write_text(f"#!/bin/sh\n{does}\n")
        fake.chmod(0o755)
    done = subprocess.run(
        [checkout / "scripts" / "bootstrap", "runtime"],
        env={"PATH": str(checkout / "bin"), **env},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("pythons", [{}, {"python3": OLD}, {"python3.13": SHIM, "python3": OLD}])
def test_without_a_new_enough_python_it_says_so(checkout: Path, pythons: dict[str, str]) -> None:
    code, _, said = bootstrap(checkout, pythons)
    assert code == 2
    assert said == (
        "agent-pool: needs Python 3.11 or newer and found none: install one, or set PYTHON to it\n"
    )


def test_a_python_that_cannot_make_a_venv_is_named_with_the_package(checkout: Path) -> None:
    code, _, said = bootstrap(checkout, {"python3": WITHOUT_VENV})
    assert code == 2
    assert said.startswith("agent-pool: python3 has no venv with pip: install its venv package")
    assert said.count("\n") == 1


def test_a_name_on_path_that_does_not_run_is_passed_over(checkout: Path) -> None:
    pythons = {
        "python3.14": SHIM,
        "python3.13": WITHOUT_VENV,
        "python3.12": GOOD,
        "python3.11": GOOD,
    }
    _, out, _ = bootstrap(checkout, pythons)
    assert out == "==> making .venv with Python 3.12.1 (python3.12)\n"


def test_the_one_that_is_asked_for_comes_first(checkout: Path) -> None:
    pythons = {"python3.12": GOOD, "mine": GOOD}
    _, out, _ = bootstrap(checkout, pythons, PYTHON=str(checkout / "bin" / "mine"))
    assert out.endswith(f"({checkout / 'bin' / 'mine'})\n")


def test_once_installed_it_does_nothing_until_the_lock_changes(checkout: Path) -> None:
    venv = 'mkdir -p .venv/bin; printf "#!/bin/sh\\n" >.venv/bin/python; chmod +x .venv/bin/python'
    python = f'case "$*" in "-m venv"*) {venv};; -V) echo "Python 3.12.1";; esac'
    code, out, _ = bootstrap(checkout, {"python3.12": python})
    assert (code, out.splitlines()[-1]) == (0, "==> installing requirements.lock")
    assert bootstrap(checkout, {}) == (0, "", "")
    (checkout / "requirements.lock").write_text("changed")
    assert bootstrap(checkout, {})[1] == "==> installing requirements.lock\n"
