"""The controller as a process: settings become ports, ports become a controller, signals end it."""

import asyncio
import logging
import random
import secrets
import signal
import time
from datetime import UTC, datetime
from importlib.metadata import version

from api.kubernetes.reflector import Feed, reflect
from api.ops import serve_ops
from api.records import Installation, Records
from api.records.opening import open_or_refuse
from api.settings import SettingError
from api.types import RailwayRef
from controller import template
from controller.agents_http import HttpAgents
from controller.declared import declare
from controller.leading import Controller
from controller.metrics import registry_of
from controller.railway import NotAuthorized, Railway, RailwayError
from controller.railway.client import RailwayClient
from controller.settings import ControllerSettings
from controller.template import Recipe
from controller.term import Charge, Limits, Ports

log = logging.getLogger(__name__)


async def run(settings: ControllerSettings) -> None:
    """Until SIGTERM or SIGINT. Raises SettingError where it must not start; nothing is touched then."""
    where = _where(settings)
    railway = RailwayClient(
        where.endpoint,
        settings.railway_token,
        where.project_id,
        where.environment_id,
        clock=lambda: datetime.now(UTC),
    )
    records = await open_or_refuse(settings.store, scope=settings.scope, feed=_feed(settings))
    agents = HttpAgents(
        schemes=frozenset({settings.agent_scheme}), provision_timeout_s=settings.handover_timeout_s
    )
    try:
        await _refuse_another_railway(records, railway, where)
        await declare(records, settings)
        charge = _charge(settings, where, await records.installation())
        ports = Ports(records, railway, agents, time.monotonic, random.SystemRandom())
        await _serve(Controller(ports, charge), settings)
    finally:
        for port in (agents, railway, records):
            await port.close()


async def _serve(controller: Controller, settings: ControllerSettings) -> None:
    try:
        ops = await serve_ops(
            settings.host,
            settings.ops_port,
            ready=lambda: controller.elector.trouble,
            registry=registry_of(controller),
            version=version("agent-pool"),
        )
    except OSError:
        problem = f"cannot listen on {settings.host}:{settings.ops_port}"
        raise SettingError(
            "CONTROLLER_OPS_PORT", f"{problem}; is it taken? Choose another."
        ) from None
    running = asyncio.create_task(controller.run())
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, running.cancel)
    log.info("the controller runs")
    try:
        await running
    except asyncio.CancelledError:
        log.info("the controller stops")
    finally:
        await ops.cleanup()


def _feed(settings: ControllerSettings) -> Feed:
    if settings.store.kind == "postgres":
        return reflect  # Never asked for.
    from controller.kopf_feed import KopfFeed  # A third of a second and 30 MB, where it is needed.

    return KopfFeed(settings.scope)


def _where(settings: ControllerSettings) -> RailwayRef:
    for name, value in (
        ("RAILWAY_PROJECT_ID", settings.railway_project_id),
        ("RAILWAY_ENVIRONMENT_ID", settings.railway_environment_id),
    ):
        if not value:
            raise SettingError(name, "is missing: set it to the id that Railway's dashboard shows")
    return RailwayRef(
        endpoint=settings.railway_endpoint,
        project_id=settings.railway_project_id or "",
        environment_id=settings.railway_environment_id or "",
    )


async def _refuse_another_railway(records: Records, railway: Railway, where: RailwayRef) -> None:
    """The records name the Railway that their instances live in: never act in another."""
    instances = await records.instances()
    for instance in instances:
        there = instance.spec.railway
        for name, ours, theirs in (
            ("RAILWAY_ENDPOINT", where.endpoint, there.endpoint),
            ("RAILWAY_PROJECT_ID", where.project_id, there.project_id),
            ("RAILWAY_ENVIRONMENT_ID", where.environment_id, there.environment_id),
        ):
            if ours != theirs:
                problem = f"is {ours}, but the records' instances live in {theirs}"
                raise SettingError(name, f"{problem}; set it back, or choose another store")
    try:
        await railway.probe()
    except NotAuthorized as error:
        if not instances:  # With instances, claiming goes on; the pools' status says what is wrong.
            raise SettingError("RAILWAY_API_TOKEN", str(error)) from None
    except RailwayError as error:
        log.warning("Railway does not answer yet: %s", type(error).__name__)


def _charge(settings: ControllerSettings, where: RailwayRef, installation: Installation) -> Charge:
    recipe = Recipe(
        owner_id=installation.owner_id,
        secrets=settings.instance_secrets(installation.instance_secret),
        instance_variables=settings.instance_variables,
        auth_choice=settings.auth_choice,
        has_secrets=settings.store.kind == "kubernetes",
    )
    limits = Limits(
        tick_s=settings.tick_interval_s,
        probe_idle_every_s=settings.probe_interval_s,
        handover_timeout_s=settings.handover_timeout_s,
        calls_at_once=settings.handover_concurrency,
        creates_at_once=settings.create_concurrency,
    )
    for name in recipe.ignored:
        log.warning("%s reaches no instance: what it would set is ours", name)
    log.debug("keys are made with secret %s", template.key_id(recipe.secret))
    return Charge(
        me=f"controller-{secrets.token_hex(6)}",
        recipe=recipe,
        where=where,
        limits=limits,
        scheme=settings.agent_scheme,
    )
