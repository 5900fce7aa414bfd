"""A server of the test's own on either loop, and a client that can break every rule."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from tests.hub.rig import PAGE_KEY
from tests.joined_servers import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from orchestrator.hub.server import Server

KEY = SecretKey("sk_id_test", "sk_secret_" + "k" * 32, rate="unlimited")
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


def on_both_loops(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """Run a test on asyncio's own loop and on uvloop, which hubs run on."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def on_loop(loop: str) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
            runner.run(bounded())

    on_loop.__name__, on_loop.__doc__, on_loop.__module__ = test.__name__, test.__doc__, test.__module__
    return on_loop


@asynccontextmanager
async def server(
    settings: Settings | None = None,
    address: str = "127.0.0.1:0",
    send_buffer: int | None = None,
    keys: KeyRing | None = None,
) -> AsyncIterator[Server]:
    """Serve; `send_buffer` is what the kernel takes for one connection, in bytes."""
    listening = listen(parse_address(address))
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    running = new_server(keys or KeyRing([KEY], [PAGE_KEY]), settings or Settings(drain_grace=0.5))
    await running.start(listening)
    try:
        yield running
    finally:
        if not running.draining:
            await running.drain()


def token(sub: str, life: float = 600, **claims: Any) -> str:
    return mint(KEY, Claims(sub=sub, exp=int(time.time() + life), **claims))


def upgrade(target: str, *more: str, connection: str = "Upgrade", version: str = "13") -> bytes:
    """Return a request for a WebSocket."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        f"Connection: {connection}",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return a frame as a client sends it, or should not."""
    mask = os.urandom(4) if masked else b""
    flag = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        length = bytes([flag | size])
    elif size < 65_536:
        length = bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([flag | 127]) + size.to_bytes(8, "big")
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else payload
    return bytes([(0x80 if fin else 0) | reserved << 4 | opcode]) + length + mask + body


class Raw:
    """A connection whose every byte the test chooses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def say(self, message: object) -> None:
        self.send(frame(TEXT, json.dumps(message).encode()))

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        self._transport.resume_reading()

    @property
    def _transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.writer.transport)

    async def head(self) -> tuple[int, bytes]:
        """Return the status and the head of an HTTP answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head

    async def read(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame."""
        first, second = await self.reader.readexactly(2)
        assert not second & 0x80, "a server does not mask"
        size = second
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> dict[str, Any]:
        opcode, payload = await self.read()
        assert opcode == TEXT, (opcode, payload)
        return dict(json.loads(payload))

    async def close_code(self) -> int:
        """Pass over everything before the close frame, and return its code."""
        while True:
            opcode, payload = await self.read()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def ended(self) -> bool:
        """Wait until the other side has closed; tell whether it did so without a reset."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            return False
        return True


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_peer(url: str, sub: str, **claims: Any) -> AsyncIterator[Raw]:
    """Connect as a peer, up to and with its welcome."""
    async with raw(url) as connection:
        connection.send(upgrade(f"/v1?token={token(sub, **claims)}"))
        assert (await connection.head())[0] == 101
        assert (await connection.message())["type"] == "welcome"
        yield connection


async def http_get(url: str, path: str) -> tuple[int, bytes]:
    async with raw(url) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        status, _ = await connection.head()
        return status, await connection.reader.read()
