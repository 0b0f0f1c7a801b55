"""The API server of our own, a real one: who may do what, what outlives what, and what ends with us."""

import asyncio
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.kubernetes.config import from_kubeconfig
from api.settings import SettingError
from controller.local.administrator import ServerRefused
from controller.local.apiserver import ETCD, SERVER, LocalApiServer, hold_port
from controller.local.binaries import Binaries
from tests.cluster import make_namespace
from tests.local.test_children import until_gone

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
A_KIND = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kettles.test.example}
spec:
  group: test.example
  scope: Namespaced
  names: {plural: kettles, singular: kettle, kind: Kettle}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties: {litres: {type: integer, maximum: 2}}
"""
# Starts a server, says the numbers of its programs, and waits to be killed.
PARENT = """
import asyncio, sys
from pathlib import Path
from controller.local.apiserver import LocalApiServer
from controller.local.binaries import Binaries

async def main():
    server = LocalApiServer(Path(sys.argv[1]), Binaries.of(Path(sys.argv[2])), fsync=False)
    await server.start()
    print(*server.pids.values(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def a_map(server: LocalApiServer, namespace: str, name: str = "kept") -> dict[str, Any]:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    return await server.ask("POST", path, {"metadata": {"name": name}})


async def maps(server: LocalApiServer, namespace: str = "default") -> list[str]:
    answer = await server.ask("GET", f"/api/v1/namespaces/{namespace}/configmaps")
    return [each["metadata"]["name"] for each in answer["items"]]


async def watch(server: LocalApiServer, version: str) -> str:
    """The first line of a watch of the config maps of `default`, from that version on."""
    query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "30"}
    async with (
        server.http() as http,
        http.get("/api/v1/namespaces/default/configmaps", params=query) as answer,
    ):
        return (await answer.content.readline()).decode()


# ---- the one that the tests share


async def test_it_is_1_36_and_ready(api_server: LocalApiServer) -> None:
    async with api_server.http() as http, http.get("/readyz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    assert "Server Version: v1.36." in await api_server.kubectl("version")


async def test_a_test_has_a_namespace_of_its_own(
    api_server: LocalApiServer, fresh_namespace: str
) -> None:
    assert await maps(api_server, fresh_namespace) == []
    assert "default" in await api_server.kubectl("get", "namespaces", "-o", "name")


async def test_a_service_account_may_do_what_its_role_says_and_no_more(
    api_server: LocalApiServer, fresh_namespace: str
) -> None:
    at = f"--namespace={fresh_namespace}"
    await api_server.kubectl("create", "serviceaccount", "reader", at)
    reader = await api_server.kubeconfig_of(fresh_namespace, "reader")
    with pytest.raises(ServerRefused, match=r'"system:serviceaccount:.*:reader" cannot list'):
        await api_server.kubectl("get", "configmaps", kubeconfig=reader)
    await api_server.kubectl(
        *("create", "role", "reads", "--verb=list", "--resource=configmaps", at)
    )
    whose = f"--serviceaccount={fresh_namespace}:reader"
    await api_server.kubectl("create", "rolebinding", "reads", "--role=reads", whose, at)
    await a_map(api_server, fresh_namespace)
    assert "kept" in await api_server.kubectl("get", "configmaps", kubeconfig=reader)
    for refused in (("get", "secrets"), ("get", "configmaps", "--namespace=default")):
        with pytest.raises(ServerRefused, match="Forbidden"):
            await api_server.kubectl(*refused, kubeconfig=reader)


async def test_a_token_is_new_each_time_and_read_anew(
    api_server: LocalApiServer, fresh_namespace: str
) -> None:
    await api_server.kubectl("create", "serviceaccount", "one", f"-n={fresh_namespace}")
    path = await api_server.kubeconfig_of(fresh_namespace, "one")
    cluster = from_kubeconfig(path)
    before = cluster.token()
    assert await api_server.kubeconfig_of(fresh_namespace, "one") == path
    assert before != cluster.token() != ""
    assert cluster.namespace == fresh_namespace


async def test_who_has_no_certificate_and_no_token_reads_nothing(
    api_server: LocalApiServer,
) -> None:
    stranger = ssl.create_default_context(cafile=api_server.ca)
    known = from_kubeconfig(api_server.kubeconfig).tls
    async with aiohttp.ClientSession(f"{api_server.url}/api/v1/") as http:
        for tls, status in ((stranger, 403), (known, 200)):
            async with http.get("namespaces", ssl=tls) as answer:
                assert answer.status == status


async def test_a_namespace_with_the_restricted_standard_refuses_pods_that_break_it(
    api_server: LocalApiServer,
) -> None:
    namespace = await make_namespace(api_server, RESTRICTED)
    with pytest.raises(ServerRefused, match='violates PodSecurity "restricted'):
        await api_server.kubectl("run", "root", "--image=any", f"-n={namespace}")


async def test_kinds_can_be_used_once_their_folder_is_applied(
    api_server: LocalApiServer, fresh_namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "kettles.yaml").write_text(A_KIND)
    await api_server.apply(tmp_path)
    await api_server.apply(tmp_path)  # As every test that needs it will do.
    kettle = "apiVersion: test.example/v1\nkind: Kettle\nmetadata: {name: big}\nlitres: 3\n"
    with pytest.raises(ServerRefused, match="less than or equal to 2"):
        await api_server.kubectl("create", f"-n={fresh_namespace}", "-f", "-", stdin=kettle)


async def test_what_holds_a_secret_is_for_us_alone(api_server: LocalApiServer) -> None:
    state = api_server.kubeconfig.parent
    modes = {p.name: p.stat().st_mode & 0o777 for p in state.rglob("*") if p.suffix != ".sock"}
    assert modes["kubeconfig"] == 0o600
    assert {modes["kubernetes"], modes["etcd"], modes["pki"]} == {0o700}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert sorted(p.name for p in state.iterdir()) == ["kubeconfig", "kubernetes", "logs"]


# ---- ones that may be ill-treated


async def test_data_address_and_tokens_outlive_a_stop_and_a_kill_9(
    own_api_server: LocalApiServer,
) -> None:
    server, before = own_api_server, own_api_server.url
    await server.kubectl("create", "serviceaccount", "one")
    path = await server.kubeconfig_of("default", "one")
    await a_map(server, "default")
    for end in (server.stop, server.kill, lambda: server.kill(SERVER)):
        await end()
        with pytest.raises(aiohttp.ClientError):
            await maps(server)
        assert await server.start() == before
        assert await maps(server) == ["kept"]
    with pytest.raises(ServerRefused, match="Forbidden"):  # And not Unauthorized.
        await server.kubectl("get", "configmaps", kubeconfig=path)


async def test_while_etcd_is_paused_nothing_is_written_and_then_it_is(
    own_api_server: LocalApiServer,
) -> None:
    server = own_api_server
    server.pause_etcd()
    write = asyncio.create_task(a_map(server, "default"))
    done, _ = await asyncio.wait({write}, timeout=1)
    assert not done
    server.resume_etcd()
    await write
    assert await maps(server) == ["kept"]
    server.pause_etcd()  # It can be stopped all the same.


async def test_who_watches_from_before_a_compaction_must_list_again(
    own_api_server: LocalApiServer,
) -> None:
    server = own_api_server
    version = (await a_map(server, "default"))["metadata"]["resourceVersion"]
    await a_map(server, "default", "later")
    assert '"later"' in await watch(server, version)
    assert await server.compact() > int(version)
    await server.kill(SERVER)
    await server.start()
    assert '"code":410' in await watch(server, version)


async def test_the_death_of_either_is_told_and_a_start_mends_it(
    own_api_server: LocalApiServer,
) -> None:
    server = own_api_server
    for name, other in ((ETCD, SERVER), (SERVER, ETCD)):
        kept, waiting = server.pids[other], asyncio.create_task(server.wait())
        await asyncio.sleep(0)
        os.kill(server.pids[name], signal.SIGKILL)
        assert await waiting == -signal.SIGKILL
        await server.start()
        assert server.pids[other] == kept
        await maps(server)


async def test_kill_9_of_who_started_it_leaves_nothing_running_and_an_heir_has_its_data(
    binaries: Binaries, tmp_path: Path
) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path), str(binaries.etcd.parent)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    left = [int(pid) for pid in (await parent.stdout.readline()).split()]
    heir = LocalApiServer(tmp_path, binaries, fsync=False)
    authority = heir.ca.read_bytes()
    parent.kill()
    await parent.wait()
    assert len(left) == 2
    for pid in left:
        await until_gone(pid)
    await heir.start()
    assert heir.ca.read_bytes() == authority
    await heir.stop()


# ---- what it cannot do, it says


async def test_data_that_etcd_cannot_read_are_told_in_its_words(
    binaries: Binaries, tmp_path: Path
) -> None:
    server = LocalApiServer(tmp_path, binaries, fsync=False)
    database = tmp_path / "kubernetes/etcd/data/member/snap/db"
    database.parent.mkdir(parents=True)
    database.parents[1].chmod(0o700)
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(
        SettingError, match=r"--state: etcd did not start \(.*open database.*--state"
    ):
        await server.start()
    assert server.pids == {}


async def test_an_option_that_it_refuses_is_told_in_its_words(
    binaries: Binaries, tmp_path: Path
) -> None:
    server = LocalApiServer(tmp_path, binaries, fsync=False, options={"nonsense": "1"})
    with pytest.raises(SettingError, match=r"kube-apiserver did not start .*unknown flag"):
        await server.start()
    assert server.pids == {}


async def test_a_program_of_another_machine_is_told(tmp_path: Path) -> None:
    for name in ("kube-apiserver", "kubectl", "etcd"):
        (tmp_path / name).write_bytes(b"\x7fELF of somewhere else")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SettingError, match=r"KUBEBUILDER_ASSETS: .*etcd does not run here"):
        await LocalApiServer(tmp_path / "state", Binaries.of(tmp_path)).start()


def test_a_port_is_held_against_everybody_else() -> None:
    held = hold_port(0)
    port = held.getsockname()[1]
    with pytest.raises(SettingError, match=f"port {port} is taken"):
        hold_port(port)
    held.close()
    hold_port(port).close()
