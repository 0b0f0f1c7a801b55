"""`agent-pool claim`: write a claim, wait until it has ended, show the invite."""

import argparse
import asyncio
import io
import re
import secrets
import sys
import time
from pathlib import Path

import qrcode
from pydantic import ValidationError

from api.conditions import condition
from api.manifests import dotted, rule
from api.records import Records
from api.scalars import parse_duration
from api.types import AgentClaim, ClaimPhase, key_of
from controller.cli import exits, store
from controller.cli.exits import Exit
from controller.cli.show import as_json, as_yaml, full_name
from controller.local.progress import Progress

LOOK_AGAIN_S = 0.15
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


async def claim_and_wait(arguments: argparse.Namespace) -> int:
    """Exit code: 0 Ready (or not waited for), 1 Failed, 5 not ended in time: it goes on."""
    declared = a_claim(arguments, store.namespace(arguments))
    wait_s = _seconds(arguments.wait)
    async with store.records(arguments) as records:
        (created,) = await records.create_claims([declared])
        if isinstance(created, Exception):
            raise created
        claim = await ended(records, created, wait_s)
    _show(claim, arguments)
    if claim.status.phase is ClaimPhase.FAILED:
        raise Exit(exits.FAILED, f"{full_name(claim)} failed: {why(claim)}")
    if wait_s and not claim.ended:
        mend = f"it goes on: agent-pool get claims {claim.metadata.name}"
        raise Exit(
            exits.TIMED_OUT,
            f"{full_name(claim)} is {claim.status.phase} after {wait_s:g} s; {mend}",
        )
    return exits.OK


def a_claim(arguments: argparse.Namespace, namespace: str) -> AgentClaim:
    """What the arguments ask for. Raises Exit that names the argument; never shows instructions."""
    spec = {
        "poolRef": {"name": arguments.pool},
        "agentId": arguments.agent_id,
        "instructions": _instructions(arguments),
        "joinUrl": arguments.join_url,
        "timeout": arguments.timeout,
        "onEmpty": arguments.on_empty,
        "reclaimPolicy": arguments.reclaim_policy,
    }
    name = arguments.name or _name_for(arguments.agent_id)
    data = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    try:
        return AgentClaim.model_validate(data, strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        where = dotted(tuple(problem["loc"]))
        raise Exit(exits.USAGE, f"{where}: {rule(problem, AgentClaim)}") from None


async def ended(records: Records, claim: AgentClaim, wait_s: float) -> AgentClaim:
    """The claim once it has ended, or as it stands when the time is over. Raises Exit if released."""
    progress = Progress(sys.stderr)
    deadline = time.monotonic() + wait_s
    frame = 0
    while not claim.ended and time.monotonic() < deadline:
        if sys.stderr.isatty():
            frame += 1
            progress.live(
                f"{_SPINNER[frame % len(_SPINNER)]} {full_name(claim)}: {claim.status.phase}"
            )
        await asyncio.sleep(LOOK_AGAIN_S)
        found = await records.claims([key_of(claim)])
        if not found or found[0].metadata.uid != claim.metadata.uid:
            raise Exit(exits.NOT_FOUND, f"{full_name(claim)} was released meanwhile")
        claim = found[0]
    progress.clear()
    return claim


def qr(text: str) -> str:
    """The text as a QR code of half-block characters, dark on light whatever the terminal's colours."""
    code = qrcode.QRCode(border=2)
    code.add_data(text)
    out = io.StringIO()
    code.print_ascii(out, invert=True)
    return out.getvalue().rstrip("\n")


def why(claim: AgentClaim) -> str:
    found = condition(claim.status.conditions, "Stalled") or condition(
        claim.status.conditions, "Ready"
    )
    return f"{found.reason}: {found.message}".rstrip(": ") if found else "no reason is given"


def _show(claim: AgentClaim, arguments: argparse.Namespace) -> None:
    match arguments.output:
        case "json":
            print(as_json([claim], one=True))
        case "yaml":
            print(as_yaml([claim], one=True))
        case "name":
            print(full_name(claim))
        case _:
            _show_to_a_person(claim, with_qr=not arguments.no_qr)


def _show_to_a_person(claim: AgentClaim, *, with_qr: bool) -> None:
    said = {
        "claim": claim.metadata.name,
        "phase": claim.status.phase,
        "instance": claim.status.instance.name if claim.status.instance else None,
        "conversation": claim.status.conversation_id,
        "invite": claim.status.invite_url,
    }
    print("\n".join(f"{name:13}{value}" for name, value in said.items() if value))
    if with_qr and claim.status.invite_url:
        print(qr(claim.status.invite_url))


def _instructions(arguments: argparse.Namespace) -> str:
    source = arguments.instructions_file
    if source is None:
        return str(arguments.instructions)
    try:
        if source == "-":
            return sys.stdin.buffer.read().decode()
        return Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Exit(exits.USAGE, "--instructions-file: is not UTF-8 text") from None


def _name_for(agent_id: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", agent_id.lower()).strip("-")[:40] or "claim"
    return f"{slug}-{secrets.token_hex(3)}"


def _seconds(text: str) -> float:
    try:
        return float(text) if text.isdigit() else parse_duration(text).total_seconds()
    except ValueError as error:
        raise Exit(exits.USAGE, f"--wait: {error}") from None
