"""Railway itself: the port over its public GraphQL API, for one environment of one project."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx

from api.types import Source
from controller.railway import (
    Access,
    Allowance,
    Deployment,
    Gone,
    Make,
    NotAuthorized,
    Observation,
    Refused,
    Service,
    Unclear,
)
from controller.railway.wire import Wire

READ_S = 30.0
WRITE_S = 90.0  # Railway's own command line waits as long: slow writes do take effect.
PAGE = 500  # What Railway's own command line asks for.
PAGES_MAX = 100
HEALTHCHECK_S = 300  # Railway's default, said aloud: until then a deployment may start up.
OWNER_VARIABLE = "POOL_OWNER"
SETTINGS = {"projectId": "RAILWAY_PROJECT_ID", "environmentId": "RAILWAY_ENVIRONMENT_ID"}


class RailwayClient:
    """The `Railway` port over HTTP. `probe` comes first: only then is the kind of the token known.

    `clock`: the time of day, aware, to read the answers' absolute times against.
    Raises NotAuthorized at once for a token that no header can carry.
    """

    def __init__(
        self,
        endpoint: str,
        token: str,
        project_id: str,
        environment_id: str,
        *,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not (token and token.isascii() and token.isprintable()):
            raise NotAuthorized("RAILWAY_API_TOKEN must be one line of printable ASCII")
        self._endpoint = endpoint
        self._wire = Wire(endpoint, clock, transport)
        self._place = {"projectId": project_id, "environmentId": environment_id}
        self._as_project = {"Project-Access-Token": token}
        self._as_bearer = {"Authorization": f"Bearer {token}"}
        self._auth = self._as_project
        self._hide = (token,)
        self._patching = asyncio.Lock()  # Patches that race break each other and domain creates.

    @property
    def endpoint(self) -> str:
        return self._endpoint

    @property
    def allowance(self) -> Allowance:
        return self._wire.allowance

    # ---------------------------------------------------------------- who are we

    async def probe(self) -> Access:
        """Two requests for a project token, four for another. Raises NotAuthorized, naming the setting."""
        self._auth, kind = await self._recognised()
        return Access(
            kind=kind,
            may_patch=await self._may_patch(),
            project_id=self._place["projectId"],
            environment_id=self._place["environmentId"],
        )

    async def _recognised(
        self,
    ) -> tuple[dict[str, str], Literal["project", "workspace", "account"]]:
        try:
            place = await self._ask("ProjectTokenWhoAmI", {}, READ_S, auth=self._as_project)
        except (NotAuthorized, Gone):
            return self._as_bearer, await self._bearer_kind()
        for key, setting in SETTINGS.items():
            if _text(place, key) != self._place[key]:
                raise NotAuthorized(f"the project token is for another {key}; mend {setting}")
        return self._as_project, "project"

    async def _bearer_kind(self) -> Literal["workspace", "account"]:
        try:
            said = await self._ask("ApiTokenWhoAmI", {}, READ_S, auth=self._as_bearer)
        except (NotAuthorized, Gone):
            raise NotAuthorized("Railway does not know the token; mend RAILWAY_API_TOKEN") from None
        try:
            await self._ask("EnvironmentGet", self._place, READ_S, auth=self._as_bearer)
        except (NotAuthorized, Gone):
            raise NotAuthorized(
                f"the token does not reach the environment; mend {' or '.join(SETTINGS.values())}"
            ) from None
        # Nothing depends on it; an account with one workspace looks the same.
        return "account" if len(_list(said, "workspaces")) > 1 else "workspace"

    async def _may_patch(self) -> bool:
        """Commit a patch that changes nothing. What it clearly refuses, it refuses to us."""
        try:
            await self._commit({}, "agent-pool: may we?")
        except (NotAuthorized, Gone, Refused):
            return False
        return True

    # ---------------------------------------------------------------- look

    async def observe(self) -> Observation:
        services: dict[str, Service] = {}
        cursors: set[str | None] = {None}
        after = None
        for requests in range(1, PAGES_MAX + 1):
            page = await self._page(after)
            services |= {service.id: service for service in page.services}
            if page.after is None:
                return Observation(tuple(services.values()), requests)
            if (after := page.after) in cursors:
                break
            cursors.add(after)
        raise Unclear("Railway's pages do not come to an end")

    async def _page(self, after: str | None) -> "_Page":
        try:
            asked = {**self._place, "first": PAGE, "after": after}
            return _read_page(await self._read("PoolObserve", asked), self._place["environmentId"])
        except Gone as error:  # Said of any service in it; the rest was not seen.
            raise Unclear(str(error)) from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unclear("half an answer to PoolObserve") from None

    async def owner_of(self, service_id: str) -> str | None:
        said = await self._read("ServiceVariables", {**self._place, "serviceId": service_id})
        if not isinstance(said, dict):
            raise Unclear("half an answer to ServiceVariables")
        owner = said.get(OWNER_VARIABLE)
        return owner if isinstance(owner, str) else None

    # ---------------------------------------------------------------- create

    async def create_empty(self, name: str) -> str:
        return await self._create({"name": name})

    async def create_whole(self, make: Make) -> str:
        # Neither branch (Railway takes the default one whatever is said) nor root directory (no such field).
        source = {"repo": make.source.repo.name} if make.source.repo else _source(make.source)
        return await self._create(
            {"name": make.name, "source": source, "variables": dict(make.variables)},
            make.variables.values(),
        )

    async def _create(self, what: Mapping[str, Any], hide: Collection[str] = ()) -> str:
        made = await self._write("ServiceCreate", {"input": {**self._place, **what}}, hide)
        return _text(made, "id")

    async def create_domain(self, service_id: str) -> str:
        asked = {"environmentId": self._place["environmentId"], "serviceId": service_id}
        # No targetPort: beside a PORT variable it can make the create fail.
        return _text(await self._write("ServiceDomainCreate", {"input": asked}), "domain")

    async def patch(self, service_id: str, make: Make) -> None:
        service = {
            "source": _source(make.source),
            "variables": {name: {"value": value} for name, value in make.variables.items()},
        }
        if make.healthcheck_path:
            service["deploy"] = {
                "healthcheckPath": make.healthcheck_path,
                "healthcheckTimeout": HEALTHCHECK_S,
            }
        patch = {"services": {service_id: service}}
        await self._commit(patch, f"agent-pool: {make.name}", make.variables.values())

    async def _commit(
        self, patch: Mapping[str, Any], message: str, hide: Collection[str] = ()
    ) -> None:
        environment_id = self._place["environmentId"]
        asked = {"environmentId": environment_id, "patch": patch, "commitMessage": message}
        async with self._patching:
            await self._write("EnvironmentPatchCommit", asked, hide)

    async def update_settings(self, service_id: str, make: Make) -> None:
        root = make.source.repo.root_directory if make.source.repo else None
        settings = {"healthcheckPath": make.healthcheck_path, "rootDirectory": root}
        said = {name: value for name, value in settings.items() if value is not None}
        await self._write("ServiceInstanceUpdate", {**self._of(service_id), "input": said})

    async def deploy(self, service_id: str) -> None:
        await self._write("ServiceInstanceDeploy", self._of(service_id))

    async def auto_deploy_off(self, service_id: str) -> None:
        asked = {**self._place, "serviceId": service_id, "enabled": False}
        said = await self._write("AutoDeploySet", {"input": asked})
        if not isinstance(said, dict) or said.get("enabled") is not False:
            raise Unclear("Railway did not say that auto-deploy is off")

    # ---------------------------------------------------------------- rename, delete

    async def rename(self, service_id: str, name: str) -> None:
        await self._write("ServiceRename", {"id": service_id, "name": name})

    async def delete(self, service_id: str) -> None:
        if await self._write("ServiceDelete", {"id": service_id}) is not True:
            raise Unclear("Railway did not say that the service is deleted")

    async def close(self) -> None:
        await self._wire.close()

    # ---------------------------------------------------------------- the wire

    def _of(self, service_id: str) -> dict[str, str]:
        return {"environmentId": self._place["environmentId"], "serviceId": service_id}

    async def _read(self, operation: str, variables: Mapping[str, Any]) -> Any:
        return await self._ask(operation, variables, READ_S)

    async def _write(
        self, operation: str, variables: Mapping[str, Any], hide: Collection[str] = ()
    ) -> Any:
        return await self._ask(operation, variables, WRITE_S, hide)

    async def _ask(
        self,
        operation: str,
        variables: Mapping[str, Any],
        timeout_s: float,
        hide: Collection[str] = (),
        auth: Mapping[str, str] | None = None,
    ) -> Any:
        return await self._wire.ask(
            operation,
            variables,
            auth or self._auth,
            timeout_s=timeout_s,
            hide=(*hide, *self._hide),
        )


# ---------------------------------------------------------------- what is sent


def _source(source: Source) -> dict[str, Any]:
    if source.repo is None:
        return {"image": source.image}
    repo = source.repo
    said = {"repo": repo.name, "branch": repo.branch, "rootDirectory": repo.root_directory}
    return {name: value for name, value in said.items() if value is not None}


# ---------------------------------------------------------------- what is read


@dataclass(frozen=True, slots=True)
class _Page:
    services: tuple[Service, ...]
    after: str | None  # The cursor of the next page, None on the last.


def _read_page(environment: Any, environment_id: str) -> _Page:
    """Raises Unclear, KeyError, TypeError, ValueError or AttributeError on half an answer."""
    if _text(environment, "id") != environment_id:
        raise Unclear("Railway answered for another environment")
    instances = environment["serviceInstances"]
    nodes = [edge["node"] for edge in instances["edges"]]
    info = instances["pageInfo"]
    return _Page(
        services=tuple(_service(node) for node in nodes if node["deletedAt"] is None),
        after=_text(info, "endCursor") if info["hasNextPage"] else None,
    )


def _service(node: Any) -> Service:
    source, deployment = node["source"], node["latestDeployment"]
    return Service(
        id=_text(node, "serviceId"),
        name=_text(node, "serviceName"),
        domain=_domain(node["domains"]["serviceDomains"]),
        has_source=source is not None and bool(source["image"] or source["repo"]),
        from_repo=source is not None and bool(source["repo"]),
        deployment=None if deployment is None else _deployment(deployment),
    )


def _domain(domains: Any) -> str | None:
    kept = [d for d in domains if d["syncStatus"] not in ("DELETING", "DELETED")]
    return _text(kept[0], "domain") if kept else None


def _deployment(node: Any) -> Deployment:
    return Deployment(
        id=_text(node, "id"),
        status=_text(node, "status"),
        created_at=datetime.fromisoformat(node["createdAt"]),
        stopped=node["deploymentStopped"] is True,
    )


def _text(said: Any, field: str) -> str:
    """A text that must be there. Raises Unclear."""
    value = said.get(field) if isinstance(said, dict) else None
    if not isinstance(value, str) or not value:
        raise Unclear(f"half an answer: no {field}")
    return value


def _list(said: Any, field: str) -> list[Any]:
    value = said.get(field) if isinstance(said, dict) else None
    return value if isinstance(value, list) else []
