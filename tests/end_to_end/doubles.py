"""Joins what agents heard to what clients were answered: finds doubles and claims that were lost."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def doubles(
    heard: Iterable[Mapping[str, Any]], answers: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Each double in words: an agent that took in two claims' instructions, or an answer that names a
    conversation which its agent does not serve. `answers`: by the agentId that was asked for."""
    found: list[str] = []
    names: dict[str, set[str]] = defaultdict(set)
    conversations: dict[str, set[str]] = defaultdict(set)
    for line in heard:
        if line.get("instructionsSha256"):
            names[line["instanceId"]].add(line["name"])
        if line.get("conversationId"):
            conversations[line["instanceId"]].add(line["conversationId"])
    for instance, told in names.items():
        if len(told) > 1:
            found.append(f"{instance} heard {len(told)} claims: {sorted(told)}")
    for agent_id, answer in answers.items():
        instance = answer["instanceId"]
        if agent_id not in names[instance]:
            found.append(f"{agent_id} was answered with {instance}, which never heard of it")
        if answer["conversationId"] not in conversations[instance]:
            found.append(f"{agent_id} was answered with a conversation that {instance} never made")
    return found + _shared(answers)


def _shared(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    owners: dict[str, list[str]] = defaultdict(list)
    for agent_id, answer in answers.items():
        owners[answer["instanceId"]].append(agent_id)
    return [f"{i} was given to {sorted(who)}" for i, who in owners.items() if len(who) > 1]
