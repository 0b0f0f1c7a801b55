"""Controller and sidecar as they are deployed, by their own service accounts: all that they are for works."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from controller.local.apiserver import LocalApiServer
from tests.deploy.rendered import DEPLOY, NAMESPACE, Kustomize
from tests.deploy.running import API_KEY, Running, install

Start = Callable[[str], AbstractAsyncContextManager[Running]]
PATIENCE = "--timeout=60s"


@pytest.fixture
def start(own_api_server: LocalApiServer, kustomize: Kustomize, tmp_path: Path) -> Start:
    """Installs that overlay and runs it; afterwards both have ended well, and nothing was refused them."""

    @asynccontextmanager
    async def begun(overlay: str) -> AsyncIterator[Running]:
        applied = await install(own_api_server, kustomize, overlay)
        running = Running(own_api_server, applied, tmp_path)
        try:
            await running.start()
            yield running
        finally:
            codes = await running.stop()
        assert set(codes.values()) == {0}
        for name in codes:
            assert "may not" not in running.log(name)
            assert "Forbidden" not in running.log(name)

    return begun


async def until(running: Running, namespace: str, what: str, wanted: str) -> None:
    await running.server.kubectl("wait", "-n", namespace, what, f"--for={wanted}", PATIENCE)


async def test_one_namespace_from_the_manifest_to_the_invite(start: Start) -> None:
    async with start("namespace") as running:
        kubectl = running.server.kubectl
        await kubectl("apply", "-n", NAMESPACE, f"--filename={DEPLOY / 'examples'}")
        await until(running, NAMESPACE, "aclaim/tokyo-trip-planner", "condition=Ready")
        path = ("-n", NAMESPACE, "-o=jsonpath={.status.inviteUrl}")
        assert (await kubectl("get", "aclaim/tokyo-trip-planner", *path)).startswith("https://")

        await kubectl("scale", "apool/default", "--replicas=4", "-n", NAMESPACE)
        await until(running, NAMESPACE, "apool/default", "jsonpath={.status.idle}=4")

        claim = {"agentId": "planner", "instructions": "You plan."}
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(running.url("PORT"), headers=headers) as http:
            async with http.post("/api/pool/claim", json=claim) as answer:
                assert answer.status == 200, await answer.text()
            async with http.post("/api/pool/replenish") as answer:
                assert answer.status == 200, await answer.text()
        leases = await kubectl("get", "leases", "-n", NAMESPACE, "-o=name")
        events = await kubectl("get", "events.v1.events.k8s.io", "-n", NAMESPACE, "-o=name")
        assert leases
        assert events


async def test_every_namespace_and_a_secret_that_a_pool_names(start: Start) -> None:
    async with start("cluster-wide") as running:
        kubectl, there = running.server.kubectl, "team-a"
        await kubectl("create", "namespace", there)
        key = "--from-literal=api-key=of-the-team"
        await kubectl("create", "secret", "generic", "openai", "-n", there, key)
        example = f"--filename={DEPLOY / 'examples' / 'more' / 'secret.yaml'}"
        await kubectl("apply", "-n", there, example)
        await until(running, there, "apool/openai", "jsonpath={.status.idle}=1")

        claim = (DEPLOY / "examples" / "claim.yaml").read_text()
        on_it = claim.replace("name: default", "name: openai")
        await kubectl("apply", "-n", there, "-f", "-", stdin=on_it)
        await until(running, there, "aclaim/tokyo-trip-planner", "condition=Ready")
        assert await kubectl("get", "leases", "-n", there, "-o=name") == ""
        assert await kubectl("get", "leases", "-n", NAMESPACE, "-o=name") != ""
