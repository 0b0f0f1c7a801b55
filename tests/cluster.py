"""A real API server for the tests that ask for one: kube-apiserver and etcd, RBAC on, never skipped.

One for each process of the run, started by the first test that wants it, gone when the process is, however
that ends. The first run on a machine builds it, which takes minutes. Namespaces are never deleted (no
controller would finish that): each test has one of its own.
"""

import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries, kubernetes_binaries
from controller.local.progress import Progress

LEFT_OUT = "--without-api-server"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        LEFT_OUT, action="store_true", help="skip the tests that need a real API server"
    )


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """kube-apiserver, kubectl and etcd; built first where need be, told on stderr past pytest's capture."""
    if request.config.getoption(LEFT_OUT):
        pytest.skip(f"needs an API server, and {LEFT_OUT} was said")
    with open(sys.__stderr__.fileno(), "w", closefd=False) as out:  # type: ignore[union-attr]
        return asyncio.run(kubernetes_binaries(Progress(out)))


@pytest.fixture(scope="session")
def api_server(binaries: Binaries) -> Iterator[LocalApiServer]:
    """The server of this process of the run. Ask, kubectl, apply, token are for any test; who kills or
    pauses it takes `own_api_server`."""
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        server = LocalApiServer(Path(folder) / "state", binaries, fsync=False)
        with asyncio.Runner() as runner:
            runner.run(server.start())
            yield server
            runner.run(server.stop())


@pytest.fixture
async def own_api_server(binaries: Binaries) -> AsyncIterator[LocalApiServer]:
    """A server for this test alone, which may do to it what it likes."""
    with tempfile.TemporaryDirectory(prefix="agent-pool-", ignore_cleanup_errors=True) as folder:
        server = LocalApiServer(Path(folder) / "state", binaries, fsync=False)
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
async def fresh_namespace(api_server: LocalApiServer) -> str:
    """The name of an empty namespace, this test's own."""
    return await make_namespace(api_server)


async def make_namespace(server: LocalApiServer, labels: dict[str, str] | None = None) -> str:
    """An empty namespace of that server; its name."""
    name = f"test-{secrets.token_hex(6)}"
    body = {"metadata": {"name": name, "labels": labels or {}}}
    await server.ask("POST", "/api/v1/namespaces", body)
    return name
