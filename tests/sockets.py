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


class Line:
    """A line to a port on loopback that can be cut or fall silent, and mended again on the same port."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._pipes: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._flows = asyncio.Event()
        self.port = 0

    async def mend(self) -> None:
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Nothing gets through, and nobody gets in."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in list(self._pipes.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def hush(self) -> None:
        """Nothing gets through, and nobody is told: what is sent arrives once it is mended."""
        self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()  # Nobody there: whoever calls is told at once.
            return
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pipe(source, sink))
            self._pipes[task] = sink
            task.add_done_callback(lambda done: self._pipes.pop(done, None))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
