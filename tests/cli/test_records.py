"""apply, get, claim, release and status on a real Postgres, as people and programs use them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import yaml
import zxingcpp
from PIL import Image

from api.records import Outcome
from api.records.migrate import migrate
from api.records.postgres import PostgresRecords
from api.types import AgentClaim, ClaimPhase
from controller.cli.applying import apply_pool
from controller.cli.claiming import ended, qr
from controller.cli.exits import Exit
from controller.cli.main import main
from tests.builders import a_claim, a_pool

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
CANARY = "canary-in-the-instructions"


@dataclass
class Shell:
    """Runs commands; what they printed is read once."""

    capsys: pytest.CaptureFixture[str]
    code: int = 0
    err: str = ""

    def __call__(self, *words: str) -> str:
        self.code = main(words)
        said = self.capsys.readouterr()
        self.err = said.err
        return said.out


@pytest.fixture
def shell(
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """A command line whose DATABASE_URL names an empty, migrated store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    run = Shell(capsys)
    assert run("migrate").endswith("applied\n")
    assert run("migrate") == "up to date\n"
    return run


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., str]:
    """Writes a pool's manifest with these fields of the spec; the file's name."""

    def write(labels: dict[str, str] | None = None, **spec: object) -> str:
        whole = {
            "apiVersion": "pool.convos.org/v1alpha1",
            "kind": "AgentPool",
            "metadata": {"name": "default", "labels": labels or {}},
            "spec": {"template": {"source": {"image": "x"}}, **spec},
        }
        file = tmp_path / "pool.yaml"
        file.write_text(yaml.safe_dump(whole))
        return str(file)

    return write


def test_apply_is_idempotent_and_says_what_it_did(shell: Shell) -> None:
    folder = str(EXAMPLES)
    assert shell("apply", "-f", folder) == (
        "agentclaim/tokyo-trip-planner created\nagentpool/default created\n"
    )
    assert shell("apply", "-f", folder).count(" unchanged\n") == 2
    assert shell.code == 0


def test_apply_changes_what_is_declared_and_nothing_else(
    shell: Shell, manifest: Callable[..., str]
) -> None:
    shell("apply", "-f", manifest(minIdle=2, maxTotal=9))
    assert shell("apply", "-f", manifest(minIdle=4)) == "agentpool/default configured\n"
    assert shell("apply", "-f", manifest(labels={"a": "b"})) == "agentpool/default configured\n"
    pool = json.loads(shell("get", "pools", "default", "-o", "json"))
    assert (pool["spec"]["minIdle"], pool["spec"]["maxTotal"]) == (4, 9)
    assert pool["metadata"]["labels"]["a"] == "b"


def test_what_does_not_fit_what_is_there_is_refused(
    shell: Shell, manifest: Callable[..., str]
) -> None:
    shell("apply", "-f", manifest(minIdle=4))
    assert shell("apply", "-f", manifest(maxTotal=3)) == ""
    assert shell.code == 1
    assert "together with what is there, minIdle (4) must not exceed maxTotal (3)" in shell.err


def test_a_claim_is_never_changed_by_apply(shell: Shell, tmp_path: Path) -> None:
    text = (EXAMPLES / "claim.yaml").read_text()
    shell("apply", "-f", str(EXAMPLES / "claim.yaml"))
    (tmp_path / "other.yaml").write_text(text.replace("Tokyo.", CANARY))
    assert shell("apply", "-f", "other.yaml") == ""
    assert shell.code == 1
    assert "a claim cannot be changed: release it, or choose another name" in shell.err
    assert CANARY not in shell.err


def test_what_get_prints_is_applied_from_standard_input(shell: Shell) -> None:
    shell("apply", "-f", str(EXAMPLES / "pool.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "apply", "-f", "-"],
        input=shell("get", "pools", "-o", "yaml"),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("agentpool/default unchanged\n", 0)


def test_get_shows_tables_without_instructions_and_records_for_programs(shell: Shell) -> None:
    shell("apply", "-f", str(EXAMPLES / "pool.yaml"))
    name = shell("claim", "a", "--instructions", CANARY, "--wait", "0", "-o", "name").strip()
    assert shell.code == 0
    table = shell("get", "pools,claims,instances")
    assert "default   0/3" in table
    assert "Pending" in table
    assert CANARY not in table
    assert shell("get", "claims", "-o", "name").strip() == name
    claim = json.loads(shell("get", "claims", name.split("/")[1], "-o", "json"))
    assert claim["spec"]["instructions"] == CANARY
    listed = yaml.safe_load(shell("get", "pool,aclaim", "-o", "yaml"))
    assert [item["kind"] for item in listed["items"]] == ["AgentPool", "AgentClaim"]
    assert shell("get", "instances") == "none in namespace default\n"


def test_that_not_all_claims_are_shown_is_said(shell: Shell, postgres_url: str) -> None:
    async def many() -> None:
        db = await asyncpg.connect(postgres_url)
        await db.execute(
            "INSERT INTO agent_claims (name, pool, agent_id, instructions)"
            " SELECT 'c' || n, 'default', 'a', 'x' FROM generate_series(1, 501) n"
        )
        await db.close()

    asyncio.run(many())
    shown = shell("get", "claims", "-o", "name").splitlines()
    assert (shown[0], shown[-1], len(shown)) == ("agentclaim/c501", "agentclaim/c2", 500)
    assert shell.err == "agent-pool: only the newest 500 claims are shown\n"


def test_what_is_not_there_ends_with_4(shell: Shell) -> None:
    assert shell("get", "claims", "nobody") == ""
    assert shell.code == 4
    shell("release", "nobody")
    assert shell.code == 4


def test_a_released_claim_is_gone(shell: Shell) -> None:
    shell("claim", "a", "--instructions", "x", "--name", "c", "--wait", "0")
    assert shell("release", "c") == "agentclaim/c released\n"
    assert shell("get", "claims", "-o", "name") == ""


def test_a_claim_that_nobody_serves_in_time_ends_with_5_and_goes_on(shell: Shell) -> None:
    out = shell("claim", "a", "--instructions", CANARY, "--name", "c", "--wait", "1s")
    assert shell.code == 5
    assert "agentclaim/c is Pending after 1 s; it goes on" in shell.err
    assert CANARY not in out + shell.err


def test_a_second_claim_of_the_same_name_fails(shell: Shell) -> None:
    shell("claim", "a", "--instructions", "x", "--name", "c", "--wait", "0")
    shell("claim", "a", "--instructions", "x", "--name", "c", "--wait", "0")
    assert shell.code == 1
    assert shell.err.startswith("agent-pool: ")


def test_status_shows_the_pools(shell: Shell) -> None:
    shell("apply", "-f", str(EXAMPLES / "pool.yaml"))
    assert "pool default: ···················· 0 of 3 idle" in shell("status")
    assert json.loads(shell("status", "-o", "json"))["running"] is None


# ---------------------------------------------------------------- waiting, on the store itself


@pytest.fixture
async def records(postgres_url: str) -> AsyncIterator[PostgresRecords]:
    await migrate(postgres_url)
    opened = await PostgresRecords.connect(postgres_url)
    yield opened
    await opened.close()


async def a_waiting_claim(records: PostgresRecords) -> AgentClaim:
    (created,) = await records.create_claims([a_claim()])
    assert isinstance(created, AgentClaim)
    return created


async def test_whoever_waits_sees_the_end(records: PostgresRecords) -> None:
    claim = await a_waiting_claim(records)
    waiting = asyncio.create_task(ended(records, claim, 30))
    await asyncio.sleep(0)
    status = claim.status.model_copy(update={"phase": ClaimPhase.FAILED})
    assert await records.settle([Outcome(claim, status)]) != [None]
    assert (await waiting).status.phase is ClaimPhase.FAILED


async def test_whoever_waits_for_a_claim_that_is_released_learns_that(
    records: PostgresRecords,
) -> None:
    claim = await a_waiting_claim(records)
    waiting = asyncio.create_task(ended(records, claim, 30))
    await asyncio.sleep(0)
    await records.delete_claim(claim)
    with pytest.raises(Exit, match="was released meanwhile") as caught:
        await waiting
    assert caught.value.code == 4


async def test_two_who_apply_at_once_both_succeed(records: PostgresRecords) -> None:
    wanted = [a_pool(min_idle=n) for n in (1, 2, 3)]
    said = await asyncio.gather(*(apply_pool(records, pool) for pool in wanted))
    assert sorted(said) == ["configured", "configured", "created"]


def test_the_qr_code_of_a_terminal_can_be_read() -> None:
    invite = "https://dev.convos.org/v2?i=" + "x" * 170
    rows = [line.ljust(80) for line in qr(invite).splitlines()]
    width = max(len(line.rstrip()) for line in rows)
    picture = Image.new("L", (width, 2 * len(rows)), 0)
    for y, line in enumerate(rows):
        for x, char in enumerate(line[:width]):
            picture.putpixel((x, 2 * y), 255 * (char in "█▀"))
            picture.putpixel((x, 2 * y + 1), 255 * (char in "█▄"))
    (code,) = zxingcpp.read_barcodes(
        picture.resize((width * 4, 8 * len(rows)), Image.Resampling.NEAREST)
    )
    assert code.text == invite
