"""Names that a person can search for and a program can trust: each carries the instance's id."""

import re
import string
from collections.abc import Sequence
from typing import Protocol

ID_LENGTH = 8
SERVICE_NAME_MAX = 32  # Railway refuses longer names (its docs, services.md).
_LETTERS = string.ascii_lowercase
_LETTERS_AND_DIGITS = _LETTERS + string.digits


class Chooser(Protocol):
    """The one thing needed of `random.Random` or `secrets.SystemRandom`."""

    def choice(self, seq: Sequence[str]) -> str: ...


def new_id(rng: Chooser) -> str:
    """8 of [a-z0-9], the first a letter: an instance's name, and the end of its service's name."""
    tail = "".join(rng.choice(_LETTERS_AND_DIGITS) for _ in range(ID_LENGTH - 1))
    return rng.choice(_LETTERS) + tail


def service_name(prefix: str, instance_id: str) -> str:
    return f"{prefix}{instance_id}"


def claimed_name(prefix: str, agent_id: str, instance_id: str) -> str:
    """`<prefix><slug of agentId>-<id>`, at most 32 characters; without a slug the first name."""
    room = SERVICE_NAME_MAX - len(prefix) - 1 - len(instance_id)
    slug = re.sub(r"[^a-z0-9]+", "-", agent_id.lower()).strip("-")[:room].rstrip("-")
    return f"{prefix}{slug}-{instance_id}" if slug else service_name(prefix, instance_id)
