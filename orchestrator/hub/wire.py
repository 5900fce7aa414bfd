"""Frames as the bytes that go onto the socket, each built once however many connections receive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.protocol.frames import Error, GoingAway, Pong, encode_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgspec import Raw

    from orchestrator.protocol.codes import ErrorCode
    from orchestrator.protocol.tokens import Rate

PING: Final = b"\x89\x00"
"""A WebSocket ping without content."""


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one complete, unmasked text frame."""
    size = len(payload)
    if size < _SHORT:
        return _SHORT_HEADERS[size] + payload
    return _text_header(size) + payload


def _text_header(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


_SHORT: Final = 2_048
_SHORT_HEADERS: Final = tuple(map(_text_header, range(_SHORT)))
"""The headers of nearly all frames, by their size: looking one up takes a third of the time of making it."""


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a WebSocket ping; `payload` has at most 125 bytes."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; `reason` has at most 123 bytes in UTF-8."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


def ack(request_id: str, receivers: int | None = None) -> bytes:
    name = encode_json(request_id)
    rest = b"}" if receivers is None else b',"receivers":%d}' % receivers
    size = len(_ACK) + len(name) + len(rest)
    return b"%b%b%b%b" % (_SHORT_HEADERS[size], _ACK, name, rest)  # no request id is so long that this were not short


_ACK: Final = b'{"type":"ack","requestId":'


def error(code: ErrorCode, message: str, request_id: str | None) -> bytes:
    return text_frame(encode_json(Error(code, request_id, message)))


def pong(request_id: str | None) -> bytes:
    return text_frame(encode_json(Pong(request_id)))


def going_away(retry_after_ms: int) -> bytes:
    return text_frame(encode_json(GoingAway(retry_after_ms)))


def welcome(
    peer_id: bytes,
    expires_at: int | None,
    server_time: float,
    max_message: int,
    metadata: bytes | None,
    instance: str | None,
    rate: Rate | None,
) -> bytes:
    """Return the first frame of a connection; `peer_id` and `metadata` come as JSON."""
    return text_frame(
        b'{"type":"welcome","peerId":%b,"expiresAt":%b,"serverTime":%d,"maxMessageSize":%d,"rate":%b%b%b}'
        % (
            peer_id,
            b"null" if expires_at is None else b"%d" % expires_at,
            int(server_time),
            max_message,
            b'"unlimited"' if rate is None else b'{"per_second":%g,"burst":%d}' % (rate.per_second, rate.burst),
            b"" if metadata is None else b',"metadata":' + metadata,
            b"" if instance is None else b',"instance":' + encode_json(instance),
        )
    )


def message(channel: bytes, sender: bytes, data: bytes | Raw, metadata: bytes | None = None) -> bytes:
    """Return a channel message; all arguments come as JSON, and `data` stays exactly the bytes that it is."""
    return text_frame(b'{"type":"message","channel":%b,"from":%b,"data":%b%b' % (channel, sender, data, _end(metadata)))


def direct(start: bytes, data: Raw, end: bytes) -> bytes:
    """Return a direct message: `start` and `end` are what `around_direct` returns for its sender."""
    size = len(start) + len(data) + len(end)
    return b"%b%b%b%b" % (_SHORT_HEADERS[size] if size < _SHORT else _text_header(size), start, data, end)


def around_direct(sender: bytes, metadata: bytes | None) -> tuple[bytes, bytes]:
    """Return what comes before and after the data of each direct message of a sender; both arguments come as JSON."""
    return b'{"type":"direct","from":%b,"data":' % sender, _end(metadata)


def stamped(frame: bytes, metadata: bytes) -> bytes:
    """Return a channel message that was made without its sender's metadata as one with it."""
    size = frame[1]
    start = 2 if size < 126 else 4 if size == 126 else 10
    return text_frame(b"%b%b" % (frame[start:-1], _end(metadata)))


def _end(metadata: bytes | None) -> bytes:
    return b"}" if metadata is None else b',"fromMetadata":%b}' % metadata


def presence(channel: bytes, joined: Iterable[bytes], left: Iterable[bytes]) -> bytes:
    """Return a change of a roster; entries come as JSON objects, and both lists are always there."""
    return text_frame(
        b'{"type":"presence","channel":%b,"joined":[%b],"left":[%b]}' % (channel, b",".join(joined), b",".join(left))
    )


def entry(peer_id: bytes, metadata: bytes | None) -> bytes:
    """Return one line of a roster; both arguments come as JSON."""
    return b'{"peerId":%b}' % peer_id if metadata is None else b'{"peerId":%b,"metadata":%b}' % (peer_id, metadata)
