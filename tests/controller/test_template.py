"""What an instance is made of: variables, keys, and a hash that tells nothing."""

from typing import Any

import pytest

from api.types import EnvVar, SecretKeyRef, Template, ValueFrom
from controller.template import (
    Recipe,
    agent_key,
    agent_keys,
    key_id,
    lacking,
    make,
    secret_refs,
    template_hash,
    variables,
)
from tests.builders import a_pool, an_instance

NEW, OLD = b"n" * 32, b"o" * 32


def from_secret(name: str) -> EnvVar:
    ref = SecretKeyRef(name="s", key="k")
    return EnvVar(name=name, value_from=ValueFrom(secret_key_ref=ref))


def a_recipe(**overrides: Any) -> Recipe:
    base = {
        "owner_id": "owner",
        "secrets": (NEW, OLD),
        "instance_variables": {"INSTANCE_ANTHROPIC_API_KEY": "sk-ant"},
    }
    return Recipe(**(base | overrides))


def a_pool_with(*env: EnvVar) -> Any:
    return a_pool(template=a_pool().spec.template.model_copy(update={"env": env}))


def test_an_agent_gets_the_seeds_variables_and_ours() -> None:
    made = variables(a_pool(), "abcd1234", a_recipe(), {})
    assert made == {
        "XMTP_ENV": "dev",
        "ANTHROPIC_API_KEY": "sk-ant",
        "POOL_MODE": "true",
        "POOL_API_KEY": agent_key(NEW, "abcd1234"),
        "POOL_AUTH_CHOICE": "apiKey",
        "POOL_OWNER": "owner/default/default",
        "POOL_INSTANCE_ID": "abcd1234",
        "SETUP_PASSWORD": made["SETUP_PASSWORD"],
        "PORT": "8080",
    }


def test_instance_variables_pass_on_without_their_prefix_but_for_reserved_names() -> None:
    given = {
        "INSTANCE_XMTP_ENV": "production",
        "INSTANCE_POOL_API_KEY": "mine",
        "INSTANCE_PORT": "1",
        "INSTANCE_RAILWAY_TOKEN": "t",
        "INSTANCE_": "nameless",
        "INSTANCE_SETUP_PASSWORD": "chosen",
    }
    made = variables(a_pool(), "abcd1234", a_recipe(instance_variables=given), {})
    assert (made["XMTP_ENV"], made["PORT"], made["SETUP_PASSWORD"]) == (
        "production",
        "8080",
        "chosen",
    )
    assert made["POOL_API_KEY"] == agent_key(NEW, "abcd1234")
    assert not {"", "RAILWAY_TOKEN"} & made.keys()


def test_the_pools_own_variables_win_over_those_passed_on() -> None:
    own = EnvVar(name="XMTP_ENV", value="local")
    read = EnvVar(name="COPY", value_from=ValueFrom(env="INSTANCE_ANTHROPIC_API_KEY"))
    made = variables(a_pool_with(own, read), "abcd1234", a_recipe(), {})
    assert (made["XMTP_ENV"], made["COPY"]) == ("local", "sk-ant")


def test_the_same_record_and_settings_make_the_same_service_each_time() -> None:
    instance = an_instance(name="abcd1234")
    once, again = (make(a_pool(), instance, a_recipe(), {}) for _ in range(2))
    assert once == again


def test_no_two_instances_share_a_key_or_a_password() -> None:
    one, two = (variables(a_pool(), name, a_recipe(), {}) for name in ("abcd1234", "abcd1235"))
    assert one["POOL_API_KEY"] != two["POOL_API_KEY"]
    assert one["SETUP_PASSWORD"] != two["SETUP_PASSWORD"]
    assert one["POOL_API_KEY"] != one["SETUP_PASSWORD"]


def test_the_key_its_record_names_is_tried_first_then_every_other() -> None:
    old = an_instance(name="abcd1234", key_id=key_id(OLD))
    both = (agent_key(OLD, "abcd1234"), agent_key(NEW, "abcd1234"))
    assert agent_keys(old, (NEW, OLD)) == both
    assert agent_keys(an_instance(name="abcd1234", key_id="lost"), (NEW, OLD)) == both[::-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"instance_variables": {"INSTANCE_ANTHROPIC_API_KEY": "sk-other"}},
        {"auth_choice": "openai-api-key"},
        {"secrets": (OLD,)},
    ],
)
def test_the_hash_changes_with_every_value_that_an_instance_is_made_of(
    changed: dict[str, Any],
) -> None:
    assert template_hash(a_pool(), a_recipe()) != template_hash(a_pool(), a_recipe(**changed))


def test_the_hash_does_not_change_with_the_size_of_the_pool() -> None:
    larger = a_pool(min_idle=5, max_total=50)
    assert template_hash(a_pool(), a_recipe()) == template_hash(larger, a_recipe())


@pytest.mark.parametrize(
    ("env", "recipe", "named"),
    [
        ((), a_recipe(), None),
        ((), a_recipe(instance_variables={}), "INSTANCE_ANTHROPIC_API_KEY"),
        ((), a_recipe(auth_choice="openai-api-key"), "OPENAI_API_KEY"),
        (
            (EnvVar(name="ANTHROPIC_API_KEY", value="sk"),),
            a_recipe(instance_variables={}),
            None,
        ),
        (
            (EnvVar(name="X", value_from=ValueFrom(env="INSTANCE_NOT_SET")),),
            a_recipe(),
            "INSTANCE_NOT_SET",
        ),
        ((from_secret("X"),), a_recipe(), "secretKeyRef"),
        ((from_secret("ANTHROPIC_API_KEY"),), a_recipe(has_secrets=True), None),
    ],
)
def test_a_pool_that_could_never_become_ready_is_told_what_it_lacks(
    env: tuple[EnvVar, ...], recipe: Recipe, named: str | None
) -> None:
    why = lacking(a_pool_with(*env), recipe)
    assert why is None if named is None else named in (why or "")


def test_neither_a_secret_nor_a_value_is_in_the_repr() -> None:
    shown = repr(a_recipe()) + repr(make(a_pool(), an_instance(), a_recipe(), {}))
    assert "sk-ant" not in shown
    assert "nnnn" not in shown


def test_a_template_has_a_port_that_its_agent_is_told() -> None:
    pool = a_pool(template=Template(source=a_pool().spec.template.source, port=9000))
    assert variables(pool, "abcd1234", a_recipe(), {})["PORT"] == "9000"


def test_what_a_secret_holds_is_sent_and_is_in_no_hash() -> None:
    pool, recipe = a_pool_with(from_secret("TOKEN")), a_recipe(has_secrets=True)
    assert secret_refs(pool) == {"TOKEN": SecretKeyRef(name="s", key="k")}
    made = make(pool, an_instance(name="abcd1234"), recipe, {"TOKEN": "t0ken"})
    assert made.variables["TOKEN"] == "t0ken"
    assert "t0ken" not in repr(made)
    other = a_pool_with(EnvVar(name="TOKEN", value_from=ValueFrom(env="INSTANCE_TOKEN")))
    assert template_hash(pool, recipe) != template_hash(other, recipe)
