"""A TCP front before a hub, which counts those who come, and can cut everybody and let nobody in."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final, cast

_BACKLOG: Final = 4096
_RESET: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: a close that resets, like a hub that is not there."""


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float
    """A reading of the monotonic clock, in seconds."""
    let_in: bool


class Front:
    """Passes bytes on to `port` of this machine, or, while that is `None`, resets whoever comes."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.arrivals: list[Arrival] = []
        self._inside: set[_Side] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Side(self), "127.0.0.1", 0, backlog=_BACKLOG
        )
        return int(self._server.sockets[0].getsockname()[1])

    def cut_all(self) -> None:
        self.port = None
        for side in list(self._inside):
            side.cut()

    async def stop(self) -> None:
        self.cut_all()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def came(self, side: _Side) -> None:
        self.arrivals.append(Arrival(time.monotonic(), self.port is not None))
        if self.port is None:
            side.cut()
            return
        self._inside.add(side)
        opening = asyncio.get_running_loop().create_task(self._open(side, self.port))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, outer: _Side, port: int) -> None:
        inner = _Side(self, outer)
        try:
            await asyncio.get_running_loop().create_connection(lambda: inner, "127.0.0.1", port)
        except OSError:
            outer.cut()

    def gone(self, side: _Side) -> None:
        self._inside.discard(side)


class _Side(asyncio.Protocol):
    """One socket of the two that make a connection; traffic is so little that nothing is held back."""

    def __init__(self, front: Front, outer: _Side | None = None) -> None:
        self._front = front
        self._other = outer
        self._is_outer = outer is None
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._is_outer:
            self._front.came(self)
        else:
            assert self._other is not None
            self._other.joined(self)

    def joined(self, inner: _Side) -> None:
        self._other = inner
        if self._transport is None or self._transport.is_closing():
            inner.cut()
        for data in self._early:
            inner.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def cut(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # however it ended
        if self._is_outer:
            self._front.gone(self)
        if self._other is not None:
            self._other.cut()
