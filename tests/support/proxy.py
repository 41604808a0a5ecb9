"""A TCP proxy on the loopback interface whose links can be cut or stalled."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hand_cluster import free_port

BLOCK = 1 << 16


class Proxy:
    """Passes connections on to a port of this machine.

    Args:
        target: The port.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward}
        await asyncio.gather(self._pass(reader, onward), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(BLOCK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""

        def now() -> None:
            self._is_cut = True
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(now)

    def stall(self) -> None:
        """Pass nothing on any more; connections stay open."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def go_on(self) -> None:
        """Pass on what has waited."""
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _stop(self) -> None:
        self._server.close()
        self._is_cut = True
        self._flows.set()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.wait(tasks, timeout=1)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Run a proxy to a port in a thread of its own."""
    made = Proxy(target)
    made._thread.start()
    asyncio.run_coroutine_threadsafe(made._start(), made._loop).result(10)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(made._stop(), made._loop).result(10)
        made._loop.call_soon_threadsafe(made._loop.stop)
        made._thread.join(10)
        made._loop.close()
