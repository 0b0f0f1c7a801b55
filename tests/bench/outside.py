"""What stands outside in a bench: Railway's pages and agents, as lean as they can be on the same two cores.

Refuses nothing and checks little: the simulator does that, in the tests. Here only the product's own cost is
wanted. Each agent is told once at most (409 to a second telling), so a double hand-over shows in the counts.
Of Railway's port: `GET /_counts`: `{told, twice, requests: {operation: n}}`; `POST /_grow?to=N` services.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvloop

from tests.bench.fleet import ENVIRONMENT, MADE, PROJECT, Member, invite_of

PAGE = 500
Handler = Callable[[str, str, bytes], tuple[int, bytes]]  # Own address, first line, body: answer.


class Http(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, as our own clients speak it; loopback peers only."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._read = b""

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport.
        self._transport = transport
        self._address = transport.get_extra_info("sockname")[0]
        if not transport.get_extra_info("peername")[0].startswith("127."):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, rest = self._read.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            lengths = (x[15:] for x in lines[1:] if x.lower().startswith("content-length:"))
            length = int(next(lengths, "0"))
            if len(rest) < length:
                return
            self._read = rest[length:]
            code, body = self._handle(self._address, lines[0], rest[:length])
            said = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n"
            self._transport.write(f"{said}Content-Length: {len(body)}\r\n\r\n".encode() + body)


class Outside:
    """Railway with so many services, and their agents."""

    def __init__(self, agents_port: int) -> None:
        self._agents_port = agents_port
        self._count = 0
        self._told: set[str] = set()
        self._twice = 0
        self._names: dict[int, str] = {}  # Of those renamed.
        self._pages: dict[int, bytes] = {}
        self.requests: Counter[str] = Counter()

    # ---------------------------------------------------------------- agents

    def agent(self, address: str, line: str, _: bytes) -> tuple[int, bytes]:
        told = address in self._told
        if line.startswith("GET /pool/status"):
            return 200, b'{"ready":true,"provisioned":%s}' % (b"true" if told else b"false")
        if told:
            self._twice += 1
            return 409, b'{"error":"Instance already provisioned"}'
        self._told.add(address)
        said = {"conversationId": f"conversation-{address}", "inviteUrl": invite_of(address)}
        return 200, json.dumps(said).encode()

    # ---------------------------------------------------------------- Railway

    def railway(self, _: str, line: str, body: bytes) -> tuple[int, bytes]:
        if line.startswith("GET /_counts"):
            said = {"told": len(self._told), "twice": self._twice, "requests": self.requests}
            return 200, json.dumps(said).encode()
        if line.startswith("POST /_grow?to="):
            self._count = int(line.split()[1].partition("=")[2])
            self._pages.clear()
            return 200, b"{}"
        asked = json.loads(body)
        operation = str(asked["operationName"])
        self.requests[operation] += 1
        return 200, b'{"data":%s}' % self._answer(operation, asked.get("variables") or {})

    def _answer(self, operation: str, variables: dict[str, str]) -> bytes:
        said: dict[str, Any]
        match operation:
            case "PoolObserve":
                return self._page(int(variables.get("after") or 0))
            case "ProjectTokenWhoAmI":
                said = {"projectToken": {"projectId": PROJECT, "environmentId": ENVIRONMENT}}
            case "ServiceRename":
                number = int(variables["id"].rpartition("-")[2])
                self._names[number] = variables["name"]
                self._pages.pop(number // PAGE * PAGE, None)
                said = {"serviceUpdate": {"id": variables["id"]}}
            case "EnvironmentPatchCommit":
                said = {"environmentPatchCommit": "workflow"}
            case _:
                said = {}
        return json.dumps(said).encode()

    def _page(self, after: int) -> bytes:
        if after not in self._pages:
            until = min(after + PAGE, self._count)
            nodes = [{"node": self._node(Member(n))} for n in range(after, until)]
            more = {"hasNextPage": until < self._count, "endCursor": str(until)}
            connection = {"edges": nodes, "pageInfo": more}
            said = {"environment": {"id": ENVIRONMENT, "serviceInstances": connection}}
            self._pages[after] = json.dumps(said).encode()
        return self._pages[after]

    def _node(self, member: Member) -> dict[str, object]:
        domain = {"domain": f"{member.address}:{self._agents_port}", "syncStatus": "ACTIVE"}
        latest = {"id": f"d-{member.name}", "status": "SUCCESS", "createdAt": MADE}
        return {
            "serviceId": member.service_id,
            "serviceName": self._names.get(member.number, member.service_name),
            "deletedAt": None,
            "source": {"image": "agents/convos:1", "repo": None},
            "latestDeployment": {**latest, "deploymentStopped": False},
            "domains": {"serviceDomains": [domain]},
        }


async def run(agents_port: int, railway_port: int) -> None:
    """Until killed. Agents listen on every address, each of 127.0.0.0/8 being another agent."""
    outside, loop = Outside(agents_port), asyncio.get_running_loop()
    everywhere = "0.0.0.0"  # noqa: S104 - Who is not of this machine is cut off.
    await loop.create_server(lambda: Http(outside.agent), everywhere, agents_port, backlog=4096)
    await loop.create_server(lambda: Http(outside.railway), "127.0.0.1", railway_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m tests.bench.outside", description=__doc__)
    options.add_argument("--agents-port", type=int, required=True)
    options.add_argument("--railway-port", type=int, required=True)
    ports = options.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(ports.agents_port, ports.railway_port))
