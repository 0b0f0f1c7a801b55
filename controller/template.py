"""What an instance is made of: its variables, its keys and its template's hash. Pure.

Every value sent to Railway is a function of the pool's record, the instance's id and the settings,
so a step that is repeated after a crash sends the same again.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from api.scalars import is_reserved
from api.types import AgentInstance, AgentPool, EnvVar, Key, SecretKeyRef, Template, key_of
from controller.railway import Make

# What each choice needs, or the agent starts and never becomes ready (the agent's source, server.js).
AUTH_VARIABLES: Mapping[str, str] = {
    "apiKey": "ANTHROPIC_API_KEY",
    "openai-api-key": "OPENAI_API_KEY",
    "gemini-api-key": "GEMINI_API_KEY",
    "openrouter-api-key": "OPENROUTER_API_KEY",
    "ai-gateway-api-key": "AI_GATEWAY_API_KEY",
    "moonshot-api-key": "MOONSHOT_API_KEY",
    "kimi-code-api-key": "KIMI_API_KEY",
    "zai-api-key": "ZAI_API_KEY",
    "synthetic-api-key": "SYNTHETIC_API_KEY",
    "opencode-zen": "OPENCODE_ZEN_API_KEY",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the settings and the installation add to every instance."""

    owner_id: str
    secrets: tuple[bytes, ...] = field(repr=False)  # Instance secrets, the current one first.
    instance_variables: Mapping[str, str] = field(repr=False)  # Each `INSTANCE_<NAME>`, as set.
    auth_choice: str = "apiKey"  # One of AUTH_VARIABLES.
    has_secrets: bool = False  # Whether the records can be asked for what a secretKeyRef names.

    @property
    def ignored(self) -> list[str]:
        """INSTANCE_* that would set what only we or Railway may."""
        reserved = [n for n in self.instance_variables if is_reserved(n.removeprefix("INSTANCE_"))]
        return [name for name in reserved if name != "INSTANCE_SETUP_PASSWORD"]

    @property
    def secret(self) -> bytes:
        return self.secrets[0]


def key_id(secret: bytes) -> str:
    """Which secret made an instance's key, without telling the secret."""
    return _mac(secret, "key-id")[:8]


def agent_key(secret: bytes, instance_id: str) -> str:
    """The instance's own POOL_API_KEY: one leaked agent opens no other, and not the manager."""
    return _mac(secret, f"agent:{instance_id}")


def agent_keys(instance: AgentInstance, secrets: tuple[bytes, ...]) -> tuple[str, ...]:
    """The keys this instance may answer to, the one its record names first."""
    ordered = sorted(secrets, key=lambda s: key_id(s) != instance.spec.key_id)
    return tuple(agent_key(s, instance.metadata.name) for s in ordered)


def owner_mark(owner_id: str, pool: AgentPool) -> str:
    """POOL_OWNER: the proof that a service is this installation's, and which pool's."""
    return f"{owner_id}/{pool.metadata.namespace}/{pool.metadata.name}"


def secret_refs(pool: AgentPool) -> dict[str, SecretKeyRef]:
    """By variable, the Secrets whose values its instances are made with."""
    sources = {e.name: e.value_from for e in pool.spec.template.env if e.value_from}
    return {name: s.secret_key_ref for name, s in sources.items() if s.secret_key_ref}


def make(
    pool: AgentPool, instance: AgentInstance, recipe: Recipe, secrets: Mapping[str, str]
) -> Make:
    """All that Railway is told for this instance. `secrets`: the value of each of `secret_refs`."""
    template = pool.spec.template
    return Make(
        name=instance.spec.service_name,
        source=template.source,
        variables=variables(pool, instance.metadata.name, recipe, secrets),
        port=template.port,
        healthcheck_path=template.healthcheck_path,
    )


def variables(
    pool: AgentPool, instance_id: str, recipe: Recipe, secrets: Mapping[str, str]
) -> dict[str, str]:
    """The seed's variables, then the pool's own, then ours, which nothing overrides."""
    password = recipe.instance_variables.get("INSTANCE_SETUP_PASSWORD")
    return {
        **_given(pool, recipe, secrets),
        "POOL_MODE": "true",
        "POOL_API_KEY": agent_key(recipe.secret, instance_id),
        "POOL_AUTH_CHOICE": recipe.auth_choice,
        "POOL_OWNER": owner_mark(recipe.owner_id, pool),
        "POOL_INSTANCE_ID": instance_id,
        "SETUP_PASSWORD": password or _mac(recipe.secret, f"setup:{instance_id}"),
        "PORT": str(pool.spec.template.port),
    }


def _given(pool: AgentPool, recipe: Recipe, secrets: Mapping[str, str]) -> dict[str, str]:
    """What the settings and the pool's template say, before ours."""
    return {
        "XMTP_ENV": "dev",
        **_passed_on(recipe),
        **{e.name: _value(e, recipe) or "" for e in pool.spec.template.env},
        **secrets,
    }


def template_hash(pool: AgentPool, recipe: Recipe) -> str:
    """Changes when anything an instance is made of changes, values included; tells none of them.

    Of a Secret it knows the name alone: its value is read when an instance is created, and not before.
    """
    parts = {
        "template": pool.spec.template.wire(),
        "variables": variables(pool, "", recipe, {}),
    }
    return _mac(recipe.secret, "template:" + json.dumps(parts, sort_keys=True))[:16]


class Hashes:
    """The hash of each pool's template, computed when the template changes and not at every pass."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._known: dict[Key, tuple[Template, str]] = {}

    def of(self, pool: AgentPool) -> str:
        """`template_hash(pool, recipe)`."""
        known = self._known.get(key_of(pool))
        if known is None or known[0] != pool.spec.template:
            known = pool.spec.template, template_hash(pool, self._recipe)
            self._known[key_of(pool)] = known
        return known[1]


def lacking(pool: AgentPool, recipe: Recipe) -> str | None:
    """Why no instance of this pool could ever become ready; None when nothing is missing."""
    referred = secret_refs(pool) if recipe.has_secrets else {}
    for env in pool.spec.template.env:
        if env.name not in referred and _value(env, recipe) is None:
            return _names_missing(env)
    needed = AUTH_VARIABLES[recipe.auth_choice]
    if needed not in referred and not _given(pool, recipe, {}).get(needed):
        return f"{needed} is empty: set INSTANCE_{needed}, or name it in template.env"
    return None


def _names_missing(env: EnvVar) -> str:
    source = env.value_from
    if source is not None and source.env is not None:
        return f"template.env {env.name}: the controller's environment has no {source.env}"
    return f"template.env {env.name}: secretKeyRef needs Kubernetes records"


def _passed_on(recipe: Recipe) -> dict[str, str]:
    stripped = {k.removeprefix("INSTANCE_"): v for k, v in recipe.instance_variables.items()}
    return {name: value for name, value in stripped.items() if name and not is_reserved(name)}


def _value(env: EnvVar, recipe: Recipe) -> str | None:
    if env.value_from is None:
        return env.value
    return recipe.instance_variables.get(env.value_from.env or "")


def _mac(secret: bytes, label: str) -> str:
    return hmac.new(secret, label.encode(), hashlib.sha256).hexdigest()
