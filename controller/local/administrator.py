"""What the administrator of an API server of our own can do there: ask, apply, be somebody else."""

import asyncio
import base64
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from controller.local.certificates import Certificates
from controller.local.state import write_private

ASK_S = 30.0
_NAME = "agent-pool"


class ServerRefused(Exception):
    """The API server, or kubectl in front of it, said no. Its text says why; `code` is 0 from kubectl."""

    def __init__(self, said: str, code: int = 0) -> None:
        super().__init__(said)
        self.code = code


class Administrator:
    """One server, as the user to whom nothing is refused. `home` holds the certificates in `pki`, and all
    that is written here but the kubeconfig itself."""

    def __init__(self, home: Path, kubeconfig: Path, kubectl: Path, port: int) -> None:
        self.kubeconfig = kubeconfig
        self.certificates = Certificates(home / "pki")
        self._home = home
        self._kubectl = kubectl
        self._port = port

    @property
    def url(self) -> str:
        """Where the server is reached."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        """The certificate that the server's own is signed with."""
        return self.certificates.ca

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request, its answer in JSON. Raises ServerRefused with the code and message of its Status,
        and what aiohttp raises where nobody answers."""
        async with self.http() as http, http.request(method, path, json=body) as answer:
            told: dict[str, Any] = await answer.json()
            if answer.status >= 400:
                raise ServerRefused(f"{answer.status} {told.get('message', '')}", answer.status)
            return told

    async def kubectl(
        self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> str:
        """What kubectl prints. Raises ServerRefused with what it says on stderr."""
        process = await asyncio.create_subprocess_exec(
            *(str(self._kubectl), f"--kubeconfig={kubeconfig or self.kubeconfig}", *words),
            env={"HOME": str(self._home / "kubectl"), "PATH": os.environ.get("PATH", "")},
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, said = await process.communicate(None if stdin is None else stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ServerRefused(said.decode(errors="replace").strip())
        return out.decode()

    async def apply(self, *paths: Path) -> None:
        """Apply files or folders of manifests; the kinds that they define can be used afterwards."""
        await self._apply([f"--filename={path}" for path in paths])

    async def apply_text(self, manifests: str) -> None:
        """The same with manifests as they would be in a file."""
        await self._apply(["--filename=-"], manifests)

    async def _apply(self, files: list[str], stdin: str | None = None) -> None:
        words = ("apply", "--server-side", "--force-conflicts", "--output=name")
        named = (await self.kubectl(*words, *files, stdin=stdin)).split()
        kinds = [name for name in named if name.startswith("customresourcedefinition")]
        if kinds:
            await self.kubectl("wait", "--for=condition=Established", "--timeout=60s", *kinds)

    async def token(
        self, namespace: str, account: str, *, lasts_s: int = 3600, bound_to: str = ""
    ) -> str:
        """A token of this service account, for at least 10 minutes; `bound_to`: a Secret of that namespace,
        with which it ends (some seconds later, since the server remembers whom it knew)."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        spec: dict[str, Any] = {"expirationSeconds": lasts_s}
        if bound_to:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Secret", "name": bound_to}
        answer = await self.ask("POST", path, {"spec": spec})
        return str(answer["status"]["token"])

    async def kubeconfig_of(
        self,
        namespace: str,
        account: str,
        *,
        lasts_s: int = 3600,
        called: str = "",
        port: int = 0,
        bound_to: str = "",
    ) -> Path:
        """A kubeconfig (0600) of this service account, its token in a file beside it (`<name>.token`),
        which is read anew at each use; asked again, the same files with a new token. `called`: further
        files of the same account; `port`: where else the server is reached; the others: as of a token."""
        path = self.user_file(called or f"{namespace}.{account}")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        token = path.with_name(f"{path.name}.token")
        made = await self.token(namespace, account, lasts_s=lasts_s, bound_to=bound_to)
        write_private(token, made)
        write_private(path, self._config({"tokenFile": str(token)}, namespace, port))
        return path

    def user_file(self, called: str) -> Path:
        """Where the kubeconfig of somebody else is, once it was made."""
        return self._home / "users" / called

    def http(self) -> aiohttp.ClientSession:
        """Requests to this server, as the administrator. To be closed."""
        tls = ssl.create_default_context(cafile=self.ca)
        tls.load_cert_chain(*self.certificates.admin)
        timeout = aiohttp.ClientTimeout(ASK_S)
        connector = aiohttp.TCPConnector(ssl=tls)
        return aiohttp.ClientSession(self.url, connector=connector, timeout=timeout)

    def write_kubeconfig(self) -> None:
        """The administrator's own (0600), with the certificates in it."""
        certificate, key = map(_inline, self.certificates.admin)
        user = {"client-certificate-data": certificate, "client-key-data": key}
        write_private(self.kubeconfig, self._config(user))

    def _config(self, user: Mapping[str, str], namespace: str = "default", port: int = 0) -> str:
        url = f"https://127.0.0.1:{port}" if port else self.url
        cluster = {"server": url, "certificate-authority-data": _inline(self.ca)}
        context = {"cluster": _NAME, "user": _NAME, "namespace": namespace}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": _NAME,
                "clusters": [{"name": _NAME, "cluster": cluster}],
                "users": [{"name": _NAME, "user": dict(user)}],
                "contexts": [{"name": _NAME, "context": context}],
            },
            sort_keys=False,
        )


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
