"""`apply` of records with a status: whether they may move in, from where their secret comes, and the move."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.manifests import Manifests
from api.records import Installation, NotFound, Records, RecordsError
from api.records.moving import Moving
from api.records.opening import moving_of, open_records
from api.settings import SettingError
from api.types import AgentClaim, AgentInstance, AgentPool, Kind, key_of
from controller.cli import exits, store
from controller.cli.exits import Exit
from controller.cli.exports import FRESH, HELD, Export, export_in, in_charge
from controller.cli.importing import Import

_STOP = (
    "stop it (end `agent-pool controller`, or scale its deployment to 0), wait"
    f" {HELD.total_seconds():.0f} s if it was killed, and run both commands again"
)


async def moves_in(records: Records, given: Manifests) -> bool:
    """Whether it is an import: a record has a status, and is none of this very store."""
    told = [r for r in given.records if (r.kind, key_of(r)) in given.with_status]
    for record in told:
        if not record.metadata.uid or await _uid_here(records, record) != record.metadata.uid:
            return True
    return False


async def _uid_here(records: Records, record: Kind) -> str:
    try:
        match record:
            case AgentPool():
                return (await records.pool(key_of(record))).metadata.uid
            case AgentClaim():
                return (await records.claim(key_of(record))).metadata.uid
            case AgentInstance():
                return (await records.instance(key_of(record))).metadata.uid
    except NotFound:
        return ""


async def move_in(arguments: argparse.Namespace, records: Records, given: Manifests) -> None:
    """All of it, or a refusal before anything is written. Raises Exit, RecordsError."""
    export, moving = export_in(given.exports), moving_of(records)
    refuse_what_is_not_whole(export, given.records)
    if arguments.namespace not in (None, export.namespace):
        said = f"the export is of namespace {export.namespace}, which the services are marked with"
        raise Exit(exits.FAILED, f"{said}: leave -n out")
    if (age := await records.now() - export.read_until) > FRESH:
        minutes = age.total_seconds() / 60
        raise Exit(exits.FAILED, f"the export is {minutes:.0f} minutes old: run `get` again")
    _refuse_if_led(in_charge(export.leads, export.read_until, export.read_from))
    async with _source(arguments, export) as source:
        if source is not None:
            _refuse_if_led(in_charge(await moving_of(source).leads(), await source.now()))
        installation = await _installation(export, given, source, records)
        work = Import(records, moving, given.records)
        await work.look()
        await _adopt(records, moving, installation)
    await work.run()


def refuse_what_is_not_whole(export: Export, records: tuple[Kind, ...]) -> None:
    """Raises Exit."""
    if len(records) != export.records:
        said = f"the export was of {export.records} records, and {len(records)} are here"
        raise Exit(exits.FAILED, f"{said}: apply all of it, as `get` printed it")
    elsewhere = {r.metadata.namespace for r in records} - {export.namespace}
    if elsewhere or not all(r.metadata.uid for r in records):
        raise Exit(exits.FAILED, "the export was changed: apply it as `get` printed it")


def _refuse_if_led(who: str | None) -> None:
    if who is not None:
        raise Exit(exits.FAILED, f"the controller of the source still runs ({who}): {_STOP}")


# ---------------------------------------------------------------- which installation


async def _installation(
    export: Export, given: Manifests, source: Records | None, records: Records
) -> Installation:
    """The one that was exported: from the export, from its store, or here already. Raises Exit."""
    if given.installation is not None and export.is_of(given.installation):
        return given.installation
    if source is not None:
        return await source.installation()
    if (here := await _installation_of(records)) is not None and export.is_of(here):
        return here
    variable = "DATABASE_URL" if export.store == "postgres" else "KUBECONFIG"
    raise Exit(
        exits.FAILED,
        "the secret of the installation is not in the export, and its store is not found from here:"
        f" set {variable} for `apply` too, or add --installation to `get`, which prints it",
    )


async def _installation_of(records: Records) -> Installation | None:
    try:
        return await records.installation()
    except RecordsError:
        return None


async def _adopt(records: Records, moving: Moving, installation: Installation) -> None:
    """Who leads here as somebody else would go on as that one."""
    here = await _installation_of(records)
    if here == installation:
        return
    if here is not None and (who := in_charge(await moving.leads(), await records.now())):
        said = f"a controller of another installation runs here ({who}): stop it"
        raise Exit(exits.FAILED, f"{said}, and start it again after the import")
    if await moving.adopt(installation):
        print("installation adopted")


@asynccontextmanager
async def _source(arguments: argparse.Namespace, export: Export) -> AsyncIterator[Records | None]:
    """The store that was exported, if it is found from here."""
    opened = await _opened(arguments, export)
    try:
        yield opened
    finally:
        if opened is not None:
            await opened.close()


async def _opened(arguments: argparse.Namespace, export: Export) -> Records | None:
    here = store.settings(arguments)
    told = argparse.Namespace(database_url="", records=export.store, state=arguments.state)
    try:
        there = store.settings(told)
        if there.kind != export.store or there == here:
            return None
        home = arguments.home or export.namespace
        found = await open_records(there, scope=export.namespace, home=home)
    except (SettingError, RecordsError):
        return None
    installation = await _installation_of(found)
    if installation is not None and export.is_of(installation):
        return found
    await found.close()
    return None
