"""Connections to a NATS server that the load's workloads use like those to a hub: a peer is a subject of its own."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, cast

import msgspec

from orchestrator.client.budget import Budget
from orchestrator.client.load.counter import FrameCounter
from orchestrator.client.load.framing import CLOSE, PING, TEXT, Found
from orchestrator.client.load.mould import NUMBERS, Mould, sample

if TYPE_CHECKING:
    from collections.abc import Callable

_OK: Final = b"+OK\r\n"


class NatsFraming:
    """Lines, and messages with a line before them. The content of a message is what was published, that of a line itself."""

    def next(self, data: bytes, start: int) -> Found | None:
        line = data.find(b"\r\n", start)
        if line < 0:
            return None
        if data.startswith(b"MSG", start):
            content = line + 2
            end = content + int(data[data.rfind(b" ", start, line) : line])
            return Found(TEXT, content, end + 2) if len(data) >= end + 2 else None
        kind = PING if data.startswith(b"PING", start) else CLOSE if data.startswith(b"-ERR", start) else TEXT
        return Found(kind, start, line + 2)

    def pong(self, content: bytes) -> bytes:  # noqa: ARG002
        return b"PONG\r\n"

    def farewell(self, content: bytes) -> str:
        return f"NATS ended a connection: {content!r}"


class NatsPeer(asyncio.Protocol):
    """A client in verbose mode, in which the server acks each request, as a hub does."""

    def __init__(self, name: str, lost: Callable[[str], None]) -> None:
        self.name = name
        self._lost = lost
        self._transport: asyncio.Transport
        self._heard = b""
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._counter: FrameCounter | None = None

    # -- what a workload does

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def enter(self) -> None:
        name = self.name.encode()
        await self._asked(b'CONNECT {"verbose":true,"pedantic":false,"echo":false}\r\nSUB %b 1\r\nPING\r\n' % name)

    async def join(self, channel: str) -> None:
        await self._asked(b"SUB %b 2\r\nPING\r\n" % _subject(channel))

    async def _asked(self, request: bytes) -> None:
        self._heard, self._answer = b"", asyncio.get_running_loop().create_future()
        self.write(request)
        await self._answer
        self._heard = b""

    async def settled(self, members: int) -> None:
        """NATS tells nobody of others."""

    def publishing(self, channel: str, size: int) -> Mould:
        return self._to(_subject(channel), size)

    def sending(self, to: str, size: int) -> Mould:
        return self._to(_subject(to), size)

    def _to(self, subject: bytes, size: int) -> Mould:
        return Mould.around(lambda data: b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data), size)

    def count_messages(self, channel: str, size: int, on_frames: Callable[[int, bytes], None]) -> FrameCounter:  # noqa: ARG002
        return self._counted(_Sent(size).number, on_frames, NUMBERS)

    def count_directs(
        self, size: int, on_frames: Callable[[int, bytes], None], *, numbers: int = NUMBERS
    ) -> FrameCounter:
        return self._counted(_Sent(size).number, on_frames, numbers)

    def count_acks(self, on_frames: Callable[[int, bytes], None], *, numbers: int = NUMBERS) -> FrameCounter:  # noqa: ARG002
        return self._counted(lambda content: 0 if content == _OK else None, on_frames, 1)

    def _counted(
        self, number_in: Callable[[bytes], int | None], on_frames: Callable[[int, bytes], None], numbers: int
    ) -> FrameCounter:
        counter = self._counter = FrameCounter(
            self._transport, NatsFraming(), number_in, on_frames, self._lost, numbers=numbers
        )
        counter.start(b"")
        return counter

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._counter is not None:
            self._counter.let_go()
        self._transport.abort()

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if b"PONG\r\n" in self._heard and not self._answer.done():
            self._answer.set_result(None)


class NatsDialler:
    def __init__(self, port: int) -> None:
        self.lost: Callable[[str], None] = _nobody_asks
        self._port = port
        self._peers: list[NatsPeer] = []

    async def open(self, name: str) -> NatsPeer:
        peer = NatsPeer(name, lambda why: self.lost(why))
        await asyncio.get_running_loop().create_connection(lambda: peer, "127.0.0.1", self._port)
        self._peers.append(peer)
        await peer.enter()
        return peer

    def budget(self) -> Budget:
        return Budget(math.inf, 1)

    def rate(self) -> float:
        return math.inf

    async def close(self) -> None:
        for peer in self._peers:
            peer.abort()


class _Sent:
    def __init__(self, size: int) -> None:
        self._text = msgspec.json.decode(sample(size))["text"]

    def number(self, content: bytes) -> int | None:
        """Raises `ValueError` for a message that is not the one that was sent."""
        if not content.startswith(b"{"):
            return None
        data = msgspec.json.decode(content)
        if data["text"] != self._text:
            raise ValueError(f"a message came that was not sent so: {content[:200]!r}")
        return int(data["n"])


def _subject(name: str) -> bytes:
    return name.replace("/", ".").encode()


def _nobody_asks(_why: str) -> None:
    """Before a workload has begun, there is nothing to tell."""
