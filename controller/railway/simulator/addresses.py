"""Where agents listen: an address of its own for each domain on Linux, a port of its own elsewhere."""

import socket
import sys
from hashlib import sha256

from controller.railway.simulator.holdings import Addresses


def addresses(agent_port: int) -> Addresses:
    """On Linux every 127.x.y.z is this machine; macOS has 127.0.0.1 alone."""
    return LoopbackAddresses(agent_port) if sys.platform == "linux" else free_port_address


class LoopbackAddresses:
    """127.64.0.0 to 127.127.255.255, by a hash of the service's id: the same again after a restart."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, service_id: str, label: str, before: int) -> str:
        a, b, c = sha256(f"{service_id}/{before}".encode()).digest()[:3]
        return f"127.{64 + a % 64}.{b}.{1 + c % 254}:{self._port}"


def free_port_address(service_id: str, label: str, before: int) -> str:
    """A port that nobody has now; the world keeps it as the domain."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def parts(host: str) -> tuple[str, int]:
    """`127.64.1.2:9180` as address and port."""
    address, _, port = host.rpartition(":")
    return address, int(port)
