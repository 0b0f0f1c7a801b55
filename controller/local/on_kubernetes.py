"""The store of `up --records kubernetes`: an API server of our own, with the kinds and the shipped roles.

The two processes reach it as they would in a cluster: each with the token of its own service account, and
with no more rights than deploy/kustomize/base/rbac.yaml gives it.
"""

import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from api.crds import everything
from api.records.kubernetes_leases import SECRET, SECRET_MIN_BYTES
from api.settings import SettingError, StoreSettings
from controller.local.administrator import ServerRefused
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import kubernetes_binaries
from controller.local.plan import Plan
from controller.local.progress import Progress
from controller.local.stores import Step
from controller.local.supervisor import Supervisor

ROLES = Path(__file__).parents[2] / "deploy" / "kustomize" / "base" / "rbac.yaml"
ACCOUNTS = {"controller": "agent-pool-controller", "api": "agent-pool-api"}
TOKEN_LASTS_S = 90 * 24 * 3600  # Longer than anybody leaves it running; each start makes new ones.
OWNER_ID_BYTES = 8
EXAMPLE = "tokyo-trip-planner"  # The name in deploy/examples/claim.yaml.


class KubernetesStore:
    """One API server in the state folder, furnished for one namespace."""

    def __init__(self, plan: Plan, supervisor: Supervisor, progress: Progress) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._progress = progress
        self._namespace = plan.api.namespace
        self._kubeconfigs: dict[str, Path] = {}
        self._server: LocalApiServer | None = None
        self._kubectl = Path("kubectl")

    def steps(self) -> Sequence[Step]:
        return ("Kubernetes", self._start), ("kinds and roles", self._furnish)

    def reached(self) -> StoreSettings:
        return StoreSettings("kubernetes", kubeconfig=str(self.server.kubeconfig))

    def environ(self, part: str) -> Mapping[str, str]:
        return {"KUBECONFIG": str(self._kubeconfigs[part])} if part in self._kubeconfigs else {}

    def lines(self) -> str:
        ours = shlex.quote(str(self._kubectl.parent))
        path = "" if shutil.which("kubectl") else f"export PATH={ours}:$PATH\n"
        at = "" if self._namespace == "default" else f" -n {self._namespace}"
        claim = f"{at} aclaim/{EXAMPLE}"
        return (
            f"export KUBECONFIG={shlex.quote(str(self.server.kubeconfig))}\n{path}"
            f"kubectl apply{at} -f deploy/examples/claim.yaml\n"
            f"kubectl wait --for=condition=Ready{claim} --timeout=60s\n"
            f"kubectl get{claim} -o jsonpath='{{.status.inviteUrl}}{{\"\\n\"}}'\n\n"
        )

    @property
    def server(self) -> LocalApiServer:
        """Raises RuntimeError before its step."""
        if self._server is None:
            raise RuntimeError("not started")
        return self._server

    # ---- the steps

    async def _start(self) -> str:
        binaries = await kubernetes_binaries(self._progress, self._plan.environ)
        self._kubectl = binaries.kubectl
        self._server = LocalApiServer(
            self._plan.state.folder,
            binaries,
            tell=lambda said: self._progress.live(f"  … {said}"),
        )
        await self._supervisor.start(self._server)
        version = (await self._server.ask("GET", "/version"))["gitVersion"]
        return f"{version} of our own at {self._server.url}, as {self._server.kubeconfig}"

    async def _furnish(self) -> str:
        try:
            await self.server.apply_text("---\n".join(everything().values()))
            await self._make("/api/v1/namespaces", {"metadata": {"name": self._namespace}})
            await self.server.apply_text(yaml.safe_dump_all(_roles(self._namespace)))
            await self._make(f"/api/v1/namespaces/{self._namespace}/secrets", _installation())
        except ServerRefused as error:
            raise SettingError("--state", f"the API server there refused: {error}") from None
        for part, account in ACCOUNTS.items():
            self._kubeconfigs[part] = await self.server.kubeconfig_of(
                self._namespace, account, lasts_s=TOKEN_LASTS_S
            )
        return f"{len(everything())} kinds, {len(ACCOUNTS)} service accounts"

    async def _make(self, path: str, body: dict[str, Any]) -> None:
        """Make it unless it is there: what is there stays as it is."""
        try:
            await self.server.ask("POST", path, body)
        except ServerRefused as refused:
            if refused.code != 409:
                raise


def _roles(namespace: str) -> list[dict[str, Any]]:
    """The shipped roles, for this namespace. Raises SettingError where they were not shipped along."""
    if not ROLES.is_file():
        raise SettingError("--records", f"{ROLES} is missing: run it in a checkout of the project")
    found = [each for each in yaml.safe_load_all(ROLES.read_text()) if each]
    for each in found:
        each["metadata"]["namespace"] = namespace
        for subject in each.get("subjects", ()):
            subject["namespace"] = namespace
    return found


def _installation() -> dict[str, Any]:
    said = {
        "ownerId": secrets.token_hex(OWNER_ID_BYTES),
        "instanceSecret": secrets.token_hex(SECRET_MIN_BYTES),
    }
    return {"metadata": {"name": SECRET}, "stringData": said}
