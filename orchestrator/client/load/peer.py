"""One connection that load comes from or goes to: it is let in, joins a channel, and is then counted by its bytes."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec

from orchestrator.client.load.counter import FrameCounter
from orchestrator.client.load.framing import CLOSE, PING, TEXT, WebSocketFraming, close_frame, text_frame
from orchestrator.client.load.mould import NUMBERS, Mould, request_number, sample
from orchestrator.errors import ConnectionProblem, TerminalDisconnect
from orchestrator.protocol.codes import CloseCode, closing
from orchestrator.protocol.frames import Ack, Error, Presence, Welcome, decode_hub_frame, encode_json

if TYPE_CHECKING:
    from collections.abc import Callable

    OnFrames = Callable[[int, bytes], None]

_FRAMING: Final = WebSocketFraming()
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_REQUEST_ID: Final = re.compile(rb'\{"type": ?"ack", ?"requestId": ?"r(\d{7})"')


class LoadPeer(Protocol):
    """What the workloads do with a connection, whatever kind of server it is to."""

    name: str

    def write(self, data: bytes) -> None: ...

    async def join(self, channel: str) -> None:
        """Subscribe to a channel."""

    async def settled(self, members: int) -> None:
        """Wait until this peer has been told of everybody in a channel of so many, where its server tells."""

    def publishing(self, channel: str, size: int) -> Mould: ...

    def sending(self, to: str, size: int) -> Mould: ...

    def count_messages(self, channel: str, size: int, on_frames: OnFrames) -> FrameCounter: ...

    def count_directs(self, size: int, on_frames: OnFrames, *, numbers: int = NUMBERS) -> FrameCounter: ...

    def count_acks(self, on_frames: OnFrames, *, numbers: int = NUMBERS) -> FrameCounter: ...

    def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None: ...


class HubPeer(asyncio.Protocol):
    """A connection to a hub. `lost` is told when it ends without having been closed, once it was let in."""

    def __init__(self, host: bytes, target: bytes, lost: Callable[[str], None], *, rosters: bool = True) -> None:
        self._request = (
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: %b\r\n\r\n" % (target, host, base64.b64encode(os.urandom(16)))
        )
        self._lost, self._rosters = lost, rosters
        self._transport: asyncio.Transport
        self._unread = b""
        self._upgraded = False
        self._ended = False
        self._counter: FrameCounter | None = None
        loop = asyncio.get_running_loop()
        self.welcome: asyncio.Future[Welcome] = loop.create_future()
        """Or why there is none: a `ConnectionProblem`."""
        self._answer: asyncio.Future[None] = loop.create_future()
        self._answer.set_result(None)  # nothing was asked
        self._known: set[str] = set()
        self._told_of: asyncio.Future[None] = loop.create_future()
        self._awaited = -1
        self.name = ""

    # -- what a workload does

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def join(self, channel: str) -> None:
        """Raises `ConnectionProblem` when the hub refuses, or has closed the connection."""
        if self._ended:
            raise ConnectionProblem("the hub closed a connection before it was asked for anything")
        self._answer = asyncio.get_running_loop().create_future()
        self.write(text_frame(b'{"type":"subscribe","channel":%b,"requestId":"join"}' % encode_json(channel)))
        await self._answer

    async def settled(self, members: int) -> None:
        if self._rosters:
            self._awaited = members - 1
            self._compare()
            await self._told_of

    def publishing(self, channel: str, size: int) -> Mould:
        name = encode_json(channel)
        return self._asking(
            b'{"type":"publish","channel":%b,"data":%%b,"requestId":"r%%b"}' % name.replace(b"%", b"%%"), size
        )

    def sending(self, to: str, size: int) -> Mould:
        name = encode_json(to)
        return self._asking(b'{"type":"send","to":%b,"data":%%b,"requestId":"r%%b"}' % name.replace(b"%", b"%%"), size)

    def _asking(self, request: bytes, size: int) -> Mould:
        return Mould.around(lambda data: text_frame(request % (data, request_number)), size)

    def count_messages(self, channel: str, size: int, on_frames: OnFrames) -> FrameCounter:
        return self._counted(_Relayed("message", size, channel).number, on_frames, NUMBERS)

    def count_directs(self, size: int, on_frames: OnFrames, *, numbers: int = NUMBERS) -> FrameCounter:
        return self._counted(_Relayed("direct", size, None).number, on_frames, numbers)

    def count_acks(self, on_frames: OnFrames, *, numbers: int = NUMBERS) -> FrameCounter:
        return self._counted(_acked, on_frames, numbers)

    def _counted(self, number_in: Callable[[bytes], int | None], on_frames: OnFrames, numbers: int) -> FrameCounter:
        counter = self._counter = FrameCounter(
            self._transport, _FRAMING, number_in, on_frames, self._lost, numbers=numbers
        )
        unread, self._unread = self._unread, b""
        counter.start(unread)
        return counter

    def close(self) -> None:
        self._let_go()
        self.write(close_frame(CloseCode.NORMAL))
        self._transport.close()

    def abort(self) -> None:
        self._let_go()
        self._transport.abort()

    def _let_go(self) -> None:
        self._ended = True
        if self._counter is not None:
            self._counter.let_go()

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ConnectionProblem(f"a connection was lost: {error or 'the hub closed it'}"))

    def data_received(self, data: bytes) -> None:
        data = self._unread + data if self._unread else data
        start = 0
        if not self._upgraded:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._unread = data
                return
            status = _STATUS.match(data)
            if status is None or status[1] != b"101":
                self._end(ConnectionProblem(_refusal(None if status is None else int(status[1]))))
                self._transport.abort()
                return
            self._upgraded = True
        while (found := _FRAMING.next(data, start)) is not None:
            content, start = data[found.content : found.end], found.end
            if found.kind == TEXT:
                self._take(content)
            elif found.kind == PING:
                self.write(_FRAMING.pong(content))
            elif found.kind == CLOSE:
                code = int.from_bytes(content[:2], "big")
                known = closing(code)
                said = TerminalDisconnect(code, _advised(code)) if known.terminal else None
                self._end(said or ConnectionProblem(f"{_FRAMING.farewell(content)}{_hint(code)}"))
        self._unread = data[start:]

    def _take(self, content: bytes) -> None:
        frame = decode_hub_frame(content)
        if isinstance(frame, Welcome) and not self.welcome.done():
            self.name = frame.peer_id
            self.welcome.set_result(frame)
        elif isinstance(frame, Ack) and not self._answer.done():
            self._answer.set_result(None)
        elif isinstance(frame, Error) and not self._answer.done():
            self._answer.set_exception(
                ConnectionProblem(f"the hub refused a request: {frame.message or frame.code} ({frame.code})")
            )
        elif isinstance(frame, Presence):
            self._known.update(peer.peer_id for peer in frame.joined)
            self._known.difference_update(peer.peer_id for peer in frame.left)
            self._compare()

    def _compare(self) -> None:
        if 0 <= self._awaited <= len(self._known) and not self._told_of.done():
            self._told_of.set_result(None)

    def _end(self, error: ConnectionProblem) -> None:
        if self._ended:
            return
        self._ended = True
        if not self.welcome.done():
            self.welcome.set_exception(error)
            self.welcome.exception()  # others that failed before may have ended the waiting
        elif not self._answer.done():
            self._answer.set_exception(error)
        else:
            self._lost(str(error))


class _Relayed:
    """Reads the number in what a hub passed on. Numbers are looked for in samples alone, so this may take its time."""

    def __init__(self, kind: str, size: int, channel: str | None) -> None:
        self._kind, self._channel = kind, channel
        self._text = msgspec.json.decode(sample(size))["text"]

    def number(self, content: bytes) -> int | None:
        """Raises `ValueError` for a message that is not the one that was sent."""
        frame = msgspec.json.decode(content)
        if frame["type"] == "error":
            raise ValueError(f"the hub refused a message: {frame.get('message', '')} ({frame['code']})")
        if frame["type"] != self._kind:
            return None
        data = frame["data"]
        if frame.get("channel") != self._channel or data["type"] != "load" or data["text"] != self._text:
            raise ValueError(f"a message came that was not sent so: {content[:200]!r}")
        return int(data["n"])


def _acked(content: bytes) -> int | None:
    found = _REQUEST_ID.match(content)
    if found is not None:
        return int(found[1])
    frame = msgspec.json.decode(content)
    if frame["type"] == "error":
        raise ValueError(f"the hub refused a message: {frame.get('message', '')} ({frame['code']})")
    return None


def _refusal(status: int | None) -> str:
    if status == 429:
        return (
            "the hub let one address open no more connections for now (429): ask for fewer with --connections, or raise "
            "its --connects-per-minute"
        )
    if status == 503:
        return "the hub is shutting down, and takes no connections (503)"
    if status is None:
        return "what answered is no hub: it does not speak HTTP"
    return f"what answered is no hub: HTTP {status} in the place of a WebSocket"


def _advised(code: int) -> str:
    known = closing(code)
    return f"{known.meaning}: {known.advice}" if known.advice else known.meaning


def _hint(code: int) -> str:
    known = closing(code)
    return f" ({known.advice})" if known.advice else ""
