"""Connections to Redis or Valkey that the load's workloads use like those to a hub: a peer is a channel of its own."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

import msgspec

from orchestrator.client.budget import Budget
from orchestrator.client.load.counter import FrameCounter
from orchestrator.client.load.framing import CLOSE, TEXT, Found
from orchestrator.client.load.mould import NUMBERS, Mould, sample

if TYPE_CHECKING:
    from collections.abc import Callable


class RedisFraming:
    """Answers of one line, and messages of the third version of the protocol. The content of a message is what was
    published, that of an answer itself.
    """

    def next(self, data: bytes, start: int) -> Found | None:
        if not data.startswith(b">", start):
            end = data.find(b"\r\n", start) + 2
            return Found(CLOSE if data.startswith(b"-", start) else TEXT, start, end) if end > 1 else None
        end, parts = start, data[start + 1 : start + 2]
        for _ in range(2 * int(parts or 1)):  # up to the length of the last part, each has one before it
            before, end = end, data.find(b"\r\n", end) + 2
            if end < 2:
                return None
        last = end + int(data[before + 1 : end - 2]) + 2
        return Found(TEXT, end, last) if len(data) >= last else None

    def pong(self, content: bytes) -> bytes:  # noqa: ARG002
        return b""

    def farewell(self, content: bytes) -> str:
        return f"Redis refused something: {content!r}"


class RedisPeer(asyncio.Protocol):
    """A client whose publishes are answered by a number, as the engine does it."""

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
        await self._asked(command(b"HELLO", b"3") + command(b"SUBSCRIBE", self.name.encode()))

    async def join(self, channel: str) -> None:
        await self._asked(command(b"SUBSCRIBE", channel.encode()))

    async def _asked(self, request: bytes) -> None:
        self._heard, self._answer = b"", asyncio.get_running_loop().create_future()
        self.write(request + command(b"PING"))
        await self._answer
        self._heard = b""

    async def settled(self, members: int) -> None:
        """Redis tells nobody of others."""

    def publishing(self, channel: str, size: int) -> Mould:
        return Mould.around(lambda data: command(b"PUBLISH", channel.encode(), data), size)

    def sending(self, to: str, size: int) -> Mould:
        return self.publishing(to, size)

    def count_messages(self, channel: str, size: int, on_frames: Callable[[int, bytes], None]) -> FrameCounter:  # noqa: ARG002
        return self._counted(_number_in(size), on_frames, NUMBERS)

    def count_directs(
        self, size: int, on_frames: Callable[[int, bytes], None], *, numbers: int = NUMBERS
    ) -> FrameCounter:
        return self._counted(_number_in(size), on_frames, numbers)

    def count_acks(self, on_frames: Callable[[int, bytes], None], *, numbers: int = NUMBERS) -> FrameCounter:  # noqa: ARG002
        return self._counted(lambda content: 0 if content.startswith(b":") else None, on_frames, 1)

    def _counted(
        self, number_in: Callable[[bytes], int | None], on_frames: Callable[[int, bytes], None], numbers: int
    ) -> FrameCounter:
        counter = self._counter = FrameCounter(
            self._transport, RedisFraming(), number_in, on_frames, self._lost, numbers=numbers
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
        if b"+PONG\r\n" in self._heard and not self._answer.done():
            self._answer.set_result(None)


class RedisDialler:
    def __init__(self, port: int) -> None:
        self.lost: Callable[[str], None] = _nobody_asks
        self._port = port
        self._peers: list[RedisPeer] = []

    async def open(self, name: str) -> RedisPeer:
        peer = RedisPeer(name, lambda why: self.lost(why))
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


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))


def _number_in(size: int) -> Callable[[bytes], int | None]:
    text = msgspec.json.decode(sample(size))["text"]

    def number(content: bytes) -> int | None:
        """Raises `ValueError` for a message that is not the one that was sent."""
        if not content.startswith(b"{"):
            return None
        data = msgspec.json.decode(content)
        if data["text"] != text:
            raise ValueError(f"a message came that was not sent so: {content[:200]!r}")
        return int(data["n"])

    return number


def _nobody_asks(_why: str) -> None:
    """Before a workload has begun, there is nothing to tell."""
