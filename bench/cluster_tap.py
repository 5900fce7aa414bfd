"""Listens to everything that the hubs of a cluster say to one another, and counts it as one of them would hear it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

from bench.cluster_redis_peer import RedisFraming, command
from bench.cluster_servers import NAMESPACE
from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.envelopes import decode
from orchestrator.hub.nats_wire import NatsReader
from orchestrator.hub.origins import STAMP
from orchestrator.hub.subjects import nats_root, nats_subject, redis_channel, redis_root

if TYPE_CHECKING:
    from collections.abc import Callable

_TOPIC: Final = Topic(Kind.EVERYBODY)
"""Of almost everything that is counted."""
_NATS_AROUND: Final = len(b"MSG  1 100\r\n\r\n") + len(nats_subject(NAMESPACE, _TOPIC))
_REDIS_AROUND: Final = len(b">3\r\n$7\r\nmessage\r\n$22\r\n\r\n$100\r\n\r\n") + len(redis_channel(NAMESPACE, _TOPIC))
_FRAMING: Final = RedisFraming()


class Tap(asyncio.Protocol):
    """Open while it counts; a hub's own `ask` finds it listening, too."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._transport: asyncio.Transport
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._around = _NATS_AROUND if scheme == "nats" else _REDIS_AROUND
        self._feed: Callable[[bytes], None] = NatsReader(self._heard, self).feed if scheme == "nats" else self._redis
        self._rest = b""
        self.messages: Counter[str] = Counter()
        """By what they are: the word of `envelopes`, small."""
        self.bytes = 0
        """Of the lines and messages that one hub would read."""

    @classmethod
    async def opened(cls, scheme: str, port: int) -> Tap:
        tap = cls(scheme)
        await asyncio.get_running_loop().create_connection(lambda: tap, "127.0.0.1", port)
        await tap._ready
        return tap

    def count(self) -> dict[str, Any]:
        """Return what has come since it was asked last."""
        found = {"messages": self.messages.total(), "bytes": self.bytes, "kinds": dict(self.messages)}
        self.messages.clear()
        self.bytes = 0
        return found

    def close(self) -> None:
        self._transport.abort()

    # -- what the loop and the reader call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._scheme == "nats":
            self._transport.write(
                b'CONNECT {"verbose":false}\r\nSUB %b.> 1\r\nPING\r\n' % nats_root(NAMESPACE).encode()
            )
        else:
            self._transport.write(
                command(b"HELLO", b"3") + command(b"PSUBSCRIBE", redis_root(NAMESPACE) + b"*") + command(b"PING")
            )

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def _redis(self, data: bytes) -> None:
        if not self._ready.done():
            self._rest += data
            if b"+PONG\r\n" in self._rest:
                self._rest = b""
                self.pong()
            return
        self._rest += data
        start = 0
        while (found := _FRAMING.next(self._rest, start)) is not None:
            self._heard(self._rest[found.content : found.end - 2])
            start = found.end
        self._rest = self._rest[start:]

    def _heard(self, message: bytes) -> None:
        said = decode(message[STAMP:])
        self.messages["unknown" if said is None else type(said).__name__.lower()] += 1
        self.bytes += len(message) + self._around

    def pong(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def ping(self) -> None:
        self._transport.write(b"PONG\r\n")

    def status(self, subject: bytes) -> None:
        """Nothing was asked."""

    def error(self, text: str) -> None:
        raise RuntimeError(text)

    def info(self, line: bytes) -> None:
        """Which server it is does not matter."""
