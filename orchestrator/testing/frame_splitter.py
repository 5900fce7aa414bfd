"""WebSocket frames (RFC 6455) in a stream of bytes, found without changing any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Opcode: TypeAlias = Literal["continuation", "text", "binary", "close", "ping", "pong", "reserved"]
_OPCODES: Final[dict[int, Opcode]] = {
    0x0: "continuation",
    0x1: "text",
    0x2: "binary",
    0x8: "close",
    0x9: "ping",
    0xA: "pong",
}
LARGEST: Final = 2**20 + 2**16
"""Bytes of a frame above which it is not kept whole: more than a hub sends."""
MAX_HEAD: Final = 65_536
"""Bytes of an HTTP head above which a stream is taken for something else."""
_LONGEST_TYPE: Final = 64


class _Typed(msgspec.Struct):
    type: str = ""


_TYPED: Final = msgspec.json.Decoder(_Typed)


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame: `raw` is every byte of it as it came, masked or not."""

    raw: bytes
    start: int
    """Of the payload within `raw`."""

    @property
    def opcode(self) -> Opcode:
        return _OPCODES.get(self.raw[0] & 0x0F, "reserved")

    @property
    def compressed(self) -> bool:
        """The first reserved bit, which an agreed compression uses."""
        return bool(self.raw[0] & 0x40)

    @property
    def payload(self) -> bytes:
        """A copy, without its mask."""
        body = self.raw[self.start :]
        if not self.raw[1] & 0x80 or not body:
            return body
        key = self.raw[self.start - 4 : self.start]
        mask = (key * (len(body) // 4 + 1))[: len(body)]
        return (int.from_bytes(body, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(body), "big")

    @property
    def type(self) -> str | None:
        """The `type` of a text frame that is a JSON object; `None` = it has none, or none that can be read."""
        if self.opcode != "text" or self.compressed:
            return None
        try:
            return _TYPED.decode(self.payload).type[:_LONGEST_TYPE] or None
        except (msgspec.DecodeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a frame that is too large to be kept whole; nothing else is known of it."""

    raw: bytes


class FrameSplitter:
    """Takes bytes in any pieces. What it yields, followed by what is `pending`, is what it was given."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self._passing = 0
        """Bytes that are still to come of a frame too large to be kept."""

    @property
    def pending(self) -> bytes:
        """What has come of a frame that is not whole yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame | Part]:
        """Yield what `data` makes whole. To be used up before it is called again."""
        self._buffer += data
        while self._buffer:
            if self._passing:
                yield Part(self._take(min(self._passing, len(self._buffer))))
                continue
            extent = _extent(self._buffer)
            if extent is None:
                return
            start, end = extent
            if end > self._largest:
                self._passing = end
            elif len(self._buffer) >= end:
                yield Frame(self._take(end), start)
            else:
                return

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._passing = max(0, self._passing - size)
        return taken


def _extent(data: bytearray) -> tuple[int, int] | None:
    """Return where the payload of the first frame starts and ends, or `None` while its header does not say."""
    if len(data) < 2:
        return None
    length, start = data[1] & 0x7F, 2
    if length > 125:
        start += 2 if length == 126 else 8
        if len(data) < start:
            return None
        length = int.from_bytes(data[2:start], "big")
    if data[1] & 0x80:
        start += 4
    return start, start + length


def close_frame(code: int, mask: bytes | None) -> bytes:
    """Return a close frame without a reason; `mask` is the four bytes that a client's frame is masked with."""
    body = code.to_bytes(2, "big")
    if mask is None:
        return b"\x88\x02" + body
    return b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(body, mask, strict=False))
