"""What each field of the schema reads: thin, between GraphQL's words and the world's."""

# ruff: noqa: N803 (arguments are named as in the schema)

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphql import GraphQLResolveInfo

from controller.railway.simulator import config as configs
from controller.railway.simulator import deploys
from controller.railway.simulator.holdings import NO_INSTANCE, Refusal
from controller.railway.simulator.ratelimit import Budget
from controller.railway.simulator.scopes import authorize
from controller.railway.simulator.state import (
    Deployment,
    Domain,
    Environment,
    Instance,
    Project,
    Service,
    Token,
    iso,
)
from controller.railway.simulator.world import World

PAGE_MAX = 500
WORKSPACE = "simulated"
Info = GraphQLResolveInfo
Resolver = Callable[..., Any]


@dataclass(slots=True)
class Context:
    """One request: who asks, and what goes wrong for it."""

    world: World
    token: Token | None
    budget: Budget
    half_page: bool = False
    elsewhere: bool = False

    def allow(self, operation: str, **where: str | None) -> World:
        authorize(self.world, self.token, operation, **where)
        return self.world


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment as it stands now."""

    instance: Instance
    deployment: Deployment
    status: str


def seen(world: World, instance: Instance) -> list[Seen]:
    """Newest first."""
    return [Seen(instance, d, status) for d, status in deploys.seen(instance, world.now)]


def page(
    context: Context,
    things: Sequence[Any],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """A Relay connection; the cursor is the id. At most 500 at a time, whatever is asked."""
    ids = [thing.id for thing in things]
    start = ids.index(after) + 1 if after in ids else 0
    stop = ids.index(before) if before in ids else len(ids)
    if last is not None and first is None:
        start = max(start, stop - min(last, PAGE_MAX))
    end = min(stop, start + min(first if first is not None else PAGE_MAX, PAGE_MAX))
    if context.half_page:
        end = start + (end - start) // 2
    edges = [{"cursor": thing.id, "node": thing} for thing in things[start:end]]
    return {
        "edges": edges,
        "pageInfo": {
            "hasNextPage": end < stop or context.half_page,
            "hasPreviousPage": start > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges and not context.half_page else None,
        },
    }


# ---------------------------------------------------------------- queries


def _project_token(_: Any, info: Info) -> Token:
    info.context.allow("projectToken")
    token: Token = info.context.token
    return token


def _api_token(_: Any, info: Info) -> dict[str, Any]:
    world = info.context.allow("apiToken")
    ids = {project.workspace_id for project in world.projects.values()}
    return {"workspaces": [{"id": i, "name": WORKSPACE} for i in sorted(ids)]}


def _workspace(_: Any, info: Info, workspaceId: str) -> dict[str, Any]:
    world = info.context.allow("workspace")
    if all(project.workspace_id != workspaceId for project in world.projects.values()):
        raise Refusal("Not Authorized")
    budget: Budget = info.context.budget
    limit = {
        "remainingPoints": max(0, budget.per_hour - budget.used),
        "resetsAt": iso(budget.resets_at),
    }
    return {"id": workspaceId, "name": WORKSPACE, "apiTokenRateLimit": limit}


def _project(_: Any, info: Info, id: str) -> Project:
    world: World = info.context.allow("project")
    if id not in world.projects:
        raise Refusal("Project not found")
    info.context.allow("project", project=id)
    return world.projects[id]


def _environment(_: Any, info: Info, id: str, projectId: str | None = None) -> Environment:
    world: World = info.context.allow("environment", environment=id, project=projectId)
    asked = world.environments[id]
    return replace(asked, id=world.new_id()) if info.context.elsewhere else asked


def _service(_: Any, info: Info, id: str) -> Service:
    world: World = info.context.allow("service", service=id)
    service = world.services.get(id)
    if service is None or not world.shows(service):
        raise Refusal("Service not found")
    return service


def _shown_instance(world: World, service_id: str, environment_id: str) -> Instance:
    instance = world.instances.get((service_id, environment_id))
    if instance is None or not world.shows(instance):
        raise Refusal(NO_INSTANCE)
    return instance


def _service_instance(_: Any, info: Info, serviceId: str, environmentId: str) -> Instance:
    world = info.context.allow("serviceInstance", service=serviceId, environment=environmentId)
    return _shown_instance(world, serviceId, environmentId)


def _auto_deploy_status(
    _: Any, info: Info, serviceId: str, environmentId: str, projectId: str
) -> dict[str, Any]:
    where = {"service": serviceId, "environment": environmentId, "project": projectId}
    world = info.context.allow("serviceInstanceAutoDeployStatus", **where)
    instance = _shown_instance(world, serviceId, environmentId)
    wired = deploys.source_of(instance.config) is deploys.Source.REPO
    return {
        "canEnable": wired,
        "enabled": wired and instance.auto_deploys,
        "reason": None if wired else "The service has no repository",
    }


def _domains(_: Any, info: Info, **where: str) -> Instance:
    return _service_instance(_, info, where["serviceId"], where["environmentId"])


def _variables(
    _: Any,
    info: Info,
    projectId: str,
    environmentId: str,
    serviceId: str | None = None,
    **_more: Any,
) -> dict[str, str]:
    where = {"service": serviceId, "environment": environmentId, "project": projectId}
    world: World = info.context.allow("variables", **where)
    return world.instance(serviceId, environmentId).variables if serviceId else {}


def _deployment(_: Any, info: Info, id: str) -> Seen:
    world: World = info.context.allow("deployment")
    instance, deployment = world.deployment(id)
    where = {"service": instance.service_id, "environment": instance.environment_id}
    info.context.allow("deployment", **where)
    return next(s for s in seen(world, instance) if s.deployment is deployment)


def _deployments(_: Any, info: Info, input: Mapping[str, Any], **pages: Any) -> dict[str, Any]:
    service, environment = input.get("serviceId"), input.get("environmentId")
    project = input.get("projectId")
    where = {"service": service, "environment": environment, "project": project}
    world: World = info.context.allow("deployments", **where)
    wanted = input.get("status") or {}
    found = [
        _Listed(one.deployment.id, one)
        for instance in world.instances.values()
        if service in (None, instance.service_id)
        and environment in (None, instance.environment_id)
        and world.shows(instance)
        for one in seen(world, instance)
        if one.status in (wanted.get("in") or (one.status,))
        and one.status not in (wanted.get("notIn") or ())
    ]
    connection = page(info.context, found, **pages)
    for edge in connection["edges"]:
        edge["node"] = edge["node"].seen
    return connection


@dataclass(frozen=True, slots=True)
class _Listed:
    id: str
    seen: Seen


def _workflow(_: Any, info: Info, workflowId: str) -> dict[str, Any]:
    world: World = info.context.allow("workflowStatus")
    for environment in world.environments.values():
        if (through_at := environment.patches.get(workflowId)) is not None:
            return {"status": "Complete" if through_at <= world.now else "Running"}
    return {"status": "NotFound"}


# ---------------------------------------------------------------- fields of what there is


def _services(project: Project, info: Info, **pages: Any) -> dict[str, Any]:
    world: World = info.context.world
    every = world.services.values()
    shown = [s for s in every if s.project_id == project.id and world.shows(s)]
    return page(info.context, shown, **pages)


def _environments(project: Project, info: Info, **pages: Any) -> dict[str, Any]:
    wanted = {name: value for name, value in pages.items() if name not in ("isEphemeral", "sort")}
    every = info.context.world.environments.values()
    return page(info.context, [e for e in every if e.project_id == project.id], **wanted)


def _service_instances(environment: Environment, info: Info, **pages: Any) -> dict[str, Any]:
    return page(info.context, info.context.world.listed(environment.id), **pages)


def _base_environment(project: Project, info: Info) -> str | None:
    every = info.context.world.environments.values()
    return next((e.id for e in every if e.project_id == project.id and not e.fork_of), None)


def _deleted_at(instance: Instance, info: Info) -> str | None:
    shown = info.context.world.shown_deleted(instance)
    return iso(instance.deleted_at) if shown and instance.deleted_at is not None else None


def _source(instance: Instance, _: Info) -> dict[str, Any] | None:
    return instance.source or None


def _latest(instance: Instance, info: Info) -> Seen | None:
    return next(iter(seen(info.context.world, instance)), None)


def _active(instance: Instance, info: Info) -> list[Seen]:
    return [one for one in seen(info.context.world, instance) if one.status in deploys.UP]


def _all_domains(instance: Instance, info: Info) -> dict[str, Any]:
    world: World = info.context.world
    shown = [(instance, domain) for domain in instance.domains if world.shows(domain)]
    return {"serviceDomains": shown, "customDomains": []}


def _sync_status(pair: tuple[Instance, Domain], _: Info) -> str:
    return "ACTIVE" if pair[0].gone_at is None else "DELETING"


def _deployment_instances(one: Seen, _: Info) -> list[dict[str, str]]:
    states = {"SUCCESS": "RUNNING", "SLEEPING": "STOPPED", "CRASHED": "CRASHED"}
    state = "EXITED" if one.deployment.process.stopped else states.get(one.status)
    return [{"id": one.deployment.id, "status": state}] if state else []


def _stage_since(one: Seen, info: Info) -> str:
    now = info.context.world.now
    return iso([at for at, _ in one.deployment.stages if at <= now][-1])


def _workspace_of(project: Project, _: Info) -> str:
    return project.workspace_id


def _field(name: str) -> Resolver:
    return lambda instance, _: configs.field_of(instance.config, name)


def _created(thing: Any, _: Info) -> str:
    return iso(thing.created_at)


QUERY: dict[str, Resolver] = {
    "apiToken": _api_token,
    "deployment": _deployment,
    "deployments": _deployments,
    "domains": lambda _, info, **where: _all_domains(_domains(_, info, **where), info),
    "environment": _environment,
    "project": _project,
    "projectToken": _project_token,
    "service": _service,
    "serviceInstance": _service_instance,
    "serviceInstanceAutoDeployStatus": _auto_deploy_status,
    "variables": _variables,
    "workflowStatus": _workflow,
    "workspace": _workspace,
}

FIELDS: dict[str, dict[str, Resolver]] = {
    "Query": QUERY,
    "ProjectToken": {
        "createdAt": _created,
        "environmentId": lambda token, _: token.environment_id,
        "projectId": lambda token, _: token.project_id,
        "name": lambda token, _: token.kind,
    },
    "Project": {
        "createdAt": _created,
        "deletedAt": lambda *_: None,
        "baseEnvironmentId": _base_environment,
        "environments": _environments,
        "services": _services,
        "subscriptionType": lambda *_: "hobby",
        "workspaceId": _workspace_of,
    },
    "Environment": {
        "createdAt": _created,
        "isEphemeral": lambda environment, _: environment.fork_of is not None,
        "projectId": lambda environment, _: environment.project_id,
        "serviceInstances": _service_instances,
    },
    "Service": {
        "createdAt": _created,
        "updatedAt": _created,
        "deletedAt": lambda *_: None,  # A deleted one is not found.
        "projectId": lambda service, _: service.project_id,
    },
    "ServiceInstance": {
        **{name: _field(name) for name in configs.FIELDS},
        "createdAt": _created,
        "updatedAt": _created,
        "deletedAt": _deleted_at,
        "environmentId": lambda instance, _: instance.environment_id,
        "serviceId": lambda instance, _: instance.service_id,
        "serviceName": lambda instance, info: info.context.world.service_of(instance).name,
        "source": _source,
        "latestDeployment": _latest,
        "activeDeployments": _active,
        "domains": _all_domains,
    },
    "ServiceDomain": {
        "id": lambda pair, _: pair[1].id,
        "domain": lambda pair, _: pair[1].host,
        "createdAt": lambda pair, _: iso(pair[1].created_at),
        "environmentId": lambda pair, _: pair[0].environment_id,
        "projectId": lambda pair, info: info.context.world.service_of(pair[0]).project_id,
        "serviceId": lambda pair, _: pair[0].service_id,
        "syncStatus": _sync_status,
        "targetPort": lambda pair, _: pair[1].target_port,
    },
    "Deployment": {
        "id": lambda one, _: one.deployment.id,
        "canRedeploy": lambda one, _: one.status not in deploys.BUSY,
        "createdAt": lambda one, _: iso(one.deployment.created_at),
        "deploymentStopped": lambda one, _: one.deployment.process.stopped,
        "environmentId": lambda one, _: one.instance.environment_id,
        "instances": _deployment_instances,
        "meta": lambda one, _: one.deployment.meta,
        "projectId": lambda one, info: info.context.world.service_of(one.instance).project_id,
        "serviceId": lambda one, _: one.instance.service_id,
        "statusUpdatedAt": _stage_since,
        "updatedAt": _stage_since,
    },
}
