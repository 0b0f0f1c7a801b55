"""The rules of the kinds: what is accepted, what is refused with which words, and what is never shown."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from api.conditions import is_true, with_condition
from api.scalars import INSTRUCTIONS_MAX_BYTES, format_duration, is_reserved, parse_duration
from api.types import (
    AgentClaim,
    AgentInstance,
    AgentPool,
    ClaimPhase,
    ClaimSpec,
    Condition,
    EnvVar,
    InstancePhase,
    Meta,
    OnEmpty,
    PoolRailway,
    PoolSpec,
    ReclaimPolicy,
    RepoSource,
    Source,
    Template,
    ValueFrom,
    key_of,
    oldest_first,
    pool_key,
)
from tests.builders import NOW, a_claim, a_claim_ref, a_pool, an_instance

IMAGE: dict[str, Any] = {"template": {"source": {"image": "agents/convos:1"}}}
WISH = {"agentId": "a", "instructions": "x"}


def refusal(model: type[BaseModel], **fields: Any) -> str:
    """What is said of these wire fields: the path of the first problem, and the rule."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(fields))
    first = caught.value.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


# ---------------------------------------------------------------- defaults and the wire form


def test_a_pool_needs_only_its_source_and_has_the_documented_defaults() -> None:
    spec = PoolSpec.model_validate(IMAGE)
    assert (spec.min_idle, spec.max_total, spec.name_prefix) == (3, 10, "convos-agent-")
    assert spec.template.port == 8080
    assert spec.template.healthcheck_path is None
    assert spec.provision_timeout == timedelta(minutes=15)
    assert spec.claim_timeout == timedelta(minutes=10)
    assert spec.failed_claim_ttl == timedelta(hours=24)
    assert spec.reclaim_policy is ReclaimPolicy.RETAIN
    assert spec.rollout.max_unavailable == 1
    assert not spec.paused


def test_a_claim_waits_and_retains_unless_told_otherwise() -> None:
    spec = ClaimSpec.model_validate(WISH)
    assert spec.pool_ref.name == "default"
    assert spec.on_empty is OnEmpty.WAIT
    assert spec.reclaim_policy is ReclaimPolicy.RETAIN


RECORDS = [
    a_pool(
        template=Template(
            source=Source(repo=RepoSource(name="a/b", branch="main")),
            env=(EnvVar(name="A", value_from=ValueFrom(env="INSTANCE_A")),),
        ),
        provision_timeout=timedelta(seconds=90),
        railway=PoolRailway(project_id="p"),
    ),
    a_claim(join_url="https://x.test/j", timeout=timedelta(minutes=1), phase=ClaimPhase.READY),
    an_instance(claim_ref=a_claim_ref(a_claim(uid="u1")), phase=InstancePhase.IDLE),
]


@pytest.mark.parametrize("thing", RECORDS, ids=lambda thing: str(thing.kind))
def test_the_wire_form_reads_back_as_the_same_record(
    thing: AgentPool | AgentClaim | AgentInstance,
) -> None:
    assert type(thing).model_validate_json(thing.model_dump_json(by_alias=True)) == thing


def test_the_wire_is_camel_case_with_short_durations_and_without_what_is_unset() -> None:
    wire = a_pool(provision_timeout=timedelta(minutes=90)).wire()
    assert wire["apiVersion"] == "pool.convos.org/v1alpha1"
    assert wire["kind"] == "AgentPool"
    assert wire["spec"]["minIdle"] == 3
    assert wire["spec"]["provisionTimeout"] == "1h30m"
    assert wire["spec"]["failedClaimTTL"] == "24h"
    assert "railway" not in wire["spec"]
    assert "seq" not in wire["metadata"]
    assert wire["spec"]["template"] == {
        "source": {"image": "agents/convos:1"},
        "env": [],
        "port": 8080,
    }


# ---------------------------------------------------------------- strictness


def test_an_unknown_field_is_refused_by_its_path() -> None:
    assert refusal(PoolSpec, **IMAGE, minidle=1).startswith("minidle: Extra inputs")
    template = {"source": {"image": "i", "tag": "1"}}
    assert refusal(PoolSpec, template=template).startswith("template.source.tag: Extra")


@pytest.mark.parametrize(
    ("field", "value"), [("minIdle", "3"), ("minIdle", True), ("paused", "yes"), ("paused", 1)]
)
def test_a_value_of_another_type_is_not_bent_into_shape(field: str, value: object) -> None:
    assert refusal(PoolSpec, **IMAGE, **{field: value}).startswith(f"{field}:")


def test_a_record_does_not_change() -> None:
    claim = a_claim()
    with pytest.raises(ValidationError):
        claim.spec.agent_id = "another"  # type: ignore[misc]


def test_another_kind_or_version_is_refused() -> None:
    wire = a_claim().wire()
    for field in ("kind", "apiVersion"):
        with pytest.raises(ValidationError):
            AgentClaim.model_validate_json(json.dumps(wire | {field: "other"}))


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("10m", 600), ("1h30m", 5400), ("1h2m3s", 3723), ("90m", 5400), ("24h", 86400)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(timedelta(seconds=seconds))).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "1.5h", "-1m", "1m1h", "1d", 600, None])
def test_what_is_no_duration_is_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match="such as 45s, 10m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "good"), [("0s", False), ("1s", True), ("8760h", True), ("8761h", False)]
)
def test_a_duration_is_between_a_second_and_a_year(text: str, good: bool) -> None:
    if good:
        assert PoolSpec.model_validate(IMAGE | {"claimTimeout": text})
    else:
        assert "between 1s and 8760h" in refusal(PoolSpec, **IMAGE, claimTimeout=text)


# ---------------------------------------------------------------- pools


@pytest.mark.parametrize(("min_idle", "max_total"), [(-1, 10), (0, -1), (10_001, 10_001), (4, 3)])
def test_sizes_out_of_bounds_are_refused(min_idle: int, max_total: int) -> None:
    said = refusal(PoolSpec, **IMAGE, minIdle=min_idle, maxTotal=max_total)
    assert "minIdle" in said or "maxTotal" in said


def test_a_pool_may_keep_nobody_warm() -> None:
    spec = PoolSpec.model_validate(IMAGE | {"minIdle": 0, "maxTotal": 0})
    assert (spec.min_idle, spec.max_total) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"rollout": {"maxUnavailable": 2}}, "rollout"),
        ({"failedClaimTTL": "1h"}, "failedClaimTTL"),
        ({"railway": {"tokenFrom": {"env": "INSTANCE_TOKEN"}}}, "railway.tokenFrom"),
    ],
)
def test_what_this_version_does_not_act_on_is_refused(fields: dict[str, Any], name: str) -> None:
    said = refusal(PoolSpec, **IMAGE, **fields)
    assert f"{name}: Value error, not yet" in said


def test_what_this_version_does_not_act_on_may_be_said_as_its_default() -> None:
    given = {"rollout": {"maxUnavailable": 1}, "failedClaimTTL": "24h"}
    assert PoolSpec.model_validate(IMAGE | given) == PoolSpec.model_validate(IMAGE)


@pytest.mark.parametrize(
    "source", [{}, {"repo": {"name": "a/b"}, "image": "i"}, {"image": ""}, {"repo": {"name": "a"}}]
)
def test_a_source_is_exactly_one_well_formed_repo_or_image(source: dict[str, Any]) -> None:
    assert refusal(PoolSpec, template={"source": source}).startswith("template.source")


@pytest.mark.parametrize("prefix", ["", "Agent-", "1agent", "a_b", "a" * 17])
def test_a_bad_name_prefix_is_refused(prefix: str) -> None:
    assert refusal(PoolSpec, **IMAGE, namePrefix=prefix).startswith("namePrefix:")


@pytest.mark.parametrize(
    ("port", "path"), [(0, "/ok"), (65536, "/ok"), (80, "no-slash"), (80, "/a b")]
)
def test_a_bad_port_or_health_check_path_is_refused(port: int, path: str) -> None:
    given = {"source": {"image": "i"}, "port": port, "healthcheckPath": path}
    assert refusal(PoolSpec, template=given).startswith("template.")


# ---------------------------------------------------------------- env


@pytest.mark.parametrize("name", ["POOL_MODE", "POOL_X", "RAILWAY_TOKEN", "PORT", "SETUP_PASSWORD"])
def test_a_reserved_name_is_refused(name: str) -> None:
    assert is_reserved(name)
    assert f"{name} is reserved" in refusal(EnvVar, name=name, value="x")


@pytest.mark.parametrize("name", ["PORTAL", "MY_POOL_", "XMTP_ENV", "_x", "ANTHROPIC_API_KEY"])
def test_a_name_that_only_looks_reserved_is_not(name: str) -> None:
    assert EnvVar(name=name, value="x").name == name


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ä", "A" * 129])
def test_a_bad_name_is_refused(name: str) -> None:
    assert refusal(EnvVar, name=name, value="x").startswith("name:")


@pytest.mark.parametrize("given", [{}, {"value": "x", "valueFrom": {"env": "INSTANCE_A"}}])
def test_a_variable_has_exactly_one_of_value_and_value_from(given: dict[str, Any]) -> None:
    assert "exactly one of value and valueFrom" in refusal(EnvVar, name="A", **given)


def test_an_empty_value_is_a_value() -> None:
    assert EnvVar(name="A", value="").value == ""


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"env": "INSTANCE_A", "secretKeyRef": {"name": "s", "key": "k"}},
        {"env": "POOL_API_KEY"},
        {"env": "INSTANCE_"},
        {"env": "XINSTANCE_A"},
        {"secretKeyRef": {"name": "s"}},
    ],
)
def test_value_from_names_one_secret_or_one_instance_variable(given: dict[str, Any]) -> None:
    assert refusal(EnvVar, name="A", valueFrom=given).startswith("valueFrom")


def test_a_name_is_given_once() -> None:
    env = [{"name": n, "value": "x"} for n in ("B", "A", "B", "A", "C")]
    said = refusal(PoolSpec, template={"source": {"image": "i"}, "env": env})
    assert "env names A, B more than once" in said


# ---------------------------------------------------------------- claims


def test_instructions_are_bounded_in_bytes_not_in_characters() -> None:
    most = "é" * (INSTRUCTIONS_MAX_BYTES // 2)
    assert ClaimSpec.model_validate(WISH | {"instructions": most}).instructions == most
    said = refusal(ClaimSpec, agentId="a", instructions=most + "é")
    assert said.startswith("instructions: ")
    assert "102400 bytes" in said
    assert refusal(ClaimSpec, agentId="a", instructions="").startswith("instructions:")
    assert refusal(ClaimSpec, agentId="a", instructions="x" * 102_401)


@pytest.mark.parametrize("bad", ["\x00", "\x07", "\x1b", "\x7f"])
def test_control_characters_are_refused(bad: str) -> None:
    assert refusal(ClaimSpec, agentId="a", instructions=f"x{bad}").startswith("instructions:")
    assert refusal(ClaimSpec, agentId=f"a{bad}", instructions="x").startswith("agentId:")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValidationError, match="instructions"):
        ClaimSpec.model_validate({"agentId": "a", "instructions": "x\ud800"})


def test_instructions_may_have_lines_and_tabs_and_an_agent_id_may_not() -> None:
    text = "one\r\n\ttwo 🗼"
    assert ClaimSpec.model_validate(WISH | {"instructions": text}).instructions == text
    assert "one line" in refusal(ClaimSpec, agentId="a\nb", instructions="x")


@pytest.mark.parametrize("agent_id", ["", "a" * 129])
def test_an_agent_id_has_1_to_128_characters(agent_id: str) -> None:
    assert refusal(ClaimSpec, agentId=agent_id, instructions="x").startswith("agentId:")


@pytest.mark.parametrize("url", ["http://x.test", "https://a b", "x", "https://" + "x" * 2048])
def test_a_join_url_is_https_and_bounded(url: str) -> None:
    assert refusal(ClaimSpec, **WISH, joinUrl=url).startswith("joinUrl:")


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a" * 254, "a/b"])
def test_a_record_is_named_as_kubernetes_would(name: str) -> None:
    assert refusal(Meta, name=name).startswith("name:")


# ---------------------------------------------------------------- what is never shown


def test_no_repr_shows_instructions_a_value_or_an_invite() -> None:
    env = (EnvVar(name="A", value="canary"),)
    source = Source(image="i")
    things = (
        a_pool(template=Template(source=source, env=env)),
        a_claim(
            instructions="canary",
            join_url="https://x.test/canary",
            invite_url="https://x.test/canary",
            phase=ClaimPhase.READY,
        ),
    )
    for thing in things:
        assert "canary" in thing.model_dump_json()
        assert "canary" not in repr(thing)
        assert "canary" not in str(thing)


# ---------------------------------------------------------------- helpers of the kinds


def test_a_claim_has_ended_when_it_is_ready_or_failed() -> None:
    ended = {phase for phase in ClaimPhase if a_claim(phase=phase).ended}
    assert ended == {ClaimPhase.READY, ClaimPhase.FAILED}


def test_records_are_found_by_namespace_and_name() -> None:
    claim = a_claim(name="c", namespace="n", pool="p")
    assert str(key_of(claim)) == "n/c"
    assert str(pool_key(claim)) == "n/p"


def test_rows_are_ordered_by_seq_and_others_by_time_and_name() -> None:
    second, first = a_claim(name="a", seq=2), a_claim(name="b", seq=1)
    assert sorted([second, first], key=oldest_first) == [first, second]
    later = NOW + timedelta(seconds=1)
    given = [("a", later), ("c", NOW), ("b", NOW)]
    others = [a_claim(name=name, creation_timestamp=at) for name, at in given]
    assert [c.metadata.name for c in sorted(others, key=oldest_first)] == ["b", "c", "a"]


def test_a_conditions_time_moves_only_when_its_status_flips() -> None:
    def ready(status: Any, seconds: int, reason: str = "R") -> Condition:
        at = NOW + timedelta(seconds=seconds)
        return Condition(type="Ready", status=status, reason=reason, last_transition_time=at)

    first = with_condition((), ready("False", 0))
    same = with_condition(first, ready("False", 5, "Other"))
    flipped = with_condition(same, ready("True", 9))
    assert same == (ready("False", 0, "Other"),)
    assert flipped == (ready("True", 9),)
    assert is_true(flipped, "Ready")
    assert not is_true(same, "Ready")
    assert not is_true((), "Ready")
