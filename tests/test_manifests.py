"""Manifests: what kubectl takes is read as it means it; an error names file, line, field and rule."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from api.manifests import MAX_BYTES, ManifestError, parse
from api.types import AgentClaim, AgentPool

EXAMPLES = Path(__file__).parents[1] / "deploy" / "examples"
HEAD = "apiVersion: pool.convos.org/v1alpha1\n"
CANARY = "canary-in-the-instructions"


def a_claim(**changes: str) -> str:
    spec = {"agentId": "a", "instructions": "be good", **changes}
    lines = "".join(f"  {name}: {value}\n" for name, value in spec.items())
    return f"{HEAD}kind: AgentClaim\nmetadata: {{name: c}}\nspec:\n{lines}"


def a_pool(spec: str = "", name: str = "p") -> str:
    lines = f"  template: {{source: {{image: x}}}}\n{spec}"
    return f"{HEAD}kind: AgentPool\nmetadata: {{name: {name}}}\nspec:\n{lines}"


def claim(text: str) -> AgentClaim:
    (found,) = parse(text, "f.yaml")
    assert isinstance(found, AgentClaim)
    return found


def problems(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, "f.yaml")
    return list(caught.value.problems)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda f: f.name)
def test_the_examples_are_read(file: Path) -> None:
    assert parse(file.read_text(), file.name)


def test_several_documents_keep_their_order_and_empty_ones_do_not_count() -> None:
    found = parse(f"---\n{a_pool()}---\n---\n{a_claim()}", "f.yaml")
    assert [type(x) for x in found] == [AgentPool, AgentClaim]


def test_json_and_lists_are_read_too() -> None:
    one = parse(a_claim(), "f.yaml")[0].wire()
    del one["metadata"]["generation"], one["status"]
    listed = {"apiVersion": "v1", "kind": "List", "items": [one, one]}
    assert len(parse(json.dumps(listed), "f.json")) == 2


@pytest.mark.parametrize(
    "text", ["no", "y", "12:30", "2026-01-01", "0x10", "1_000", ".inf", "=", "<<"]
)
def test_plain_words_stay_text(text: str) -> None:
    assert claim(a_claim(agentId=text)).spec.agent_id == text


def test_a_block_keeps_its_lines() -> None:
    assert claim(a_claim(instructions="|\n    one\n    two")).spec.instructions == "one\ntwo\n"


def test_durations_are_read_and_defaults_filled_in() -> None:
    (pool,) = parse(a_pool("  claimTimeout: 1h30m\n"), "f.yaml")
    assert isinstance(pool, AgentPool)
    assert pool.spec.claim_timeout == timedelta(minutes=90)
    assert pool.spec.min_idle == 3


def test_who_names_no_namespace_goes_to_ours() -> None:
    assert parse(a_claim(), "f.yaml", "team")[0].metadata.namespace == "team"
    named = a_claim().replace("name: c", "name: c, namespace: mine")
    assert parse(named, "f.yaml", "team")[0].metadata.namespace == "mine"


def test_anchors_aliases_and_merges_work() -> None:
    text = a_pool("  minIdle: &n 4\n  maxTotal: *n\n  <<: {paused: true, minIdle: 1}\n")
    (pool,) = parse(text, "f.yaml")
    assert isinstance(pool, AgentPool)
    assert (pool.spec.min_idle, pool.spec.max_total, pool.spec.paused) == (4, 4, True)


def test_what_get_prints_is_read_back() -> None:
    original = claim(a_claim(timeout="45s"))
    assert claim(json.dumps(original.wire())) == original


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (a_pool("  minIdle: -1\n"), "line 6: spec.minIdle: -1 must be greater than or equal to 0"),
        (a_pool("  minIdle: '3'\n"), 'line 6: spec.minIdle: "3" must be a valid integer'),
        (a_pool("  minIdel: 3\n"), "line 6: spec.minIdel: is not a field; did you mean minIdle?"),
        (a_pool("  min_idle: 3\n"), "line 6: spec.min_idle: is not a field; did you mean minIdle?"),
        (
            a_pool("  claimTimeout: soon\n"),
            'spec.claimTimeout: "soon" must be a duration such as 45s',
        ),
        (a_pool("  minIdle: 20\n"), "line 4: spec: minIdle (20) must not exceed maxTotal (10)"),
        (a_pool("  rollout: {maxUnavailable: 2}\n"), "spec.rollout: not yet"),
        (a_pool("  minIdle: 1\n  minIdle: 2\n"), "line 7: spec.minIdle: stands there twice"),
        (a_pool(name="Upper"), 'metadata.name: "Upper" must match pattern'),
        (a_claim(agentId="12"), "spec.agentId: 12 must be text: put it in quotes"),
        (a_claim(joinUrl="http://x"), "spec.joinUrl: must be an https:// URL"),
        (a_claim(phase="Ready"), "spec.phase: is not a field"),
        (f"{HEAD}kind: AgentClaim\nspec: {{}}", "metadata: is missing"),
        (f"{HEAD}kind: Pod", 'line 2: kind: "Pod" must be one of AgentPool, AgentClaim'),
        (f"{HEAD}kind: AgentInstance", "kind: instances are written by the controller only"),
        ("apiVersion: v1\nkind: Pod", 'line 1: apiVersion: "v1" must be pool.convos.org/v1alpha1'),
        ("just text", "document 1, line 1: must be a map"),
        ("", "f.yaml: holds no manifest"),
        ("a: [1", "line 1: is not YAML: expected ',' or ']'"),
        ("a: b\n\x00", "is not YAML"),
        ("a: !!python/name:os.system x", "line 1: tags are not allowed"),
        ("? [a]\n: b", "line 1: a key must be text"),
        ("&a [*a]", "nested deeper than 40"),
        ("[" * 2000 + "]" * 2000, "nested"),
        ("x" * (MAX_BYTES + 1), "is larger than"),
    ],
    ids=lambda value: value[-40:].strip(),
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    said = problems(text)
    assert any(says in line for line in said), said
    assert all(line.startswith("f.yaml") and "\n" not in line for line in said)


def test_everything_that_is_wrong_is_said_at_once_with_its_document() -> None:
    bad_pool = a_pool("  minIdle: -1\n  maxTotal: many\n")
    said = problems(f"{bad_pool}---\n{a_claim(agentId='')}")
    assert [line.split(":")[0] for line in said] == [
        "f.yaml, document 1, line 6",
        "f.yaml, document 1, line 7",
        "f.yaml, document 2, line 13",
    ]


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    assert "aliases expanded" in problems(bomb)[0]


@pytest.mark.parametrize(
    "text",
    [
        a_claim(instructions=f'"{CANARY}\\x07"'),
        a_claim(instructions=f'"{CANARY}'),
        a_claim(instructions=f"[{CANARY}]"),
        a_claim(instructions=CANARY, agentId="''"),
        a_claim(joinUrl=f"http://{CANARY}"),
        a_pool(f"  template: {{source: {{image: x}}, env: [{{name: PORT, value: {CANARY}}}]}}\n"),
    ],
)
def test_no_error_quotes_what_may_be_secret(text: str) -> None:
    assert CANARY not in "\n".join(problems(text))
