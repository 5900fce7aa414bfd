"""Frames that are not whole yet: a text that is broken already is refused before its sender has finished it, and so is
any frame whose sender takes too long.

picows hands over whole frames only, so this reads along with it, as little as it can.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final, cast

from picows.picows import WSProtocol  # type: ignore[attr-defined]  # compiled, and not in its stubs

from orchestrator.protocol.codes import CloseCode

if TYPE_CHECKING:
    import asyncio

    from orchestrator.hub.socket_peer import SocketPeer

_PAUSE: Final = 0.1
"""Seconds that a frame may be unfinished before it is looked at. Nearly all are whole long before."""
_AT_ONCE: Final = 65_536
"""Bytes that are read at a time."""
_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_MAY_BE_TEXT: Final = (_TEXT, _CONTINUATION)
_UTF8: Final = codecs.getincrementaldecoder("utf-8")
_START: Final = _UTF8().getstate()
_get_buffer: Final = WSProtocol.get_buffer
_buffer_updated: Final = WSProtocol.buffer_updated


class Unfinished:
    """Follows the headers of masked frames in what is read, and keeps what may be text of the last one.

    Once the other side has broken the rules for headers, what this says means nothing.
    """

    __slots__ = ("_decoder", "_header", "_kind", "_mask", "_masked", "_missing", "between_frames", "followed")

    def __init__(self) -> None:
        self.between_frames = True
        """What was read ends where a frame ends."""
        self.followed = 0
        """Frames that were followed to their ends."""
        self._kind: int | None = None
        """The opcode of the frame that is unfinished; `None` while its header is, or when there is none."""
        self._header = b""
        """What has come of an unfinished header."""
        self._missing = 0
        self._mask = b""
        self._masked = bytearray()
        """What has come of the payload and was not looked at, if it may be text."""
        self._decoder: codecs.IncrementalDecoder | None = None

    def follow(self, read: bytes) -> bool:
        """Take what was read; tell whether it ends within the payload of a frame that may be text."""
        if len(read) < self._missing:
            self._missing -= len(read)
            return self._keep(read)
        data, at = self._header + read, self._missing
        self._kind, self._missing, self._header = None, 0, b""
        self._masked.clear()
        while True:
            start, end = _extent(data, at)
            if start > len(data):
                self._header = data[at:]
                self.between_frames = not self._header
                return False
            if end > len(data):
                break
            at = end
            self.followed += 1
        self._kind, self._mask, self._missing = data[at] & 0x0F, data[start - 4 : start], end - len(data)
        self._decoder, self.between_frames = None, False
        return self._keep(data[start:])

    def check(self, continued: tuple[bytes, int] | None) -> None:
        """Raise `UnicodeDecodeError` if what has come cannot become a text.

        `continued` is the state of a decoder after the fragments before; `None` when they are no text.
        """
        if self._kind not in _MAY_BE_TEXT:
            return
        if self._decoder is None:
            state = _START if self._kind == _TEXT else continued
            if state is None:
                self._kind = _BINARY
                return
            self._decoder = _UTF8()
            self._decoder.setstate(state)
        self._decoder.decode(self._unmask())

    def _keep(self, payload: bytes) -> bool:
        if self._kind not in _MAY_BE_TEXT:
            return False
        self._masked += payload
        return True

    def _unmask(self) -> bytes:
        size = len(self._masked)
        mask = (self._mask * (size // 4 + 1))[:size]
        plain = int.from_bytes(self._masked, "big") ^ int.from_bytes(mask, "big")
        self._mask = (self._mask * 2)[size % 4 :][:4]
        self._masked.clear()
        return plain.to_bytes(size, "big")


class Reader(WSProtocol):  # type: ignore[misc]  # it is compiled, and not in its stubs
    """picows' protocol, which is no documented interface; tests hold what is used of it."""

    __slots__ = ("_frame_timeout", "_late", "_look_soon", "_loop", "_peer", "_timed", "_unfinished")

    def start(self, peer: SocketPeer, loop: asyncio.AbstractEventLoop, request: bytes, frame_timeout: float) -> None:
        """Open the WebSocket of a peer with the request for it.

        The peer is told to refuse a frame that is not whole after `frame_timeout` seconds, or up to 0.1 s more.
        """
        self._peer = peer
        self._loop = loop
        self._frame_timeout = frame_timeout
        self._unfinished = Unfinished()
        self._look_soon: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._timed = -1
        """The frame that `_late` is about, as the number of those before it."""
        self.connection_made(peer.line())
        buffer = _get_buffer(self, -1)
        buffer[: len(request)] = request
        _buffer_updated(self, len(request))

    def get_buffer(self, size_hint: int) -> memoryview:
        """Offer a part of the buffer to read into: it grows whenever a read fills nearly all of it, and never shrinks."""
        return cast(memoryview, _get_buffer(self, size_hint)[:_AT_ONCE])

    def buffer_updated(self, size: int) -> None:
        """Take what was read. Most reads are one whole frame, and are passed on without further ado."""
        new = _get_buffer(self, -1)
        if self._unfinished.between_frames:
            length = new[1] & 0x7F  # whatever was there before, if only one byte was read: then no size fits either
            if size == length + 6 if length < 126 else length == 126 and size == (new[2] << 8 | new[3]) + 8:
                _buffer_updated(self, size)
                return
        read = new[:size].tobytes()  # before picows unmasks it, or moves it away
        if self._unfinished.between_frames:
            self._peer.ends_with_frame()
            _buffer_updated(self, size)
            if self._peer.ends_with_frame():
                return
        else:
            _buffer_updated(self, size)
        self._unfinished.follow(read)
        if self._look_soon is None and not self._unfinished.between_frames:
            self._look_soon = self._loop.call_later(_PAUSE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._look_soon, self._late):
            if timer is not None:
                timer.cancel()
        self._look_soon = self._late = None
        super().connection_lost(exc)

    def _look(self) -> None:
        self._look_soon = None
        unfinished = self._unfinished
        if unfinished.between_frames:
            return
        try:
            unfinished.check(self._peer.text_so_far())
        except UnicodeDecodeError:
            self._peer.refuse(CloseCode.INVALID_TEXT)
            return
        if self._timed != unfinished.followed:
            self._timed = unfinished.followed
            if self._late is not None:
                self._late.cancel()
            self._late = self._loop.call_later(self._frame_timeout, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self._timed == self._unfinished.followed and not self._unfinished.between_frames:
            self._peer.refuse(CloseCode.POLICY_VIOLATION)


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """Return where the payload of the frame at `at` starts and ends; both are beyond `data` without a whole header."""
    if len(data) < at + 6:
        return len(data) + 1, len(data) + 1
    length, start = data[at + 1] & 0x7F, at + 6
    if length >= 126:
        start += 2 if length == 126 else 8
        length = int.from_bytes(data[at + 2 : start - 4], "big")
    return start, start + length
