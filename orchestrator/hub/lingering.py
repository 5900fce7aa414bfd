"""The last moments of a socket: what was written gets out, although what still comes in is not wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

UNREAD: Final = 262_144
"""Bytes that are read and thrown away before the other side has to wait for the end."""
_TLS_WAIT: Final = 1.0


class Lingering(asyncio.Protocol):
    """Closes a socket without a reset: a reset would take with it what the other side has not read yet.

    The kernel resets a connection that is closed with unread input, so input is read and thrown away until the
    other side ends, or `wait` seconds are over.
    """

    def __init__(self, transport: asyncio.Transport, wait: float, on_lost: Callable[[], None] | None = None) -> None:
        self._transport = transport
        self._on_lost = on_lost
        self._thrown_away = 0
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()
        else:  # TLS has no half-close: the other side may be waiting for us to end
            wait = min(wait, _TLS_WAIT)
        self._deadline = asyncio.get_running_loop().call_later(wait, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > UNREAD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # however it ended
        self._deadline.cancel()
        if self._on_lost is not None:
            self._on_lost()


class Line:
    """A transport as picows sees it: its `close` lingers unless the closing handshake is complete.

    picows closes 10 ms after it has sent a close frame for a fault that it found itself. By then the other side
    has rarely answered, and may still be sending what made the fault.
    """

    def __init__(
        self, transport: asyncio.Transport, wait: float, on_fault: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        """`on_fault` is told when picows gives up, `on_lost` when the socket has ended after that."""
        self._transport = transport
        self._wait = wait
        self._on_fault = on_fault
        self._on_lost = on_lost
        self._lingering: Lingering | None = None
        self.complete = False
        """Both close frames have been sent, or there is no hope for them."""
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.write = transport.write
        self.writelines = transport.writelines
        self.abort = transport.abort
        self.is_closing = transport.is_closing

    def as_transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self)

    def close(self) -> None:
        if self.complete or self._transport.is_closing():
            self._transport.close()
        elif self._lingering is None:
            self._lingering = Lingering(self._transport, self._wait, self._on_lost)
            self._on_fault()
