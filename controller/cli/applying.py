"""What `apply` does with one declared record: create it, change what is declared, or leave it."""

from typing import Literal

from api.records import AlreadyExists, Conflict, Invalid, NotFound, Records
from api.types import AgentClaim, AgentPool, PoolSpec, key_of

Verdict = Literal["created", "configured", "unchanged"]
ATTEMPTS = 5  # Somebody else may write in between, as often as that.


async def apply_pool(records: Records, declared: AgentPool) -> Verdict:
    """Raises RecordsError."""
    for _ in range(ATTEMPTS):
        try:
            try:
                current = await records.pool(key_of(declared))
            except NotFound:
                await records.create_pool(declared)
                return "created"
            wanted = merged(current, declared)
            if wanted == current:
                return "unchanged"
            await records.replace_pool(wanted)
        except (AlreadyExists, Conflict, NotFound):
            continue
        return "configured"
    raise Conflict(
        f"agentpool/{declared.metadata.name} is being changed by somebody else; try again"
    )


async def apply_claim(records: Records, declared: AgentClaim) -> Verdict:
    """A claim is written once. Raises RecordsError, Invalid where another of that name is there."""
    (result,) = await records.create_claims([declared])
    if isinstance(result, AgentClaim):
        return "created"
    if not isinstance(result, AlreadyExists):
        raise result
    current = await records.claim(key_of(declared))
    if _says_the_same(current, declared):
        return "unchanged"
    problem = "exists, and a claim cannot be changed: release it, or choose another name"
    raise Invalid(f"agentclaim/{declared.metadata.name} {problem}")


def merged(current: AgentPool, declared: AgentPool) -> AgentPool:
    """The current record with each field of spec, label and annotation that the manifest names."""
    named = declared.spec.model_fields_set
    spec = {name: getattr(current.spec, name) for name in PoolSpec.model_fields}
    spec |= {name: getattr(declared.spec, name) for name in named}
    try:
        whole = PoolSpec(**spec)
    except ValueError as error:
        raise Invalid(_merge_problem(declared, error)) from None
    return current.model_copy(
        update={
            "spec": whole,
            "metadata": current.metadata.model_copy(
                update={
                    "labels": {**current.metadata.labels, **declared.metadata.labels},
                    "annotations": {
                        **current.metadata.annotations,
                        **declared.metadata.annotations,
                    },
                }
            ),
        }
    )


def _merge_problem(declared: AgentPool, error: ValueError) -> str:
    said = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
    rule = said.removeprefix("Value error, ").split(" [type=")[0]
    return f"agentpool/{declared.metadata.name}: together with what is there, {rule}"


def _says_the_same(current: AgentClaim, declared: AgentClaim) -> bool:
    fields = declared.spec.model_fields_set
    return (
        all(getattr(current.spec, f) == getattr(declared.spec, f) for f in fields)
        and declared.metadata.labels.items() <= current.metadata.labels.items()
        and declared.metadata.annotations.items() <= current.metadata.annotations.items()
    )
