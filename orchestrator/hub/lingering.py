"""The last moments of a socket: what was written gets out, although what still comes in is not wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

UNREAD: Final = 1_048_576
"""Bytes that are read and thrown away before the other side has to wait for the end."""
_TLS_WAIT: Final = 1.0
_ACCEPTED: Final = b"HTTP/1.1 101 "
_CLOSE: Final = 0x88
"""The first byte of a close frame."""


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


class _Descriptor:
    """All of a socket that picows needs: it asks for options that nobody looks at, and sets one that is set already."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def setsockopt(self, *_option: int) -> None:
        return

    def getsockopt(self, *_option: int) -> int:
        return 0


class Line:
    """A transport as picows sees it, which cannot end a connection by itself.

    On a fault picows writes a close frame at once, ahead of answers to what came before the fault, and closes 10 ms
    later; by then the other side has rarely answered, and may still be sending what made the fault. So its close
    frame is not written but told to `on_fault`, and whoever is told closes.
    """

    __slots__ = ("__weakref__", "_on_fault", "_told", "_transport", "abort", "is_closing", "response", "writelines")

    def __init__(self, transport: asyncio.Transport, on_fault: Callable[[int], None]) -> None:
        """`on_fault` gets the close code that fits the fault."""
        self._transport = transport
        self._on_fault = on_fault
        self._told = False
        self.response = b""
        """The answer to the request for a WebSocket: it is for whoever writes first to send it along."""
        self.writelines = transport.writelines
        self.abort = transport.abort
        self.is_closing = transport.is_closing

    def as_transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self)

    def get_extra_info(self, name: str) -> object:
        if name == "socket":
            return _Descriptor(self._transport.get_extra_info(name).fileno())
        return self._transport.get_extra_info(name)

    def get_write_buffer_size(self) -> int:
        """Say that there is something, since picows would write to the socket itself otherwise."""
        return 1

    def write(self, data: bytes) -> None:
        if data.startswith(_ACCEPTED):
            self.response = bytes(data)
        elif data[0] == _CLOSE:
            self._told = True
            self._on_fault(int.from_bytes(data[2:4], "big"))
        else:
            self._transport.write(data)

    def close(self) -> None:
        if not self._told:
            self._transport.close()
