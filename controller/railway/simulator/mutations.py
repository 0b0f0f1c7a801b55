"""What each mutation does: who may, then the world's rule for it."""

# ruff: noqa: N803 (arguments are named as in the schema)

import re
from collections.abc import Mapping
from typing import Any

from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.resolvers import Context, Info, Resolver, Seen, seen
from controller.railway.simulator.state import Deployment, Domain, Instance, Service
from controller.railway.simulator.world import World

Input = Mapping[str, Any]
COMMIT = re.compile(r"[0-9a-f]{40}")  # Of such, any counts as there.


def _service_create(_: Any, info: Info, input: Input) -> Service:
    project, environment = input["projectId"], input.get("environmentId")
    world: World = info.context.allow("serviceCreate", project=project, environment=environment)
    named = (input.get("name"), input.get("source"), input.get("variables"))
    return world.create_service(project, environment, *named)


def _service_update(_: Any, info: Info, id: str, input: Input) -> Service:
    world: World = info.context.allow("serviceUpdate", service=id)
    name = input.get("name")
    return world.service(id) if name is None else world.rename_service(id, name)


def _service_delete(_: Any, info: Info, id: str, environmentId: str | None = None) -> bool:
    world = info.context.allow("serviceDelete", service=id, environment=environmentId)
    world.delete_service(id, environmentId)
    return True


def _service_connect(_: Any, info: Info, id: str, input: Input) -> Service:
    world: World = info.context.allow("serviceConnect", service=id)
    return world.connect(id, input)


def _service_disconnect(_: Any, info: Info, id: str) -> Service:
    world: World = info.context.allow("serviceDisconnect", service=id)
    return world.disconnect(id)


def _domain_create(_: Any, info: Info, input: Input) -> tuple[Instance, Domain]:
    service, environment = input["serviceId"], input["environmentId"]
    world = info.context.allow("serviceDomainCreate", service=service, environment=environment)
    domain = world.create_domain(service, environment, input.get("targetPort"))
    return world.instance(service, environment), domain


def _domain_delete(_: Any, info: Info, id: str) -> bool:
    world: World = info.context.allow("serviceDomainDelete")
    instance, _domain = world.domain(id)
    info.context.allow("serviceDomainDelete", service=instance.service_id)
    world.delete_domain(id)
    return True


def _instance_update(
    _: Any, info: Info, serviceId: str, input: Input, environmentId: str | None = None
) -> bool:
    where = {"service": serviceId, "environment": environmentId}
    world: World = info.context.allow("serviceInstanceUpdate", **where)
    return world.update_instance(serviceId, environmentId, input)


def _instance(info: Info, operation: str, where: Input) -> Instance:
    """The instance that a mutation names, for who may."""
    service, environment = where["serviceId"], where["environmentId"]
    project = where.get("projectId")
    world: World = info.context.allow(
        operation, service=service, environment=environment, project=project
    )
    return world.instance(service, environment)


def _deploy(_: Any, info: Info, **where: Any) -> str:
    instance = _instance(info, "serviceInstanceDeploy", where)
    if where.get("commitSha") is not None and not COMMIT.fullmatch(where["commitSha"]):
        raise Refusal("Commit not found")
    made: Deployment = info.context.world.deploy(instance, "deploy")
    return made.id


def _redeploy(_: Any, info: Info, **where: Any) -> bool:
    info.context.world.redeploy(_instance(info, "serviceInstanceRedeploy", where))
    return True


def _triggers_deploy(_: Any, info: Info, input: Input) -> bool:
    instance = _instance(info, "environmentTriggersDeploy", input)
    info.context.world.deploy(instance, "triggersDeploy")
    return True


def _auto_deploy(_: Any, info: Info, input: Input) -> dict[str, bool]:
    _instance(info, "serviceInstanceAutoDeployUpdate", input)
    where = (input["serviceId"], input["environmentId"], input["enabled"])
    return {"enabled": info.context.world.set_auto_deploy(*where)}


def _variables_upsert(_: Any, info: Info, input: Input) -> bool:
    """One variable, or many; without a service they are shared ones, which we do not keep."""
    if input.get("serviceId") is None:
        raise Refusal("Problem processing request")
    _instance(info, "variableUpsert", input)
    values = input["variables"] if "variables" in input else {input["name"]: input["value"]}
    info.context.world.upsert_variables(
        input["serviceId"],
        input["environmentId"],
        values,
        replace=bool(input.get("replace")),
        skip_deploys=bool(input.get("skipDeploys")),
    )
    return True


def _variable_delete(_: Any, info: Info, input: Input) -> bool:
    _instance(info, "variableDelete", input)
    where = (input["serviceId"], input["environmentId"], input["name"])
    info.context.world.delete_variable(*where)
    return True


def _patch_commit(
    _: Any, info: Info, environmentId: str, patch: Input | None = None, **_more: Any
) -> str:
    world: World = info.context.allow("environmentPatchCommit", environment=environmentId)
    return world.patch(environmentId, patch or {})


def _trigger_create(_: Any, info: Info, input: Input) -> dict[str, Any]:
    """Speaks only of later pushes: nothing is deployed now."""
    _instance(info, "deploymentTriggerCreate", input)
    return {**input, "id": info.context.world.new_id()}


def _own(info: Info, operation: str, id: str) -> Instance:
    """The instance of a deployment, for who may."""
    context: Context = info.context
    context.allow(operation)
    instance, _ = context.world.deployment(id)
    context.allow(operation, service=instance.service_id, environment=instance.environment_id)
    return instance


def _ending(effect: str) -> Resolver:
    def end(_: Any, info: Info, id: str) -> bool:
        _own(info, effect, id)
        info.context.world.end_deployment(id, "REMOVED", effect)
        return True

    return end


def _deployment_stop(_: Any, info: Info, id: str) -> bool:
    _own(info, "deploymentStop", id)
    info.context.world.stop_deployment(id)
    return True


def _deployment_restart(_: Any, info: Info, id: str) -> bool:
    instance = _own(info, "deploymentRestart", id)
    world: World = info.context.world
    world.restart(instance, world.deployment(id)[1])
    return True


def _deployment_redeploy(_: Any, info: Info, id: str, **_more: Any) -> Seen:
    instance = _own(info, "deploymentRedeploy", id)
    world: World = info.context.world
    made = world.redeploy(instance)
    return next(s for s in seen(world, instance) if s.deployment is made)


FIELDS: dict[str, dict[str, Resolver]] = {
    "Mutation": {
        "deploymentCancel": _ending("deploymentCancel"),
        "deploymentRedeploy": _deployment_redeploy,
        "deploymentRemove": _ending("deploymentRemove"),
        "deploymentRestart": _deployment_restart,
        "deploymentStop": _deployment_stop,
        "deploymentTriggerCreate": _trigger_create,
        "environmentPatchCommit": _patch_commit,
        "environmentTriggersDeploy": _triggers_deploy,
        "serviceConnect": _service_connect,
        "serviceCreate": _service_create,
        "serviceDelete": _service_delete,
        "serviceDisconnect": _service_disconnect,
        "serviceDomainCreate": _domain_create,
        "serviceDomainDelete": _domain_delete,
        "serviceInstanceAutoDeployUpdate": _auto_deploy,
        "serviceInstanceDeploy": lambda *a, **where: bool(_deploy(*a, **where)),
        "serviceInstanceDeployV2": _deploy,
        "serviceInstanceRedeploy": _redeploy,
        "serviceInstanceUpdate": _instance_update,
        "serviceUpdate": _service_update,
        "variableCollectionUpsert": _variables_upsert,
        "variableDelete": _variable_delete,
        "variableUpsert": _variables_upsert,
    },
}
