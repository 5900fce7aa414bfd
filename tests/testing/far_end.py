"""A TCP server, and those who connect to it: a test holds both ends of every connection in its hands."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

SAFETY = 10.0
"""Seconds after which a test that waits for something has failed."""


class Wire:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    async def hear(self, size: int) -> bytes:
        async with asyncio.timeout(SAFETY):
            return await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return everything until the orderly end; raises `ConnectionResetError` for another one."""
        async with asyncio.timeout(SAFETY):
            return await self._reader.read()

    async def is_reset(self) -> bytes:
        """Return what came before the reset."""
        got = b""
        async with asyncio.timeout(SAFETY):
            while True:
                try:
                    more = await self._reader.read(65_536)
                except ConnectionResetError:
                    return got
                assert more, "the connection was closed, not reset"
                got += more

    def end_stream(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    async def gone(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class FarEnd:
    def __init__(self) -> None:
        self.target = ""
        self.callers: asyncio.Queue[Wire] = asyncio.Queue()
        self._all: list[Wire] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for wire in self._all:
            await wire.gone()

    def stop(self) -> None:
        """Accept nobody any more."""
        self._server.close()

    async def caller(self) -> Wire:
        """Return the next connection."""
        async with asyncio.timeout(SAFETY):
            return await self.callers.get()

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.append(Wire(reader, writer))
        self.callers.put_nowait(self._all[-1])

    async def dial(self, port: int) -> Wire:
        """Connect to a port, which stands between the test and this server."""
        async with asyncio.timeout(SAFETY):
            wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
        self._all.append(wire)
        return wire

    async def is_reset_at_once(self, port: int) -> None:
        """Connect to a port that resets whoever does: before or after the caller has noticed that it is connected."""
        try:
            wire = await self.dial(port)
        except ConnectionResetError:
            return
        assert await wire.is_reset() == b""
