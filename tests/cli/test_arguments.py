"""The command line as people meet it: help with examples, usage errors, exit codes."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from api.settings import SettingError, StoreSettings
from controller.cli import store
from controller.cli.main import main
from controller.local.state import Running, StateFolder

LOCAL = ("up", "down", "status", "psql")
PROCESSES = ("controller", "api", "simulator", "migrate", "version")
COMMANDS = (*LOCAL, *PROCESSES, "apply", "get", "claim", "release")


def run(*words: str) -> int:
    """The exit code, argparse's own included."""
    try:
        return main(words)
    except SystemExit as error:
        return int(error.code or 0)


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store, no .env, no state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "--help") == 0
    assert f"agent-pool {command}" in capsys.readouterr().out.split("examples:")[1]


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert all(f"    {command}" in said for command in COMMANDS)
    assert "2 usage or setting" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "required: COMMAND"),
        (("fly",), "invalid choice"),
        (("claim", "a"), "--instructions"),
        (("get", "pods"), "'pods' is none of pools, claims, instances"),
        (("get", "pools"), "DATABASE_URL: is not set, and nothing runs in .state"),
        (("migrate",), "DATABASE_URL: is not set"),
        (("api",), "POOL_API_KEY: is not set"),
        (("controller",), "DATABASE_URL: is not set"),
        (("apply", "-f", "missing.yaml"), "missing.yaml: No such file"),
        (("apply", "-f", "."), ".: holds no .yaml"),
        (("claim", "a", "--instructions-file", "no"), "no: No such file"),
        (("claim", "a", "--instructions", ""), "instructions: "),
        (("claim", "a", "--instructions", "x", "--wait", "long"), "--wait: must be a duration"),
        (
            ("claim", "a", "--instructions", "x", "--timeout", "9x"),
            'spec.timeout: "9x" must be a d',
        ),
        (("claim", "a", "--instructions", "x", "--pool", "A"), 'spec.poolRef.name: "A" must match'),
        (("claim", "a", "--instructions", "x", "-n", "A"), "POOL_NAMESPACE: must be lower-case"),
        (("claim", "a", "--instructions-file", "binary"), "--instructions-file: is not UTF-8"),
        (("get", "pools", "--database-url", "http://x"), "DATABASE_URL: must be postgresql://"),
    ],
)
def test_usage_and_settings_end_with_2_and_one_line(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("binary").write_bytes(b"\xff\xfe")
    assert run(*words) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err


def test_a_store_that_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("get", "pools", "--database-url", "postgresql://u:canary@127.0.0.1:1/d") == 1
    said = capsys.readouterr().err
    assert said.startswith("agent-pool: ")
    assert "canary" not in said


@pytest.mark.parametrize("process", ["api", "controller"])
def test_a_process_without_its_store_names_the_variable(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@127.0.0.1:1/d")
    for name in (
        "POOL_API_KEY",
        "RAILWAY_API_TOKEN",
        "RAILWAY_PROJECT_ID",
        "RAILWAY_ENVIRONMENT_ID",
    ):
        monkeypatch.setenv(name, "x")
    assert run(process) == 2
    said = capsys.readouterr().err
    assert said == "agent-pool: DATABASE_URL: the database's server cannot be reached\n"


def test_what_a_killed_up_left_behind_is_no_store(capsys: pytest.CaptureFixture[str]) -> None:
    folder = StateFolder(Path(".state"))
    folder.make()
    folder.write_running(Running("http://a", {}, None, "postgresql://u:p@127.0.0.1:1/d", 1, "0"))
    assert run("get", "pools") == 2
    assert "DATABASE_URL: is not set, and nothing runs in .state" in capsys.readouterr().err


def test_where_nothing_runs_status_fails_and_down_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("status") == 1
    assert run("down") == 0
    assert capsys.readouterr().out.count("nothing runs in ") == 2


def test_a_bad_manifest_fails_with_a_line_for_each_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("kind: Pod")
    (tmp_path / "b.yml").write_text("a: [")
    (tmp_path / "c.yaml").write_bytes(b"\xff")
    assert run("apply", "-f", str(tmp_path)) == 1
    said = capsys.readouterr().err
    assert "a.yaml, document 1, line 1: apiVersion" in said
    assert "c.yaml: is not UTF-8" in said
    assert "b.yml, line 1: is not YAML" in said


def test_the_version_is_told_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    assert run("version", "-o", "json") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("agent-pool 0.")
    assert second == f'{{"version": "{first.split()[1]}"}}'


def test_an_unknown_variable_of_ours_ends_every_command_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "migrate"],
        env={"POOL_MIN_IDEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "agent-pool: POOL_MIN_IDEL: is not a setting of ours: did you mean POOL_MIN_IDLE?\n"
    )


def test_a_running_up_is_the_store_that_it_runs_on_and_no_other(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)

    def found(records: str) -> StoreSettings:
        asked = argparse.Namespace(database_url="", records=records, state=str(tmp_path))
        return store.settings(asked)

    on_rows = StoreSettings("postgres", "postgresql://u@h/d")
    on_kubernetes = StoreSettings("kubernetes", kubeconfig="/its/kubeconfig")
    with folder.locked():
        folder.write_running(Running("http://a", {}, None, on_rows.database_url, 1, "0"))
        assert found("") == found("postgres") == on_rows
        assert found("kubernetes") == StoreSettings("kubernetes")
        folder.write_running(Running("http://a", {}, None, "", 1, "0", on_kubernetes.kubeconfig))
        assert found("") == found("kubernetes") == on_kubernetes
        with pytest.raises(SettingError, match="DATABASE_URL: is not set, and no Postgres runs in"):
            found("postgres")
