"""A relay between a client and a hub, for a test to cut."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Relay:
    """Passes bytes both ways, connection by connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ended: set[asyncio.Future[None]] = set()
        self.url = ""

    async def abort(self) -> None:
        """Reset every connection on both sides, and hold new ones back until `go_on`."""
        self._open.clear()
        ended = asyncio.gather(*self._ended)
        for writer in self._writers:
            writer.transport.abort()
        await ended

    def go_on(self) -> None:
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = asyncio.get_running_loop().create_future()
        self._ended.add(done)
        self._writers.add(writer)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(self._host, self._port)
            self._writers.add(back)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass_on(reader, back))
                    both.create_task(_pass_on(there, writer))
            finally:
                back.transport.abort()
                self._writers.discard(back)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._ended.discard(done)
            done.set_result(None)


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            to.write(data)
            await to.drain()
    except ConnectionError:
        pass
    finally:
        to.close()


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    passing = Relay(host, int(port))
    server = await asyncio.start_server(passing.serve, "127.0.0.1", 0)
    passing.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield passing
    finally:
        server.close()
        await passing.abort()
