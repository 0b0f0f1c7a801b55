"""Real sockets that behave badly: a server that cuts or hangs once it has heard, a closed port."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HANG = None


@asynccontextmanager
async def a_server(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Hears one request's head per connection, then sends these bytes and hangs up; HANG: does neither.

    Yields its port and what it has heard.
    """
    heard: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        over.set()
        server.close()
        await server.wait_closed()


def a_closed_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
