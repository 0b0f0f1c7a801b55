"""Deployments being made: which change starts how many, and of what each is made."""

from typing import Any

from controller.railway.simulator import deploys
from controller.railway.simulator.deploys import HOOKS, Source, source_of
from controller.railway.simulator.faults import DEPLOYS
from controller.railway.simulator.holdings import Holdings, Refusal
from controller.railway.simulator.state import Deployment, Instance

DEPLOYMENTS_KEPT = 20  # Of one instance; older ones are forgotten.
NO_SNAPSHOT = "Cannot redeploy without a snapshot"
BUILDING = "Cannot redeploy yet, please wait for the original deployment to finish building, then try again."


class Builds(Holdings):
    """Starts deployments by the rules of `deploys`."""

    def configure(
        self, instance: Instance, config: dict[str, Any], act: str, *, always: bool = False
    ) -> bool:
        """Set the config, and deploy where the act does (`always`: also when it changes nothing).

        False when nothing changed.
        """
        before, changed = instance.config, instance.config != config
        if changed:
            instance.config = config
            self.touch(instance)
        if changed or always:
            self.start(instance, act, deploys.started(act, source_of(before), source_of(config)))
        return changed

    def deploy(self, instance: Instance, act: str) -> Deployment:
        """By hand, or by a push: of what the service is set to."""
        kind = source_of(instance.config)
        made = self.start(instance, act, deploys.started(act, kind, kind))
        if not made:
            raise Refusal(NO_SNAPSHOT)
        return made[-1]

    def redeploy(self, instance: Instance) -> Deployment:
        """Of what the last deployment was made of, variables included."""
        last = deploys.latest(instance, self.now)
        if last is None or source_of(instance.config) is Source.NONE:
            raise Refusal(NO_SNAPSHOT)
        old, status = last
        if status in deploys.BUSY:
            raise Refusal(BUILDING)
        deployment = self._add(instance, "redeploy", old.config, self.now)
        deployment.variables = old.variables
        return deployment

    def start(self, instance: Instance, act: str, count: int, **meta: Any) -> list[Deployment]:
        """Start so many deployments; HOOKS: as many as the hooks of a repository happen to."""
        many = self.rng.randint(1, self.habits.repo_deploys_most) if count == HOOKS else count
        hook_s = self.pace.hook_s
        return [
            self._add(instance, act, instance.config, self.now + n * hook_s, **meta)
            for n in range(many)
        ]

    def _add(
        self, instance: Instance, act: str, config: dict[str, Any], at: float, **meta: Any
    ) -> Deployment:
        service = self.service_of(instance)
        course = deploys.course(at, config, self.pace, self.rng, self._fate(instance, config))
        if self.faults.draw("neverReady", (service.id, service.name)):
            course.process.ready_at = None
        deployment = Deployment(
            id=self.new_id(),
            created_at=at,
            config={name: part for name, part in config.items() if name != "variables"},
            variables=self._environ(instance),
            meta={"trigger": act, "branch": _branch(act, config), **meta},
            stages=course.stages,
            starts_at=course.starts_at,
            process=course.process,
        )
        instance.deployments = [*instance.deployments, deployment][-DEPLOYMENTS_KEPT:]
        self.touch(instance)
        self.effect("deployment", service, deployment=deployment.id, trigger=act)
        return deployment

    def _fate(self, instance: Instance, config: dict[str, Any]) -> str | None:
        if source_of(config) is Source.NONE:
            return "deployFailed"  # There is nothing to build.
        if self.programs:
            return "program"
        service = self.service_of(instance)
        return self.faults.first(DEPLOYS, (service.id, service.name))

    def _environ(self, instance: Instance) -> dict[str, str]:
        """The variables as the program will see them: fixed for this deployment."""
        service = self.service_of(instance)
        environment = self.environments[instance.environment_id]
        host = instance.domains[0].host if instance.domains else None
        return instance.variables | {
            "RAILWAY_PROJECT_ID": service.project_id,
            "RAILWAY_ENVIRONMENT_ID": environment.id,
            "RAILWAY_ENVIRONMENT_NAME": environment.name,
            "RAILWAY_SERVICE_ID": service.id,
            "RAILWAY_SERVICE_NAME": service.name,
            **({"RAILWAY_PUBLIC_DOMAIN": host} if host else {}),
        }


def _branch(act: str, config: dict[str, Any]) -> str | None:
    """serviceCreate builds the default branch, whatever was asked for."""
    if source_of(config) is not Source.REPO:
        return None
    branch: str = config["source"].get("branch", "main")
    return "main" if act == "serviceCreate" else branch
