"""The commands that read and write records: apply, get, claim, release, status."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import yaml

from api.manifests import Declared, ManifestError, Manifests, read, together
from api.records import NotFound, Records, RecordsError
from api.records.moving import LISTED_MAX, secret_of
from api.types import AgentClaim, AgentPool, Key, Kind
from controller.cli import exits, store
from controller.cli.applying import Verdict, apply_claim, apply_pool
from controller.cli.claiming import claim_and_wait
from controller.cli.exits import Exit
from controller.cli.exports import annotation_of, export_of
from controller.cli.moving import move_in, moves_in
from controller.cli.show import (
    a_list,
    as_json,
    as_yaml,
    full_name,
    json_of,
    lined_up,
    table,
    yaml_of,
)
from controller.local.filling import describe
from controller.local.state import StateFolder

KINDS = {
    **dict.fromkeys(("pools", "pool", "apool", "agentpool", "agentpools"), "pools"),
    **dict.fromkeys(("claims", "claim", "aclaim", "agentclaim", "agentclaims"), "claims"),
    **dict.fromkeys(
        ("instances", "instance", "ainst", "agentinstance", "agentinstances"), "instances"
    ),
}
SHOWN_CLAIMS = 500


def apply(arguments: argparse.Namespace) -> int:
    given = _read(arguments.filename, store.namespace(arguments))
    return asyncio.run(_apply(arguments, given))


async def _apply(arguments: argparse.Namespace, given: Manifests) -> int:
    """Every record is tried; one that is refused does not stop the others. An import is all or nothing."""
    code = exits.OK
    async with store.records(arguments) as records:
        if await moves_in(records, given):
            await move_in(arguments, records, given)
            return code
        for record in given.records:
            try:
                print(f"{full_name(record)} {await _declare(records, record)}")
            except RecordsError as error:
                print(f"agent-pool: {error}", file=sys.stderr)
                code = exits.FAILED
    return code


async def _declare(records: Records, record: Declared) -> Verdict:
    match record:
        case AgentPool():
            return await apply_pool(records, record)
        case AgentClaim():
            return await apply_claim(records, record)
    return "unchanged"  # An instance of this very store, as it was shown.


def _read(names: Sequence[str], namespace: str) -> Manifests:
    """All manifests of files, folders and standard input; every problem of all of them at once."""
    given: list[Manifests] = []
    problems: list[str] = []
    for source, data in _files(names):
        try:
            given.append(read(_utf8(data, source), source, namespace))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return together(given)


def _files(names: Sequence[str]) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for name in names:
        if name == "-":
            found.append(("standard input", sys.stdin.buffer.read()))
            continue
        path = Path(name)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        wanted = [f for f in files if f == path or f.suffix in (".yaml", ".yml", ".json")]
        if not wanted:
            raise Exit(exits.USAGE, f"{name}: holds no .yaml, .yml or .json")
        found += [(str(file), file.read_bytes()) for file in wanted]
    return found


def _utf8(data: bytes, source: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ManifestError([f"{source}: is not UTF-8"]) from None


# ---------------------------------------------------------------- get


def get(arguments: argparse.Namespace) -> int:
    wanted = []
    for word in arguments.kinds.lower().split(","):
        if word not in KINDS:
            raise Exit(exits.USAGE, f"{word!r} is none of pools, claims, instances")
        wanted.append(KINDS[word])
    kinds = list(dict.fromkeys(wanted))
    whole = set(kinds) == set(KINDS.values()) and not arguments.names
    exported = whole and arguments.output in ("json", "yaml")
    if arguments.installation and not exported:
        said = "--installation goes with pools,claims,instances and -o yaml or json"
        raise Exit(exits.USAGE, said)
    return asyncio.run(_export(arguments, kinds) if exported else _get(arguments, kinds))


async def _export(arguments: argparse.Namespace, kinds: Sequence[str]) -> int:
    """All of a store, with what an import must know of it."""
    namespace, more = store.namespace(arguments), []
    async with store.records(arguments) as records:
        since = await records.now()
        found = [r for kind in kinds for r in await _all(records, kind, namespace, LISTED_MAX)]
        kind = store.settings(arguments).kind
        try:
            meta = annotation_of(await export_of(records, kind, namespace, found, since))
        except RecordsError as error:
            print(f"agent-pool: these records cannot be moved: {error}", file=sys.stderr)
            meta = None
        if arguments.installation:
            more = [secret_of(await records.installation())]
    wire = a_list(found, meta, *more)
    print(json_of(wire) if arguments.output == "json" else yaml_of(wire))
    return exits.OK


async def _get(arguments: argparse.Namespace, kinds: Sequence[str]) -> int:
    namespace = store.namespace(arguments)
    async with store.records(arguments) as records:
        if arguments.names:
            keys = [Key(namespace, name) for name in arguments.names]
            found = [await _one(records, kind)(key) for kind in kinds for key in keys]
        else:
            most = SHOWN_CLAIMS if arguments.output in ("table", "name") else LISTED_MAX
            found = [r for kind in kinds for r in await _all(records, kind, namespace, most)]
        now = await records.now()
    one = len(arguments.names) == 1 and len(kinds) == 1
    match arguments.output:
        case "json":
            print(as_json(found, one=one))
        case "yaml":
            print(as_yaml(found, one=one))
        case "name":
            print("\n".join(full_name(record) for record in found), end="\n" if found else "")
        case _:
            by_kind = [[r for r in found if KINDS[r.kind.lower()] == kind] for kind in kinds]
            print(
                "\n\n".join(table(rs, now) for rs in by_kind if rs)
                or f"none in namespace {namespace}"
            )
    return exits.OK


def _one(records: Records, kind: str) -> Callable[[Key], Coroutine[Any, Any, Kind]]:
    read: dict[str, Callable[[Key], Coroutine[Any, Any, Kind]]] = {
        "pools": records.pool,
        "claims": records.claim,
        "instances": records.instance,
    }
    return read[kind]


async def _all(records: Records, kind: str, namespace: str, most: int) -> Sequence[Kind]:
    """`most`: so many claims, the newest."""
    if kind == "claims":
        newest = await records.list_claims(namespace, most + 1)
        if len(newest) > most:
            print(f"agent-pool: only the newest {most} claims are shown", file=sys.stderr)
        return newest[:most]
    found: Sequence[Kind] = await records.pools() if kind == "pools" else await records.instances()
    return [record for record in found if record.metadata.namespace == namespace]


# ---------------------------------------------------------------- claim, release


def claim(arguments: argparse.Namespace) -> int:
    return asyncio.run(claim_and_wait(arguments))


def release(arguments: argparse.Namespace) -> int:
    return asyncio.run(_release(arguments))


async def _release(arguments: argparse.Namespace) -> int:
    namespace = store.namespace(arguments)
    code = exits.OK
    async with store.records(arguments) as records:
        for name in arguments.names:
            try:
                await records.delete_claim(await records.claim(Key(namespace, name)))
                print(f"agentclaim/{name} released")
            except RecordsError as error:
                print(f"agent-pool: {error}", file=sys.stderr)
                code = exits.NOT_FOUND if isinstance(error, NotFound) else exits.FAILED
    return code


# ---------------------------------------------------------------- status


def status(arguments: argparse.Namespace) -> int:
    return asyncio.run(_status(arguments))


async def _status(arguments: argparse.Namespace) -> int:
    """What runs here, and the pools of the store; 1 where there is neither."""
    folder = StateFolder(Path(arguments.state))
    running, pid = folder.read_running(), folder.holder()
    here = {"pid": pid, "api": running.api, "logs": str(folder.logs)} if running and pid else None
    if here is None and not store.is_named(arguments):
        print(f"nothing runs in {folder.folder}")
        return exits.FAILED
    namespace = store.namespace(arguments)
    async with store.records(arguments) as records:
        pools = [pool for pool in await records.pools() if pool.metadata.namespace == namespace]
    said = {"running": here, "pools": [pool.wire() for pool in pools]}
    match arguments.output:
        case "json":
            print(json.dumps(said, indent=2))
        case "yaml":
            print(yaml.safe_dump(said, sort_keys=False), end="")
        case "name":
            print("".join(f"{full_name(pool)}\n" for pool in pools), end="")
        case _:
            rows = [[name, str(value)] for name, value in (here or {}).items()]
            print(lined_up(rows) if rows else f"nothing runs in {folder.folder}")
            print("\n".join(describe(pool) for pool in pools) or "no pools")
    return exits.OK
