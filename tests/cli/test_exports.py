"""An export and who may apply it: on real stores, by the commands that people pipe into each other."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from api.manifests import EXPORT, ManifestError, read
from api.records import Installation
from api.records.migrate import migrate
from api.records.moving import Lead
from api.records.postgres import PostgresRecords
from controller.cli.exits import Exit
from controller.cli.exports import HELD, export_in, in_charge
from controller.cli.main import main
from controller.local.apiserver import LocalApiServer
from tests.builders import NOW
from tests.cluster import make_namespace
from tests.conftest import database
from tests.moves import exported, furnish, told

ROOT = Path(__file__).parents[2]
SOON = "now() + interval '1 hour'"  # However slow the machine is: held.
ALL = ("get", "pools,claims,instances", "-o", "yaml")


# ---------------------------------------------------------------- who leads


def lead(age: timedelta, holder: str = "controller-1") -> Lead:
    return Lead("railway-1", holder, NOW - age)


def test_a_lease_is_held_for_a_while_after_its_holders_last_word() -> None:
    assert in_charge([], NOW) is None
    assert in_charge([lead(timedelta(days=1)), lead(timedelta())], NOW) is not None
    said = in_charge([lead(timedelta(seconds=2))], NOW)
    assert said == "controller-1 renewed the lease railway-1 2 s before"
    assert in_charge([lead(HELD)], NOW) is None
    assert in_charge([lead(timedelta(seconds=2), holder="")], NOW) is None


def test_who_gave_up_while_records_were_read_led_while_they_were_read() -> None:
    given_up = [lead(timedelta(seconds=2), holder="")]
    assert in_charge(given_up, NOW, NOW - timedelta(seconds=1)) is None
    assert "while the records were read" in str(
        in_charge(given_up, NOW, NOW - timedelta(seconds=3))
    )


def test_what_names_no_source_or_two_is_no_export() -> None:
    for texts in ((), ("{}", "{}")):
        with pytest.raises(Exit, match="does not name"):
            export_in(texts)
    with pytest.raises(Exit, match="cannot be read"):
        export_in(("{}",))


# ---------------------------------------------------------------- what is read of one


def a_secret(**changes: Any) -> str:
    data = {"ownerId": "b3duZXI=", "instanceSecret": base64.b64encode(b"\xff" * 32).decode()}
    whole = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "agent-pool-installation"},
        "data": data,
    }
    return json.dumps(whole | changes)


def test_the_secret_of_an_installation_is_read_and_no_other() -> None:
    assert read(a_secret(), "f").installation == Installation("owner", b"\xff" * 32)
    with pytest.raises(ManifestError, match="the one Secret that is applied here"):
        read(a_secret(metadata={"name": "of-somebody"}), "f")
    for data in ({}, {"ownerId": "canary", "instanceSecret": "canary!"}, "canary"):
        with pytest.raises(ManifestError, match="needs ownerId and instanceSecret") as caught:
            read(a_secret(data=data), "f")
        assert "canary" not in str(caught.value)


# ---------------------------------------------------------------- by command


@pytest.fixture
async def source(postgres_url: str) -> str:
    """A furnished database."""
    await migrate(postgres_url)
    await on(postgres_url, furnish)
    return postgres_url


@pytest.fixture
async def target(postgres_server: str) -> AsyncIterator[str]:
    """Another one, which is empty."""
    async for url in database(postgres_server):
        await migrate(url)
        yield url


async def on(url: str, do: Any) -> Any:
    records = await PostgresRecords.connect(url)
    try:
        return await do(records)
    finally:
        await records.close()


@dataclass
class Shell:
    """Runs commands as `agent-pool` does: exit code, stdout, stderr."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *words: str, given: str = "", **env: str) -> tuple[int, str, str]:
        with self.monkeypatch.context() as patch:
            for name in ("DATABASE_URL", "KUBECONFIG", "POOL_NAMESPACE"):
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            Path("given.yaml").write_text(given)
            code = main(["given.yaml" if word == "-" else word for word in words])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def export(self, url: str, *more: str) -> str:
        code, out, err = self(*ALL, *more, DATABASE_URL=url)
        assert (code, err) == (0, "")
        return out

    def apply(self, text: str, target: str, **env: str) -> tuple[int, str, str]:
        return self("apply", "-f", "-", "--database-url", target, given=text, **env)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, monkeypatch)


def test_the_secret_is_in_no_export_but_where_it_is_asked_for(run: Shell, source: str) -> None:
    made: Installation = asyncio.run(on(source, lambda r: r.installation()))
    secret = base64.b64encode(made.instance_secret).decode()
    for words in (ALL, ("get", "pools,claims,instances"), (*ALL[:3], "json")):
        code, out, _ = run(*words, DATABASE_URL=source)
        assert code == 0
        assert secret not in out
        assert made.instance_secret.hex() not in out
    text = run.export(source, "--installation")
    (item,) = (i for i in yaml.safe_load(text)["items"] if i["kind"] == "Secret")
    assert item["data"]["instanceSecret"] == secret
    code, _, err = run("get", "pools", "-o", "yaml", "--installation", DATABASE_URL=source)
    assert (code, "--installation goes with" in err) == (2, True)


def test_rows_move_into_another_database_by_what_the_export_says(
    run: Shell, source: str, target: str
) -> None:
    text = run.export(source)
    code, out, err = run.apply(text, target)
    assert (code, out) == (1, "")
    assert "set DATABASE_URL for `apply` too, or add --installation to `get`" in err
    code, out, err = run.apply(run.export(source, "--installation"), target)
    assert (code, err) == (0, "")
    assert out.startswith("installation adopted\n")
    assert told(asyncio.run(on(target, exported))) == told(asyncio.run(on(source, exported)))
    first, second = (asyncio.run(on(u, lambda r: r.installation())) for u in (source, target))
    assert first == second
    code, out, err = run.apply(text, target)
    assert (code, err) == (0, "")
    assert " imported" not in out


def test_the_source_is_asked_for_what_the_export_does_not_say(
    run: Shell, source: str, target: str
) -> None:
    text = run.export(source)
    lease(source, "controller-1", SOON)
    code, out, err = run.apply(text, target, DATABASE_URL=source)
    assert (code, out) == (1, "")
    assert "the controller of the source still runs (controller-1 renewed the lease" in err
    lease(source, "", "now() - interval '1 hour'")
    assert run.apply(text, target, DATABASE_URL=source)[0] == 0


def lease(url: str, holder: str, when: str) -> None:
    async def write() -> None:
        db = await asyncpg.connect(url)
        told = f"'railway-1', '{holder}', {when}"
        await db.execute("DELETE FROM leases")
        await db.execute(f"INSERT INTO leases (name, holder, changed_at) VALUES ({told})")
        await db.close()

    asyncio.run(write())


def test_what_may_not_move_is_refused_before_anything_is_written(
    run: Shell, source: str, target: str
) -> None:
    text = run.export(source, "--installation")
    lease(source, "controller-1", SOON)
    led = run.export(source, "--installation")
    whole = yaml.safe_load(text)
    note = json.loads(whole["metadata"]["annotations"][EXPORT])
    assert "instanceSecret" not in json.dumps(note)

    def changed(**fields: str) -> str:
        return json.dumps(
            whole | {"metadata": {"annotations": {EXPORT: json.dumps(note | fields)}}}
        )

    old = changed(readUntil=(NOW - timedelta(days=900)).isoformat())
    bare = json.dumps({k: v for k, v in whole.items() if k != "metadata"})
    for given, says in (
        (led, "the controller of the source still runs (controller-1 renewed the lease railway"),
        (old, "minutes old: run `get` again"),
        (bare, "does not name its source"),
        (json.dumps(whole | {"items": whole["items"][:-1]}), "apply all of it"),
        (changed(namespace="other"), "the export was changed"),
        (changed(ownerId="of-somebody"), "the secret of the installation is not in the export"),
    ):
        code, out, err = run.apply(given, target)
        assert (code, out) == (1, ""), says
        assert says in err
    assert asyncio.run(on(target, exported)) == []
    code, _, err = run("apply", "-f", "-", "--database-url", target, "-n", "x", given=text)
    assert (code, "leave -n out" in err) == (1, True)


def test_there_and_back_through_a_cluster(
    run: Shell, source: str, target: str, api_server: LocalApiServer
) -> None:
    """Rows to Kubernetes to other rows: what was moved twice is what it was."""
    asyncio.run(api_server.apply(ROOT / "crds"))
    namespace = asyncio.run(make_namespace(api_server))
    asyncio.run(on(source, lambda records: furnish(records, namespace)))
    env = {"KUBECONFIG": str(api_server.kubeconfig), "POOL_NAMESPACE": namespace}
    code, text, err = run(*ALL, "--records", "postgres", DATABASE_URL=source, **env)
    assert (code, err) == (0, "")
    into = ("apply", "--records", "kubernetes", "-f", "-")
    code, out, err = run(*into, given=text, DATABASE_URL=source, **env)
    assert (code, err, out.count(" imported")) == (0, "", 15)
    code, text, err = run(*ALL, "--records", "kubernetes", **env)
    assert (code, err) == (0, "")
    back = ("apply", "--records", "postgres", "-f", "-")
    code, out, err = run(*back, given=text, DATABASE_URL=target, **env)
    assert (code, err, out.count(" imported")) == (0, "", 15)
    before, after = (
        told(asyncio.run(on(url, lambda records: exported(records, namespace))))
        for url in (source, target)
    )
    assert before == after
    first, second = (asyncio.run(on(u, lambda r: r.installation())) for u in (source, target))
    assert first == second
