"""Must show 8: a running pool moves from rows to Kubernetes, claimed agents too, and no service notices."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.records.migrate import migrate
from api.records.moving import IMPORT
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries
from tests.deploy.rendered import DEPLOY, NAMESPACE, OVERLAYS, Kustomize
from tests.deploy.running import API_KEY, Running

CLI = f"{sys.executable} -m controller.cli"
GET = f"{CLI} get pools,claims,instances -o yaml --records postgres"
APPLY = f"{CLI} apply --records kubernetes -f -"
POOL = {"RAILWAY_SOURCE_IMAGE": "agents/convos:1", "POOL_MIN_IDLE": "2", "POOL_MAX_TOTAL": "8"}
INSTANCES = f"/apis/pool.convos.org/v1alpha1/namespaces/{NAMESPACE}/agentinstances"
Json = dict[str, Any]


@dataclass
class Both(Running):
    """One simulated Railway, rows, and a cluster; controller and sidecar run on either."""

    url_of_rows: str = ""

    async def start_rows(self) -> None:
        env = {"DATABASE_URL": self.url_of_rows, "POOL_NAMESPACE": NAMESPACE, "LOG_FORMAT": "json"}
        told = env | self.railway | POOL
        await self.begin("agent-pool-controller", ["controller"], told, "CONTROLLER_OPS_PORT")
        key = {"POOL_API_KEY": API_KEY}
        await self.begin("agent-pool-api", ["api"], env | key, "PORT", "API_OPS_PORT")

    async def stop_rows(self) -> None:
        await self.end("agent-pool-api")
        await self.end("agent-pool-controller")

    async def shell(self, command: str, **more: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of a command line, as somebody with both stores at hand."""
        kept = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
        env = {**kept, "KUBECONFIG": str(self.server.kubeconfig), "POOL_NAMESPACE": NAMESPACE}
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", command),
            env=env | {"DATABASE_URL": self.url_of_rows} | more,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def call(self, path: str, body: object = None, **headers: str) -> Json:
        told = {"Authorization": f"Bearer {API_KEY}"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        http = aiohttp.ClientSession(self.url("PORT"), headers=told)
        async with http, http.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def claim(self, name: str) -> Json:
        body = {"agentId": name, "instructions": f"You are {name}."}
        return await self.call("/api/pool/claim", body, Idempotency_Key=f"key-of-{name}")

    async def until_idle(self, count: int) -> None:
        counts: Mapping[str, int] = {}
        async with asyncio.timeout(60):
            while counts.get("idle") != count:
                counts = (await self.call("/api/pool/replenish"))["counts"]

    def railway_did(self) -> list[Json]:
        """Services made and deleted so far."""
        text = (self.folder / "simulator" / "journal.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        return [e for e in lines if e["effect"] in ("serviceCreate", "serviceDelete")]

    async def objects_of(self, kind: str) -> list[Json]:
        said = await self.server.kubectl("get", kind, "-n", NAMESPACE, "-o=json")
        return list(json.loads(said)["items"])


@pytest.fixture
async def both(
    postgres_url: str, own_api_server: LocalApiServer, binaries: Binaries, tmp_path: Path
) -> AsyncIterator[Both]:
    """Two claimed and two idle agents on rows, everything running; an empty cluster of today's kinds."""
    await migrate(postgres_url)
    kustomize, server = Kustomize(binaries.kubectl), own_api_server
    await server.apply(DEPLOY.parent / "crds")
    text = await kustomize.text(OVERLAYS / "namespace")
    await server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    await server.kubectl("get", "apool,aclaim,ainst", "-A")  # Its kinds are served from now on.
    overlay = await kustomize.overlay("namespace")
    running = Both(server, overlay, tmp_path, url_of_rows=postgres_url)
    try:
        await running.start_railway()
        await running.start_rows()
        yield running
    finally:
        codes = await running.stop()
    assert set(codes.values()) == {0}


async def test_a_running_pool_moves_to_kubernetes_and_no_service_notices(both: Both) -> None:
    await both.until_idle(2)
    answers = {name: await both.claim(name) for name in ("one", "two")}
    await both.until_idle(2)
    made = both.railway_did()
    assert len(made) == 4

    code, out, err = await both.shell(f"{GET} | {APPLY}")
    assert (code, out) == (1, "")
    assert "the controller of the source still runs (controller-" in err
    assert "stop it (end `agent-pool controller`" in err
    assert await both.objects_of("apool,aclaim,ainst") == []

    await both.stop_rows()
    code, out, err = await both.shell(f"{GET} | {APPLY}")
    assert (code, err) == (0, "")
    assert sorted(line.split("/")[0] for line in out.splitlines() if line.endswith("imported")) == [
        *["agentclaim"] * 2, *["agentinstance"] * 4, "agentpool"
    ]  # fmt: skip
    idle = {
        i["metadata"]["name"]
        for i in await both.objects_of("ainst")
        if "claimRef" not in i["spec"] and i["status"]["phase"] == "Idle"
    }
    assert len(idle) == 2

    await both.start_pods()
    await both.until_idle(2)
    assert {name: await both.claim(name) for name in answers} == answers
    told = {c["spec"]["agentId"]: c["status"] for c in await both.objects_of("aclaim")}
    for name, answer in answers.items():
        assert told[name]["phase"] == "Ready"
        assert told[name]["inviteUrl"] == answer["inviteUrl"]
        assert told[name]["instance"]["name"] == answer["instanceId"]
    assert both.railway_did() == made

    assert (await both.claim("three"))["instanceId"] in idle
    await both.until_idle(2)
    assert [e["effect"] for e in both.railway_did()] == ["serviceCreate"] * 5


async def test_a_move_killed_in_the_middle_is_acted_on_by_nobody_and_completed_when_repeated(
    both: Both,
) -> None:
    await both.until_idle(2)
    answer = await both.claim("one")
    await both.until_idle(2)
    made = both.railway_did()
    await both.stop_rows()

    moving = asyncio.create_task(both.shell(f"{GET} | {{ echo $BASHPID >pid; exec {APPLY}; }}"))
    async with asyncio.timeout(60):
        while not (await both.server.ask("GET", INSTANCES))["items"]:
            await asyncio.sleep(0.01)
    os.kill(int((both.folder / "pid").read_text()), signal.SIGKILL)
    code, out, _ = await moving
    assert (code, out.count("imported")) == (137, 0)
    [pool] = await both.objects_of("apool")
    assert IMPORT in pool["metadata"]["annotations"]

    before = await both.objects_of("apool,aclaim,ainst")
    await both.start_pods()
    async with asyncio.timeout(60):
        while "pool is being moved in: left alone" not in both.log("agent-pool-controller"):
            await asyncio.sleep(0.1)
    assert await both.objects_of("apool,aclaim,ainst") == before

    code, out, err = await both.shell(f"{GET} | {APPLY}")
    assert (code, err, out.count("imported")) == (0, "", 5)
    await both.until_idle(2)
    assert await both.claim("one") == answer
    assert both.railway_did() == made
    code, out, err = await both.shell(f"{GET} | {APPLY}")
    assert (code, err, out.count("unchanged")) == (0, "", 5)
