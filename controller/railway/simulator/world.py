"""The simulated world: the rules by which what Railway holds is changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.railway.simulator import config as configs
from controller.railway.simulator import deploys
from controller.railway.simulator.builds import Builds
from controller.railway.simulator.deploys import Source, source_of
from controller.railway.simulator.habits import Span
from controller.railway.simulator.holdings import Refusal, hashed
from controller.railway.simulator.state import Deployment, Domain, Environment, Instance, Service

NAME_MAX = 32
DNS_LABEL_MAX = 63
PATCHES_KEPT = 20
LATE_S: Span = (1.0, 10.0)  # The fault readLag.
NO_DOMAIN = "Failed to create service domain, please try again"
NO_ROOM = "Free plan resource provision limit exceeded. Please upgrade to provision more resources!"


class World(Builds):
    """What Railway does when asked. Who may ask what is decided before (scopes.authorize)."""

    # ---------------------------------------------------------------- services

    def create_service(
        self,
        project_id: str,
        environment_id: str | None = None,
        name: str | None = None,
        source: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Service:
        """In a fork alone, or in every environment that is no fork. A branch is not heeded."""
        late = self.faults.draw("readLag")
        service = self._new_service(project_id, name, late)
        config = configs.with_variables({}, variables or {}, replace=True)
        config = configs.merged(config, {"source": configs.sourced(source or {})})
        count = deploys.started("serviceCreate", Source.NONE, source_of(config))
        if variables and source_of(config) is Source.NONE:
            count = int(self.habits.variables_alone_deploy)
        for environment in self._fan_out(project_id, environment_id):
            instance = Instance(
                id=self.new_id(),
                service_id=service.id,
                environment_id=environment.id,
                created_at=self.now,
                visible_at=service.visible_at,
                settled_at=service.visible_at if late else self.now,
                config=config,
            )
            self.keep(instance)
            self.start(instance, "serviceCreate", count)
        return service

    def _new_service(self, project_id: str, name: str | None, late: bool) -> Service:
        there = [s for s in self.services.values() if s.project_id == project_id]
        most = self.habits.services_most
        if most is not None and len(there) >= most:
            raise Refusal(NO_ROOM)
        name = name or f"service-{self.new_id()[:8]}"
        self._free_name(project_id, name)
        visible_at = self.now + self._lag(late)
        service = Service(self.new_id(), project_id, name, self.now, visible_at)
        self.keep(service)
        self.effect("serviceCreate", service)
        return service

    def _free_name(self, project_id: str, name: str, but: str = "") -> None:
        if not 0 < len(name) <= NAME_MAX:
            raise Refusal(f"Service name must have 1 to {NAME_MAX} characters", "BAD_USER_INPUT")
        for other in self.services.values():
            same = other.name.casefold() == name.casefold() and other.project_id == project_id
            if same and other.id != but:
                raise Refusal(f'A service named "{name}" already exists in this project')

    def _lag(self, late: bool) -> float:
        return self.rng.uniform(*(LATE_S if late else self.pace.lag_s))

    def _fan_out(self, project_id: str, environment_id: str | None) -> list[Environment]:
        named = self.environments.get(environment_id or "")
        if named is not None and named.fork_of is not None:
            return [named]
        every = self.environments.values()
        return [e for e in every if e.project_id == project_id and e.fork_of is None]

    def rename_service(self, service_id: str, name: str) -> Service:
        """Its domains stay."""
        service = self.service(service_id)
        self._free_name(service.project_id, name, but=service_id)
        service.name = name
        self.touch(service)
        self.effect("rename", service)
        return service

    def delete_service(self, service_id: str, environment_id: str | None = None, **by: str) -> None:
        """From a fork alone, or from every environment that is no fork; gone some seconds later."""
        service = self.services.get(service_id)
        if service is None or service.gone_at is not None:
            raise Refusal(self.rng.choice(("Not Authorized", "Problem processing request")))
        late = self.faults.draw("readLag")
        gone_at = self.now + self.rng.uniform(*(LATE_S if late else self.pace.delete_s))
        within = {e.id for e in self._fan_out(service.project_id, environment_id)}
        for instance in self.instances_of(service_id):
            if instance.environment_id in within:
                instance.deleted_at = self.now
                self.leave(instance, gone_at)
        if not self.instances_of(service_id):
            self.leave(service, gone_at)
        self.effect("serviceDelete", service, **by)

    def delete_any(self) -> None:
        """Somebody deletes a service by hand: the fault serviceDeleted."""
        if there := [service for service in self.services.values() if service.gone_at is None]:
            self.delete_service(self.faults.rng.choice(there).id, by="hand")

    # ---------------------------------------------------------------- what a service is set to

    def update_instance(
        self, service_id: str, environment_id: str | None, fields: Mapping[str, Any]
    ) -> bool:
        """At once, not staged; only a first source deploys. False when nothing changed."""
        changed = False
        for instance in self._within(service_id, environment_id):
            config = configs.updated(instance.config, fields)
            changed |= self.configure(instance, config, "serviceInstanceUpdate")
        if changed:
            self.effect("serviceInstanceUpdate", self.service(service_id), fields=sorted(fields))
        return changed

    def _within(self, service_id: str, environment_id: str | None) -> Iterator[Instance]:
        if environment_id is not None:
            yield self.instance(service_id, environment_id)
            return
        project_id = self.service(service_id).project_id
        for environment in self._fan_out(project_id, None):
            yield self.instance(service_id, environment.id)

    def upsert_variables(
        self,
        service_id: str,
        environment_id: str,
        values: Mapping[str, Any],
        *,
        replace: bool = False,
        skip_deploys: bool = False,
    ) -> None:
        """Deploys each time, also when nothing changed, unless told to skip it."""
        instance = self.instance(service_id, environment_id)
        bare = source_of(instance.config) is Source.NONE
        if bare and not skip_deploys and self.habits.upsert_needs_source:
            raise Refusal("Problem processing request")
        config = configs.with_variables(instance.config, values, replace=replace)
        act = "variablesAlone" if skip_deploys else "variables"
        self.configure(instance, config, act, always=True)
        shown = {name: hashed(configs.text(value)) for name, value in values.items()}
        self.effect("variables", self.service(service_id), variables=shown)

    def delete_variable(self, service_id: str, environment_id: str, name: str) -> None:
        instance = self.instance(service_id, environment_id)
        config = configs.merged(instance.config, {"variables": {name: None}})
        self.configure(instance, config, "variables")
        self.effect("variableDelete", self.service(service_id), variable=name)

    def connect(self, service_id: str, source: Mapping[str, Any]) -> Service:
        """Wires the source in every environment that is no fork; each call deploys once."""
        wired = configs.sourced({k: v for k, v in source.items() if v is not None})
        for instance in self._within(service_id, None):
            config = configs.merged(instance.config, {"source": wired})
            self.configure(instance, config, "serviceConnect", always=True)
        self.effect("serviceConnect", self.service(service_id))
        return self.service(service_id)

    def disconnect(self, service_id: str) -> Service:
        """No push deploys any more, and nothing can be redeployed."""
        for instance in self._within(service_id, None):
            config = configs.merged(instance.config, {"source": None})
            self.configure(instance, config, "serviceDisconnect")
        self.effect("serviceDisconnect", self.service(service_id))
        return self.service(service_id)

    def set_auto_deploy(self, service_id: str, environment_id: str, enabled: bool) -> bool:
        """Whether a push to its repository deploys it."""
        instance = self.instance(service_id, environment_id)
        instance.auto_deploys = enabled
        self.touch(instance)
        self.effect("autoDeploy", self.service(service_id), enabled=enabled)
        return enabled

    # ---------------------------------------------------------------- environment patches

    def patching(self, environment: Environment) -> bool:
        """Whether a patch is in flight there."""
        return any(self.now < through_at for through_at in environment.patches.values())

    def patch(self, environment_id: str, patch: Mapping[str, Any]) -> str:
        """Merge into many services at once; deploys each that changed, once. The workflow's id.

        What changes nothing is through at once. One at a time: another is refused meanwhile.
        """
        environment = self.environments[environment_id]
        if self.patching(environment):
            raise Refusal(NO_DOMAIN)
        services: dict[str, Any] = patch.get("services") or {}
        targets = [(self.instance(i, environment_id), part) for i, part in services.items()]
        patch_id = self.new_id()
        changed = [self._patch_one(one, part or {}, patch_id) for one, part in targets]
        through_at = self.now + self.rng.uniform(*self.pace.patch_s) * any(changed)
        workflow = f"commitChanges/{environment_id}/{patch_id}"
        kept = list(environment.patches.items())[-PATCHES_KEPT:]
        environment.patches = dict([*kept, (workflow, through_at)])
        self.touch(environment)
        return workflow

    def _patch_one(self, instance: Instance, part: Mapping[str, Any], patch_id: str) -> bool:
        service = self.service_of(instance)
        source = part.get("source") or {}
        if source.get("repo") and not self.habits.patch_takes_repo:
            raise Refusal("A patch takes no repository", "BAD_USER_INPUT")
        rest = {name: value for name, value in part.items() if name != "networking"}
        if source:
            rest["source"] = configs.sourced(source) or source
        config = configs.merged(instance.config, rest)
        networked = self._patch_domains(service, instance, part.get("networking") or {})
        if instance.config == config:
            return networked
        before, instance.config = instance.config, config
        self.touch(instance)
        self.effect("patch", service, patch=patch_id, parts=sorted(rest))
        count = deploys.started("patch", source_of(before), source_of(config))
        self.start(instance, "patch", count, patchId=patch_id)
        return True

    def _patch_domains(
        self, service: Service, instance: Instance, networking: Mapping[str, Any]
    ) -> bool:
        asked: dict[str, Any] = networking.get("serviceDomains") or {}
        there = {domain.id for domain in instance.domains}
        for domain_id, wish in asked.items():
            if wish is None and domain_id in there:
                self.delete_domain(domain_id)
            elif wish is not None and domain_id not in there:
                self._add_domain(service, instance, wish.get("port"), domain_id)
        return bool(asked)

    # ---------------------------------------------------------------- domains

    def create_domain(
        self, service_id: str, environment_id: str, target_port: int | None = None
    ) -> Domain:
        """Another domain, at each call."""
        service, environment = self.service(service_id), self.environments[environment_id]
        instance = self.instances.get((service_id, environment_id))
        if (
            instance is None
            or instance.deleted_at is not None
            or instance.settled_at > self.now
            or self.patching(environment)
        ):
            raise Refusal(NO_DOMAIN)
        beside = target_port is not None and "PORT" in instance.variables
        if beside and self.habits.target_port_beside_port_fails:
            raise Refusal(NO_DOMAIN)
        return self._add_domain(service, instance, target_port)

    def _add_domain(
        self,
        service: Service,
        instance: Instance,
        target_port: int | None,
        domain_id: str | None = None,
    ) -> Domain:
        environment = self.environments[instance.environment_id]
        label = f"{service.name}-{environment.name}".lower().replace(" ", "-")
        if len(label) > DNS_LABEL_MAX:
            raise Refusal(NO_DOMAIN)
        host = self.new_host(service.id, label, len(instance.domains))
        visible_at = self.now + self._lag(self.faults.draw("readLag"))
        domain = Domain(domain_id or self.new_id(), host, self.now, visible_at, target_port)
        instance.domains.append(domain)
        self.keep(instance)
        self.effect("serviceDomainCreate", service, domain=host)
        return domain

    def delete_domain(self, domain_id: str) -> None:
        instance, domain = self.domain(domain_id)
        instance.domains.remove(domain)
        self.free_host(domain.host)
        self.touch(instance)
        self.effect("serviceDomainDelete", self.service_of(instance), domain=domain.host)

    # ---------------------------------------------------------------- single deployments

    def end_deployment(self, deployment_id: str, status: str, effect: str) -> None:
        """Cancelled, removed, failed or crashed: from now on it has this status."""
        instance, deployment = self.deployment(deployment_id)
        deploys.end(deployment, self.now, status)
        self.touch(instance)
        self.effect(effect, self.service_of(instance), deployment=deployment_id)

    def stop_deployment(self, deployment_id: str) -> None:
        """Its program has ended well: the status stays, `deploymentStopped` is true."""
        instance, deployment = self.deployment(deployment_id)
        deployment.process.stopped = True
        self.touch(instance)
        self.effect("stop", self.service_of(instance), deployment=deployment_id)

    def restart(self, instance: Instance, deployment: Deployment) -> None:
        """The same deployment's program starts anew, and remembers nothing."""
        again = deploys.restarted(deployment.process, self.now, self.pace, self.rng)
        deployment.process = again
        self.touch(instance)
        self.effect("restart", self.service_of(instance), deployment=deployment.id)

    def wake(self, instance: Instance, deployment: Deployment) -> None:
        """Traffic reached a sleeping service: it starts again, and is awake from now on."""
        deploys.end(deployment, self.now, "SUCCESS")
        self.restart(instance, deployment)
