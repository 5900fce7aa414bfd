"""Frames of one size, counted by their bytes: of each, no more is looked at than whether it begins where it should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from orchestrator.client.load.framing import CLOSE, PING, TEXT
from orchestrator.client.load.mould import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.load.framing import Framing

_SAMPLE: Final = 63
"""Of so many reads and one more, the first frame is read whole."""
_HEAD: Final = 20
"""Bytes that are the same at the beginning of each frame that is counted, or fewer where it has its number earlier."""


class FrameCounter(asyncio.Protocol):
    """Takes over a connection on which one kind of frame arrives over and over, each as long as the others.

    `number_in` returns the number of a frame's content, or `None` for a frame that is not counted; it raises `ValueError`
    for one that is not as it should be. Numbers go up by one from 0, and begin again after `numbers`. `on_frames` is called
    with how many frames came, and their bytes, whole and without any other. `lost` is told why nothing more comes.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        framing: Framing,
        number_in: Callable[[bytes], int | None],
        on_frames: Callable[[int, bytes], None],
        lost: Callable[[str], None],
        *,
        numbers: int = NUMBERS,
    ) -> None:
        self._transport, self._framing, self._number_in = transport, framing, number_in
        self._on_frames, self._lost, self._numbers = on_frames, lost, numbers
        self.total = 0
        self.size = 0
        """Bytes of each frame; 0 = none has come yet."""
        self._head = b""
        self._rest = b""
        self._reads = 0
        self._ended = False

    def start(self, unread: bytes) -> None:
        """Take over, beginning with what has been read and not used."""
        self._transport.set_protocol(self)
        if unread:
            self.data_received(unread)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        size, head = self.size, self._head
        count = len(data) // size if size else 0
        whole = count * size
        if count and data.startswith(head) and data[1:whole:size].count(head[1:2]) == count:
            if whole == len(data):
                self._rest = b""
            else:
                data, self._rest = data[:whole], data[whole:]
            self._reads += 1
            if not self._reads & _SAMPLE:
                self._check(data)
        else:
            data = self._walk(data)
            if not data:
                return
            count = len(data) // self.size
        self.total += count
        self._on_frames(count, data)
        if self._rest and not head.startswith(self._rest[:2]):  # of another kind, which may be waiting for an answer
            rest, self._rest = self._rest, b""
            self.data_received(rest)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"a connection was lost: {error or 'the hub closed it'}")

    def let_go(self) -> None:
        """Note that the end of the connection is wanted."""
        self._ended = True

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended = True
            self._lost(why)

    def _walk(self, data: bytes) -> bytes:
        """Look at each frame; return those that are counted, keep what is not whole, and answer pings."""
        counted, start, expected = [], 0, self.total
        while (found := self._framing.next(data, start)) is not None:
            content = data[found.content : found.end]
            if found.kind == TEXT:
                number = self._read(content)
                if number is not None and self._fits(data[start : found.end], content):
                    counted.append(data[start : found.end])
                    if number != expected % self._numbers:
                        self._end(f"message {number} came in the place of {expected % self._numbers}")
                    expected += 1
            elif found.kind == PING:
                self._transport.write(self._framing.pong(content))
            elif found.kind == CLOSE:
                self._end(self._framing.farewell(content))
            start = found.end
        self._rest = data[start:]
        return b"".join(counted)

    def _check(self, data: bytes) -> None:
        found = self._framing.next(data, 0)
        number = None if found is None or found.end != self.size else self._read(data[found.content : found.end])
        if number != self.total % self._numbers:
            self._end(f"message {number} came in the place of {self.total % self._numbers}")

    def _read(self, content: bytes) -> int | None:
        try:
            return self._number_in(content)
        except ValueError as error:
            self._end(str(error))
            return None

    def _fits(self, frame: bytes, content: bytes) -> bool:
        """Tell whether a frame is as long as the first one was."""
        if not self.size:
            self.size, self._head = len(frame), frame[: len(frame) - len(content) + _HEAD]
        if len(frame) != self.size:
            self._end(f"a message of {len(frame)} bytes came among those of {self.size}")
        return len(frame) == self.size
