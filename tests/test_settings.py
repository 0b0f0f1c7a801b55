"""Settings: the table, the classes, .env.example and the README say the same; a bad one says the mend."""

import re
from pathlib import Path

import pytest

from api.settings import (
    SETTINGS,
    ApiSettings,
    Reader,
    SettingError,
    StoreSettings,
    load_environment,
)
from controller.settings import ControllerSettings

ROOT = Path(__file__).parents[1]
SECRET = "s3cret-" + "x" * 40
MINIMAL = {
    "POOL_API_KEY": SECRET,
    "DATABASE_URL": f"postgresql://me:{SECRET}@localhost/db",
    "RAILWAY_API_TOKEN": SECRET,
}


def api(**changes: str) -> ApiSettings:
    return ApiSettings.read(Reader({**MINIMAL, **changes}))


def controller(**changes: str) -> ControllerSettings:
    environ = {**MINIMAL, **changes}
    return ControllerSettings.read(Reader(environ), environ)


# ---------------------------------------------------------------- one table


def test_the_classes_read_exactly_the_settings_that_the_table_gives_them() -> None:
    for_api, for_controller = Reader(MINIMAL), Reader(MINIMAL)
    ApiSettings.read(for_api)
    ControllerSettings.read(for_controller, MINIMAL)
    assert for_api.asked == {s.name for s in SETTINGS if "api" in s.readers}
    assert for_controller.asked == {s.name for s in SETTINGS if "controller" in s.readers}


def test_the_example_names_every_setting_with_its_default_and_what_it_is() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    said = [line for line in lines if re.match(r"#?[A-Z_]+=", line)]
    assert said == [f"#{s.name}={s.default or ''}" for s in SETTINGS]
    assert [lines[lines.index(line) - 1] for line in said] == [
        f"# {s.description}" for s in SETTINGS
    ]


def test_the_readme_lists_every_setting_and_no_other() -> None:
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*)\|$", text, flags=re.MULTILINE)
    assert {name for name, _ in rows} == {s.name for s in SETTINGS}
    for setting in SETTINGS:
        assert not setting.default or f"`{setting.default}`" in dict(rows)[setting.name]


def test_the_defaults_of_the_table_are_those_of_the_classes() -> None:
    assert api() == ApiSettings(
        api_key=SECRET, store=StoreSettings("postgres", MINIMAL["DATABASE_URL"])
    )
    assert controller() == ControllerSettings(
        store=StoreSettings("postgres", MINIMAL["DATABASE_URL"]), railway_token=SECRET
    )


def test_no_secret_is_in_a_repr() -> None:
    settings = controller(POOL_INSTANCE_SECRET=SECRET, INSTANCE_ANTHROPIC_API_KEY=SECRET)
    assert SECRET not in f"{settings!r} {api()!r}"
    assert set(settings.secrets()) == {SECRET}


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "http", "PORT: must be a number from 1 to 65535"),
        ("PORT", "70000", "PORT: must be a number"),
        ("POOL_API_KEY", " ", "POOL_API_KEY: is not set"),
        ("DATABASE_URL", "", "DATABASE_URL: is not set"),
        ("DATABASE_URL", "mysql://h/d", "DATABASE_URL: must be postgresql://"),
        ("DATABASE_URL", "postgresql://h:port/d", "DATABASE_URL: must be postgresql://"),
        ("POOL_NAMESPACE", "Mine", "POOL_NAMESPACE: must be lower-case letters, digits"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: must be one of debug, info"),
    ],
)
def test_a_bad_setting_of_the_sidecar_names_itself_and_the_mend(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        api(**{name: value})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"RAILWAY_API_TOKEN": ""}, "RAILWAY_API_TOKEN: is not set"),
        ({"POOL_MIN_IDLE": "-1"}, "POOL_MIN_IDLE: must be a number from 0 to 10000"),
        ({"HANDOVER_TIMEOUT": "soon"}, "HANDOVER_TIMEOUT: must be a duration such as 45s"),
        ({"HANDOVER_TIMEOUT": "nan"}, "HANDOVER_TIMEOUT: must be a duration"),
        ({"POOL_INSTANCE_SECRET": "short"}, "POOL_INSTANCE_SECRET: must have at least 32 bytes"),
        ({"POOL_INSTANCE_SECRET_OLD": f"{SECRET},no"}, "POOL_INSTANCE_SECRET_OLD: must have"),
        (
            {"RAILWAY_ENDPOINT": "http://railway.test/q"},
            "RAILWAY_ENDPOINT: must be an https:// URL",
        ),
        ({"AGENT_SCHEME": "http"}, "AGENT_SCHEME: http is only for a RAILWAY_ENDPOINT on loopback"),
        ({"RAILWAY_SOURCE_REPO": "not a repo"}, "RAILWAY_SOURCE_REPO: is refused"),
        (
            {"RAILWAY_SOURCE_REPO": "a/b", "RAILWAY_SOURCE_IMAGE": "c"},
            "RAILWAY_SOURCE_IMAGE: set it or RAILWAY_SOURCE_REPO, not both",
        ),
        ({"RAILWAY_SOURCE_BRANCH": "main"}, "RAILWAY_SOURCE_BRANCH: needs RAILWAY_SOURCE_REPO"),
    ],
)
def test_a_bad_setting_of_the_controller_does_too(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        controller(**changes)


def test_what_is_wrong_with_a_secret_never_shows_it() -> None:
    with pytest.raises(SettingError) as caught:
        controller(DATABASE_URL=f"mysql://me:{SECRET}@h/d")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_durations_are_seconds_or_written_out() -> None:
    assert controller(HANDOVER_TIMEOUT="90").handover_timeout_s == 90
    assert controller(HANDOVER_TIMEOUT="1m30s").handover_timeout_s == 90
    assert controller(TICK_INTERVAL_MS="1500").tick_interval_s == 1.5


def test_plain_http_is_for_a_simulator_on_this_machine() -> None:
    settings = controller(RAILWAY_ENDPOINT="http://127.0.0.1:9103/graphql/v2", AGENT_SCHEME="http")
    assert settings.agent_scheme == "http"


def test_instance_variables_are_kept_as_they_are_named() -> None:
    settings = controller(INSTANCE_ANTHROPIC_API_KEY="k", INSTANCE_EXTRA="e", INSTANCE_EMPTY="")
    assert settings.instance_variables == {"INSTANCE_ANTHROPIC_API_KEY": "k", "INSTANCE_EXTRA": "e"}


def test_instances_made_under_the_stores_secret_are_known_after_a_variable_names_another() -> None:
    new, old = "n" * 32, "o" * 32
    both = controller(POOL_INSTANCE_SECRET=new, POOL_INSTANCE_SECRET_OLD=old)
    assert both.instance_secrets(b"kept") == (new.encode(), old.encode(), b"kept")
    assert controller(POOL_INSTANCE_SECRET_OLD=old).instance_secrets(b"kept")[0] == b"kept"


def test_a_pool_wanted_larger_than_its_bound_is_clamped_with_a_warning() -> None:
    assert controller().pool_size() == (3, 10, None)
    assert controller(POOL_MIN_IDLE="4").pool_size() == (4, 10, None)
    small, most, warning = controller(POOL_MIN_IDLE="12").pool_size()
    assert (small, most) == (10, 10)
    assert warning == "POOL_MIN_IDLE 12 is more than POOL_MAX_TOTAL: 10 is used"


# ---------------------------------------------------------------- .env, and unknown names


def test_the_real_environment_wins_over_dotenv(tmp_path: Path) -> None:
    lines = ["# a comment", "", "PORT=1", "export HOST = '0.0.0.0' # all", 'X="a # b"', "Y=a # b"]
    (tmp_path / ".env").write_text("\n".join(lines))
    read = load_environment({"PORT": "2"}, tmp_path)
    assert read == {"PORT": "2", "HOST": "0.0.0.0", "X": "a # b", "Y": "a"}  # noqa: S104


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("just words", ".env: line 1 is not NAME=value"),
        (f"POOL_API_KEY='{SECRET}", ".env: line 1: the quote after POOL_API_KEY= is not closed"),
    ],
)
def test_a_line_that_is_none_is_named_by_number(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / ".env").write_text(line)
    with pytest.raises(SettingError) as caught:
        load_environment({}, tmp_path)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("POOL_MIN_IDEL", "did you mean POOL_MIN_IDLE?"),
        ("POOL_SIZE", "remove it"),
        ("RAILWAY_API_TOKE", "did you mean RAILWAY_API_TOKEN?"),
        ("RAILWAY_PROJEKT_ID", "did you mean RAILWAY_PROJECT_ID?"),
        ("RAILWAY_SOURCE_TAG", "is not a setting of ours"),
        ("HANDOVER_TIMEOUTS", "did you mean HANDOVER_TIMEOUT?"),
        ("CONTROLLER_OPSPORT", "did you mean CONTROLLER_OPS_PORT?"),
        ("API_OPS_PROT", "did you mean API_OPS_PORT?"),
    ],
)
def test_an_unknown_name_of_ours_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(SettingError, match=re.escape(says)) as caught:
        load_environment({name: SECRET}, tmp_path)
    assert str(caught.value).startswith(f"{name}: ")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "RAILWAY_SERVICE_ID",
        "RAILWAY_ENVIRONMENT",
        "RAILWAY_ENVIRONMENT_NAME",
        "RAILWAY_PUBLIC_DOMAIN",
        "RAILWAY_GIT_COMMIT_SHA",
        "RAILWAY_TOKEN",
        "POOL_SERVICE_HOST",
        "CONTROLLER_PORT_80_TCP_ADDR",
        "API_TOKEN",
        "PATH",
    ],
)
def test_what_others_set_is_none_of_our_business(tmp_path: Path, name: str) -> None:
    assert load_environment({name: "x"}, tmp_path) == {name: "x"}
