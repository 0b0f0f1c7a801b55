"""Conditions as Kubernetes means them: a list keyed by type, whose times move only when a status flips."""

from collections.abc import Iterable

from api.types import Condition


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, if it was ever set."""
    for each in conditions:  # A generator would take twice as long, and this is asked all the time.
        if each.type == kind:
            return each
    return None


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of that type stands and is True."""
    found = condition(conditions, kind)
    return found is not None and found.status == "True"


def with_condition(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """The same conditions with `new` in its place; its time is kept when its status did not flip."""
    old = condition(conditions, new.type)
    if old is not None and old.status == new.status:
        new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    if old is None:
        return (*conditions, new)
    return tuple(new if c.type == new.type else c for c in conditions)
