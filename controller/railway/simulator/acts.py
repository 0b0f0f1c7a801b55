"""What people do to a project by hand, behind our back: `POST /_acts {act, ...}`.

| act | fields | what happens |
|---|---|---|
| `create-service` | `name`, `image` or `repo`, `variables` | a service that nobody of ours made |
| `delete-service` | `service` (id or name) | as in the dashboard |
| `rename-service` | `service`, `name` | as in the dashboard |
| `push-repo` | `repo` | each service of that repository with auto-deploy on is deployed |
| `deploy-service` | `service` | as in the dashboard |
| `use-agent` | `service` | a stranger provisions the agent |
| `restart-agent` | `service` | its program starts anew and remembers nothing |
| `crash-agent` | `service` | its deployment is CRASHED |
| `exit-agent` | `service` | its program ends with 0: the deployment stays SUCCESS, stopped |
| `sleep-agent` | `service` | its deployment is SLEEPING until traffic wakes it |
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.railway.simulator import deploys
from controller.railway.simulator.deploys import Source, source_of
from controller.railway.simulator.holdings import Refusal
from controller.railway.simulator.house import AgentHouse, Reached
from controller.railway.simulator.state import Service
from controller.railway.simulator.world import World

Fields = Mapping[str, Any]
Said = dict[str, Any]


class Acts:
    """Raises Refusal, and KeyError for a field that is missing."""

    def __init__(self, world: World, house: AgentHouse | None) -> None:
        self._world, self._house = world, house
        self._table: dict[str, Callable[[Fields], Said]] = {
            "create-service": self._create,
            "delete-service": self._delete,
            "rename-service": self._rename,
            "push-repo": self._push,
            "deploy-service": self._deploy,
            "use-agent": self._use,
            "restart-agent": self._restart,
            "crash-agent": lambda fields: self._end(fields, "CRASHED"),
            "sleep-agent": lambda fields: self._end(fields, "SLEEPING"),
            "exit-agent": self._exit,
        }

    def do(self, fields: Fields) -> Said:
        act = self._table.get(str(fields.get("act")))
        if act is None:
            raise Refusal(f"unknown act; known are {', '.join(sorted(self._table))}")
        return {"ok": True, **act(fields)}

    def _named(self, fields: Fields) -> Service:
        wanted = str(fields["service"])
        for service in self._world.services.values():
            if wanted in (service.id, service.name) and service.gone_at is None:
                return service
        raise Refusal("no such service")

    def _running(self, fields: Fields) -> Reached:
        """The deployment that serves the named service in the first environment it is in."""
        service = self._named(fields)
        for instance in self._world.instances_of(service.id):
            served = deploys.serving(instance, self._world.now)
            if served is not None and instance.domains:
                return Reached(self._world.now, service, instance, instance.domains[0], *served)
        raise Refusal("nothing of it runs under a domain")

    def _create(self, fields: Fields) -> Said:
        source = {kind: fields[kind] for kind in ("image", "repo") if kind in fields}
        project_id = next(iter(self._world.projects))
        variables = fields.get("variables")
        made = self._world.create_service(project_id, None, fields["name"], source, variables)
        return {"id": made.id}

    def _delete(self, fields: Fields) -> Said:
        service = self._named(fields)
        self._world.delete_service(service.id)
        return {"id": service.id}

    def _rename(self, fields: Fields) -> Said:
        return {"id": self._world.rename_service(self._named(fields).id, fields["name"]).id}

    def _push(self, fields: Fields) -> Said:
        repo, world = fields["repo"], self._world
        wired = [
            instance
            for instance in world.instances.values()
            if instance.deleted_at is None
            and instance.auto_deploys
            and source_of(instance.config) is Source.REPO
            and instance.source["repo"] == repo
        ]
        return {"deployments": [world.deploy(instance, "push").id for instance in wired]}

    def _deploy(self, fields: Fields) -> Said:
        instances = self._world.instances_of(self._named(fields).id)
        return {"deployments": [self._world.deploy(one, "deploy").id for one in instances]}

    def _use(self, fields: Fields) -> Said:
        if self._house is None:
            raise Refusal("real programs run here: call it yourself")
        to = self._running(fields)
        self._house.use(to)
        return {"conversationId": to.deployment.process.conversation_id}

    def _restart(self, fields: Fields) -> Said:
        to = self._running(fields)
        self._world.restart(to.instance, to.deployment)
        return {"deployment": to.deployment.id}

    def _end(self, fields: Fields, status: str) -> Said:
        to = self._running(fields)
        self._world.end_deployment(to.deployment.id, status, status.lower())
        return {"deployment": to.deployment.id}

    def _exit(self, fields: Fields) -> Said:
        to = self._running(fields)
        self._world.stop_deployment(to.deployment.id)
        return {"deployment": to.deployment.id}
