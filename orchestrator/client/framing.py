"""The two kinds of frames that nearly all traffic is made of: whole text messages, in and out (RFC 6455).

Everything else about a WebSocket is the library's: what is found here to be anything else is handed to it byte by byte.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Mask: TypeAlias = Callable[[bytes, bytes], bytes]

try:
    from websockets.speedups import apply_mask as _masked_by
except ImportError:  # a platform for which the library has no compiled part
    from websockets.utils import apply_mask as _masked_by

_masked: Mask = _masked_by

WHOLE_TEXT: Final = 0x81
_PIECES_BEGIN: Final = (0x01, 0x02)
_PIECES_END: Final = 0x80
_MASKED: Final = 0x80
# Written where a length would be, for one that follows in so many bytes.
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127


def text_frame(message: bytes) -> bytes:
    """Return the frame of a text message of a client's: masked with a fresh key, as the protocol wants it."""
    size, key = len(message), os.urandom(4)
    if size < _TWO_BYTES:
        head = bytes((WHOLE_TEXT, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((WHOLE_TEXT, _MASKED | _TWO_BYTES, size >> 8, size & 0xFF))
    else:
        head = bytes((WHOLE_TEXT, _MASKED | _EIGHT_BYTES)) + size.to_bytes(8, "big")
    return b"".join((head, key, _masked(message, key)))


class Other(NamedTuple):
    """Whole frames that are no whole text message; or, as they came, all bytes from one that must not be."""

    data: bytes


class Frames:
    """Finds a server's frames in what a socket brings, wherever that was cut."""

    def __init__(self, limit: int) -> None:
        """A frame of more than `limit` bytes is not waited for."""
        self._limit = limit
        self._held = bytearray()
        """The beginning of a frame of which more is to come."""
        self._wanted = 2
        """As many bytes as have to be there before it is worth while to look again."""
        self._in_pieces = False
        """A message has begun that comes in several frames: until its end the library sees every one of them."""

    def receive(self, data: bytes) -> list[bytes | Other]:
        """Return, in order, each text message that is whole by now, as its bytes, and everything else."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held.clear()
        found: list[bytes | Other] = []
        size, start = len(data), 0
        while size - start >= 2:
            first, length, body = data[start], data[start + 1], start + 2
            if length == _TWO_BYTES:
                body += 2
                length = int.from_bytes(data[start + 2 : body], "big")
            elif length == _EIGHT_BYTES:
                body += 8
                length = int.from_bytes(data[start + 2 : body], "big")
            elif length & _MASKED:
                return [*found, Other(data[start:])]
            if body > size:
                self._wanted = body - start
                break
            if length > self._limit:
                return [*found, Other(data[start:])]
            end = body + length
            if end > size:
                self._wanted = end - start
                break
            if first == WHOLE_TEXT and not self._in_pieces:
                found.append(data[body:end])
            else:
                self._in_pieces = first in _PIECES_BEGIN or (self._in_pieces and first != _PIECES_END)
                found.append(Other(data[start:end]))
            start = end
        else:
            self._wanted = 2
        self._held += data[start:]
        return found

    def rest(self) -> bytes:
        """Give up what is held: the beginning of a frame that nothing more comes of."""
        held = bytes(self._held)
        self._held.clear()
        return held
