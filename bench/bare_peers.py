"""Connections that cost next to nothing: frames as bytes, without a client around them.

What is sent is masked with zeros. A ping is answered; a close is answered and remembered.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.hub.wire import close_frame
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_TEXT: Final = 0x81
_TOO_SLOW: Final = close_frame(CloseCode.POLICY_VIOLATION, "slow consumer")
_RESET: Final = struct.pack("ii", 1, 0)


def upgrade(token: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /v1?token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def masked(payload: bytes, opcode: int = _TEXT) -> bytes:
    """Return a frame as a client sends it."""
    size = len(payload)
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Take whole frames off `data`: their first bytes and contents, and what is left."""
    found = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if end - start < wide:
                break
            size, start = int.from_bytes(data[start : start + wide], "big"), start + wide
        if end - start < size:
            break
        found.append((data[at], data[start : start + size]))
        at = start + size
    return found, data[at:]


class BarePeer(asyncio.Protocol):
    """One connection. `hear` is given each text that comes after the welcome."""

    def __init__(self, token: str, hear: Callable[[bytes], None] | None = None) -> None:
        self.hear = hear
        loop = asyncio.get_running_loop()
        self.welcome: asyncio.Future[None] = loop.create_future()
        """Done when the hub has welcomed it. Raises `ConnectionError` when it did not."""
        self.gone: asyncio.Future[int] = loop.create_future()
        """The code of the close frame that came; 0 if none did."""
        self._code = 0
        self._request = upgrade(token)
        self._upgraded = False
        self._unread = b""
        self._transport: asyncio.Transport

    @classmethod
    async def connected(cls, port: int, token: str, hear: Callable[[bytes], None] | None = None) -> BarePeer:
        loop = asyncio.get_running_loop()
        _, peer = await loop.create_connection(lambda: cls(token, hear), "127.0.0.1", port)
        await peer.welcome
        return peer

    def say(self, **frame: Any) -> None:
        self.write(masked(encode_json(frame)))

    def write(self, data: bytes) -> None:
        """Write, unless the connection has ended."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Say goodbye, and wait for the answer."""
        self.write(masked(b"\x03\xe8", CLOSE))

    def cut(self) -> None:
        """Reset the connection, if it has not ended."""
        if self._transport.is_closing():
            return
        sock = cast(socket.socket, self._transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def abandon(self) -> None:
        """End the connection of TCP without a close frame."""
        self._transport.abort()

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._unread + data if self._unread else data
        if not self._upgraded:
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                self._unread = head
                return
            self._upgraded = head.startswith(b"HTTP/1.1 101")
            if not self._upgraded:
                self._transport.abort()
                return
        whole, self._unread = frames(data)
        for kind, content in whole:
            if kind == _TEXT:
                if not self.welcome.done():
                    self.welcome.set_result(None)
                elif self.hear is not None:
                    self.hear(content)
            elif kind == _PING:
                self.write(masked(content, _PONG))
            elif kind == CLOSE:
                self._code = int.from_bytes(content[:2], "big")
                self.write(masked(content[:2], CLOSE))
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError(f"the hub did not let a peer in: {error or self._code}"))
        if not self.gone.done():
            self.gone.set_result(self._code)


class DeadReader:
    """A socket that takes little and is not read, until `wake`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @classmethod
    async def connected(cls, port: int, token: str, *channels: str) -> DeadReader:
        """Connect, subscribe to `channels`, and read nothing any more."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, upgrade(token))
        read = b""
        while b'"welcome"' not in read:
            read += await loop.sock_recv(sock, 4096)
        for channel in channels:
            asked = {"type": "subscribe", "channel": channel, "requestId": "join"}
            await loop.sock_sendall(sock, masked(encode_json(asked)))
            read = b""
            while b'"ack"' not in read:
                read += await loop.sock_recv(sock, 4096)
        return cls(sock)

    async def wake(self) -> int:
        """Read to the end, and return the code of the close frame; 0 if none came."""
        loop = asyncio.get_running_loop()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        end = b""
        try:
            while chunk := await loop.sock_recv(self._sock, 65_536):
                end = (end + chunk)[-len(_TOO_SLOW) :]
                if end == _TOO_SLOW:
                    await loop.sock_sendall(self._sock, masked(end[2:4], CLOSE))
                    return int.from_bytes(end[2:4], "big")
        except ConnectionError:
            return 0
        return 0

    def end(self) -> None:
        self._sock.close()
