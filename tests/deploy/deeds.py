"""What the two processes may do and what they may not, as requests to the API server.

Each is asked twice: `kubectl auth can-i`, and the request itself with the service account's own token.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from tests.deploy.rendered import Json

MERGE = "application/merge-patch+json"
METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH"} | dict.fromkeys(
    ("delete", "deletecollection"), "DELETE"
)
VERSIONS = {
    "": "api/v1",
    "pool.convos.org": "apis/pool.convos.org/v1alpha1",
    "apiextensions.k8s.io": "apis/apiextensions.k8s.io/v1",
    "apps": "apis/apps/v1",
    "coordination.k8s.io": "apis/coordination.k8s.io/v1",
    "events.k8s.io": "apis/events.k8s.io/v1",
    "rbac.authorization.k8s.io": "apis/rbac.authorization.k8s.io/v1",
}
_OF_ALL = ("create", "list", "watch", "deletecollection")  # Verbs that name no object.


@dataclass(frozen=True)
class Deed:
    """One verb on one resource. `where`: own (namespace), other (namespace), or cluster."""

    verb: str
    resource: str  # agentclaims/status
    group: str = "pool.convos.org"
    name: str = ""
    where: str = "own"

    def __str__(self) -> str:
        thing = f"{self.resource}:{self.name}" if self.name else self.resource
        return f"{self.verb} {thing}{'' if self.where == 'own' else ' in ' + self.where}"

    def path(self, namespaces: Mapping[str, str]) -> str:
        plural, _, part = self.resource.partition("/")
        namespace = namespaces.get(self.where)
        room = f"/namespaces/{namespace}" if namespace else ""
        one = "" if self.verb in _OF_ALL else f"/{self.name or 'it'}"
        return f"/{VERSIONS[self.group]}{room}/{plural}{one}{'/' + part if part else ''}"

    def words(self, namespaces: Mapping[str, str]) -> list[str]:
        """As `kubectl auth can-i` takes it."""
        plural, _, part = self.resource.partition("/")
        kind = f"{plural}.{self.group}" if self.group else plural
        one = "" if self.verb in _OF_ALL or not self.name else f"/{self.name}"
        namespace = namespaces.get(self.where)
        return [
            *("auth", "can-i", self.verb, f"{kind}{one}"),
            *([f"--subresource={part}"] if part else []),
            *([f"--namespace={namespace}"] if namespace else ["--all-namespaces"]),
        ]

    def attributes(self, namespaces: Mapping[str, str]) -> Json:
        """As a SelfSubjectAccessReview takes it: what `kubectl auth can-i` sends."""
        plural, _, part = self.resource.partition("/")
        return {
            "verb": self.verb,
            "group": self.group,
            "resource": plural,
            "subresource": part,
            "name": "" if self.verb in _OF_ALL else self.name,
            "namespace": namespaces.get(self.where, ""),
        }


@dataclass(frozen=True)
class Somebody:
    """A service account with its token. `namespaces`: which one `own` is, and which `other`."""

    server: LocalApiServer
    kubeconfig: Path
    namespaces: Mapping[str, str]

    async def may(self, deed: Deed) -> bool:
        """Whether the server says so when it is asked."""
        body = {"spec": {"resourceAttributes": deed.attributes(self.namespaces)}}
        return bool((await self._review("selfsubjectaccessreviews", body))["allowed"])

    async def can_i(self, deed: Deed) -> str:
        """What `kubectl auth can-i` says; its exit code is 1 where that is no."""
        words = deed.words(self.namespaces)
        try:
            return (await self.server.kubectl(*words, kubeconfig=self.kubeconfig)).strip()
        except ServerRefused as refused:
            return str(refused) or "no"

    async def does(self, deed: Deed, body: Json | None = None) -> int:
        """The server's answer to the request itself, which changes nothing."""
        params = {"dryRun": "All"} if deed.verb in METHODS else {}
        if deed.verb == "watch":
            params = {"watch": "1", "timeoutSeconds": "1"}
        headers = {"Content-Type": MERGE} if deed.verb == "patch" else {}
        method = METHODS.get(deed.verb, "GET")
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = {}  # Refused before it is looked at.
        path = deed.path(self.namespaces)
        async with (
            self._http() as http,
            http.request(method, path, params=params, json=body, headers=headers) as answer,
        ):
            await answer.read()
            return answer.status

    async def rules(self) -> set[tuple[str, str, str, str]]:
        """All that it may do in its own namespace: verb, group, resource, name (`*`: any)."""
        body = {"spec": {"namespace": self.namespaces["own"]}}
        told = await self._review("selfsubjectrulesreviews", body)
        return {
            (verb, group, resource, name)
            for rule in told["resourceRules"]
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames") or ["*"]
        }

    async def _review(self, kind: str, body: Json) -> Json:
        path = f"/apis/authorization.k8s.io/v1/{kind}"
        async with self._http() as http, http.post(path, json=body) as answer:
            told: Json = (await answer.json())["status"]
            return told

    def _http(self) -> aiohttp.ClientSession:
        token = self.kubeconfig.with_name(f"{self.kubeconfig.name}.token").read_text().strip()
        tls = ssl.create_default_context(cafile=self.server.ca)
        return aiohttp.ClientSession(
            self.server.url,
            connector=aiohttp.TCPConnector(ssl=tls),
            headers={"Authorization": f"Bearer {token}"},
        )
