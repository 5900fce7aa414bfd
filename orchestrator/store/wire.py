"""How requests and answers travel: frames of a length and a MessagePack array of messages.

Whatever one side has to say in one turn of its event loop goes into one frame, so that a frame costs as much as a message.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.store.wire_answers import ToClient
from orchestrator.store.wire_requests import ToServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_FRAME: Final = 32 * 1_048_576
"""Bytes of what a frame to the server holds at most."""
MAX_ANSWER: Final = 64 * 1_048_576
"""Bytes of what a frame to the client holds at most: the tasks of one claim, and the last may be as large as a frame."""
_LENGTH: Final = struct.Struct(">I")

_encoder: Final = msgspec.msgpack.Encoder()
_decode_requests: Final = msgspec.msgpack.Decoder(list[ToServer]).decode
_decode_answers: Final = msgspec.msgpack.Decoder(list[ToClient]).decode
_decode_raw: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_request: Final = msgspec.msgpack.Decoder(ToServer).decode
_decode_any: Final = msgspec.msgpack.Decoder().decode
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""What decoding raises; text that is no UTF-8 is a `ValueError`."""


class BadFrame(Exception):
    """What came is no frame, so that nothing after it can be read either."""


class TooLarge(Exception):
    """A message alone exceeds what a frame may hold."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(size, limit)

    def __str__(self) -> str:
        return f"it has {self.size} bytes, and at most {self.limit} can be sent at once"


class BadRequest(msgspec.Struct, frozen=True):
    """A request of which only the number could be read."""

    number: int
    problem: str


def frames_of(
    messages: Sequence[object], limit: int, instead: Callable[[Any, Exception], object | None]
) -> Iterator[bytearray]:
    """Yield messages in as few frames as there can be.

    For a message that cannot be written, or does not fit into a frame (`TooLarge`), `instead` returns what is sent in its
    place, `None` = nothing.
    """
    frame = bytearray(_LENGTH.size)
    try:
        _encoder.encode_into(messages, frame, _LENGTH.size)
        size = len(frame) - _LENGTH.size
        if size <= limit:
            _LENGTH.pack_into(frame, 0, size)
            yield frame
            return
        problem: Exception = TooLarge(size, limit)
    except (ValueError, OverflowError, TypeError, msgspec.MsgspecError) as error:
        problem = error
    if len(messages) > 1:
        half = len(messages) // 2
        yield from frames_of(messages[:half], limit, instead)
        yield from frames_of(messages[half:], limit, instead)
    elif (other := instead(messages[0], problem)) is not None:
        yield from frames_of([other], limit, instead)


class Incoming:
    """Cuts what arrives into frames, however it is divided."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept = bytearray()
        self._wanted = _LENGTH.size
        """Bytes that have to be there before it is looked at them again."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what each frame holds that is complete now. Raises `BadFrame`."""
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted:
                return
            data = bytes(self._kept)
            self._kept.clear()
        start, there = 0, len(data)
        while there - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, start)
            if size > self.limit:
                raise BadFrame(f"a frame of {size} bytes was announced, and at most {self.limit} are allowed")
            end = start + _LENGTH.size + size
            if end > there:
                self._wanted = end - start
                break
            yield data[start + _LENGTH.size : end]
            start = end
        else:
            self._wanted = _LENGTH.size
        self._kept += data[start:]


def read_requests(frame: bytes) -> Sequence[ToServer | BadRequest]:
    """Raises `BadFrame` unless each message in the frame has a number at least."""
    try:
        return _decode_requests(frame)
    except _UNREADABLE:  # one of them is wrong, or all
        return [_request_in(raw) for raw in _raw_messages(frame)]


def _request_in(raw: msgspec.Raw) -> ToServer | BadRequest:
    try:
        request: ToServer = _decode_request(raw)
    except _UNREADABLE as error:
        number = _number_in(raw)
        if number is None:
            raise BadFrame("a message is no request") from None
        return BadRequest(number, f"the request cannot be read: {error}")
    return request


def _number_in(raw: msgspec.Raw) -> int | None:
    try:
        message = _decode_any(raw)
    except (*_UNREADABLE, TypeError):
        return None
    if not isinstance(message, list) or len(message) < 2 or message[0] == 0:
        return None
    return message[1] if type(message[1]) is int else None


def _raw_messages(frame: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_raw(frame)
    except _UNREADABLE:
        raise BadFrame("what a frame holds is no list of messages") from None


def read_answers(frame: bytes) -> Sequence[ToClient]:
    """Raises `BadFrame`."""
    try:
        return _decode_answers(frame)
    except _UNREADABLE as error:
        raise BadFrame(f"an answer of the store cannot be read: {error}") from None
