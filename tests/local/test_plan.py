"""What `up` decides before anything starts."""

import re
from pathlib import Path

import pytest

from api.settings import SETTINGS, SettingError
from controller.local.plan import (
    PLACEHOLDER_KEY,
    SEED_REPO,
    Plan,
    environment_of,
    make_plan,
    ports_wanted,
    taken_port,
)
from controller.local.state import StateFolder
from controller.local.up import claim_by_curl

OWN = {"DATABASE_URL": "postgresql://u:p@h/d", "RAILWAY_API_TOKEN": "t"}


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


def test_with_nothing_set_everything_is_of_our_own(state: StateFolder) -> None:
    plan = make_plan({}, state)
    assert plan.own_postgres
    assert plan.simulated
    assert plan.api.api_key == state.api_key()
    assert plan.controller.source_repo == SEED_REPO
    assert plan.environ["INSTANCE_ANTHROPIC_API_KEY"] == PLACEHOLDER_KEY
    assert len(plan.notes) == 2


def test_with_both_urls_set_nothing_is_filled_in(state: StateFolder) -> None:
    plan = make_plan({**OWN, "POOL_API_KEY": "k"}, state)
    assert not plan.own_postgres
    assert not plan.simulated
    assert plan.controller.source_repo is None
    assert plan.notes == ()
    assert not state.key_file.exists()
    assert [name for name, _, _ in ports_wanted(plan)] == [
        "PORT",
        "API_OPS_PORT",
        "CONTROLLER_OPS_PORT",
    ]


def test_a_pool_and_a_key_of_ones_own_stay_when_simulated(state: StateFolder) -> None:
    given = {"RAILWAY_SOURCE_IMAGE": "x", "INSTANCE_OPENAI_API_KEY": "k"}
    plan = make_plan(given, state)
    assert plan.controller.source_image == "x"
    assert plan.notes == ()


def test_what_is_set_for_the_real_railway_without_a_token_is_said_not_to_be_used(
    state: StateFolder,
) -> None:
    notes = make_plan({"RAILWAY_PROJECT_ID": "p", "RAILWAY_SOURCE_IMAGE": "x"}, state).notes
    assert notes == (
        "RAILWAY_API_TOKEN is not set: Railway is simulated, and RAILWAY_PROJECT_ID is not used",
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_a_host_that_is_not_this_machine_is_named(state: StateFolder, host: str) -> None:
    problem = str(taken_port(make_plan({"HOST": host}, state)))
    assert problem.startswith(f"HOST: cannot listen on {host} port 3001 (")
    assert problem.endswith("); set it or PORT to another one")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PORT": "9102"}, "CONTROLLER_OPS_PORT: is 9102, and so is PORT"),
        ({"PORT": "x"}, "PORT: must be a number"),
        ({"SIMULATOR_PORT": "0"}, "SIMULATOR_PORT: must be a number"),
        ({"DATABASE_URL": "http://x"}, "DATABASE_URL: must be postgresql://"),
        ({"RAILWAY_SOURCE_BRANCH": "main"}, "RAILWAY_SOURCE_BRANCH: needs RAILWAY_SOURCE_REPO"),
        ({"POOL_AUTH_CHOICE": "magic"}, "POOL_AUTH_CHOICE: must be one of apiKey, "),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    state: StateFolder, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        ports_wanted(make_plan(environ, state))


def test_no_part_is_told_a_setting_that_it_does_not_read(state: StateFolder) -> None:
    everything = {s.name: "x" for s in SETTINGS} | {"INSTANCE_EXTRA": "x", "PATH": "p"}
    for part in ("api", "controller", "simulator"):
        told = environment_of(part, everything)
        assert told.keys() & {s.name for s in SETTINGS} == {
            s.name for s in SETTINGS if part in s.readers
        }
        assert ("INSTANCE_EXTRA" in told) == (part == "controller")
        assert told["PATH"] == "p"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001"),
        ("0.0.0.0", "http://127.0.0.1:3001"),  # noqa: S104
        ("::1", "http://[::1]:3001"),
    ],
)
def test_the_address_shown_is_one_that_can_be_asked(
    state: StateFolder, host: str, url: str
) -> None:
    plan: Plan = make_plan({"HOST": host}, state)
    assert plan.url == url


def test_the_curl_is_one_line_for_any_shell() -> None:
    line = claim_by_curl("http://127.0.0.1:3001", "it's")
    assert "\n" not in line
    assert """'Authorization: Bearer it'"'"'s'""" in line


def test_on_kubernetes_whichever_cluster_the_shell_points_to_is_left_alone(
    state: StateFolder,
) -> None:
    plan = make_plan({"POOL_RECORDS": "kubernetes", "KUBECONFIG": "/somebodys/cluster"}, state)
    assert plan.api.store.kind == plan.controller.store.kind == "kubernetes"
    assert "KUBECONFIG" not in plan.environ
    assert plan.notes[0].startswith("KUBECONFIG is not used")
