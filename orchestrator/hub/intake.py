"""From the bytes of a text message to a request, or to the error that answers it: the checks that need no state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from orchestrator.errors import did_you_mean
from orchestrator.hub.json_depth import too_deep
from orchestrator.protocol.codes import ErrorCode
from orchestrator.protocol.frames import ClientFrame, Ping, Publish, Send, Subscribe, Unsubscribe
from orchestrator.protocol.globs import Star, has_star, tokens
from orchestrator.protocol.limits import MAX_CHANNEL_NAME, MAX_DEPTH, MAX_PEER_ID, MAX_REQUEST_ID
from orchestrator.protocol.names import is_channel, is_peer_id, is_reserved

_decode: Final = msgspec.json.Decoder(ClientFrame).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_TYPES: Final = ("subscribe", "unsubscribe", "publish", "send", "ping")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True, eq=False)
class Refused(Exception):
    """A request that is answered with an error; the connection stays open."""

    code: ErrorCode
    message: str
    request_id: str | None = None


def read(text: bytes) -> ClientFrame:
    """Return the request in one text message, its fields valid; `data` is JSON, and exactly the bytes that came.

    Raises `UnicodeDecodeError` for a text that is not UTF-8, and `Refused` for all other faults.
    """
    frame = read_unnamed(text)
    check_names(frame)
    return frame


def read_unnamed(text: bytes) -> ClientFrame:
    """Do what `read` does, but for the names in a request: whoever gets it calls `check_names`, or knows them."""
    if not text.isascii():
        text.decode()
    if too_deep(text, MAX_DEPTH):
        message = f"the JSON is nested more than {MAX_DEPTH} levels deep"
        raise Refused(ErrorCode.MALFORMED_MESSAGE, message, _request_id(text))
    frame: ClientFrame
    try:
        frame = _decode(text)
    except _UNREADABLE:
        frame = _read_slowly(text)
    else:
        request_id = frame.request_id
        if request_id is None:
            if b'"requestId"' in text:  # it is there, and null
                frame = _read_slowly(text)
        elif not 0 < len(request_id) <= MAX_REQUEST_ID:
            raise _bad_request_id()
    return frame


def check_names(frame: ClientFrame) -> None:
    """Raise `Refused` unless the channel or peer that a request names may be named."""
    if type(frame) is Ping:
        return
    if type(frame) is Send:
        if not is_peer_id(frame.to):
            raise Refused(ErrorCode.INVALID_PEER_ID, _PEER_ID_RULE, frame.request_id)
        return
    channel: str = frame.channel  # type: ignore[union-attr]  # all that is left has one
    if not is_channel(channel):
        raise Refused(ErrorCode.INVALID_CHANNEL, _CHANNEL_RULE, frame.request_id)
    if type(frame) is Publish and has_star(channel):
        raise Refused(ErrorCode.INVALID_CHANNEL, "a publish names one channel: no stars", frame.request_id)
    if type(frame) is not Unsubscribe and only_reserved(channel):
        raise Refused(ErrorCode.CHANNEL_RESERVED, "channels with this prefix are the hub's own", frame.request_id)


_CHANNEL_RULE: Final = f"a channel is a text of 1 to {MAX_CHANNEL_NAME} bytes without control characters"
_PEER_ID_RULE: Final = f"`to` is a text of 1 to {MAX_PEER_ID} characters without control characters"


def only_reserved(channel: str) -> bool:
    """Tell whether a channel is reserved, or a pattern can match reserved names alone.

    It can match another one unless its text before the first star holds a whole reserved prefix already.
    """
    if not has_star(channel):
        return is_reserved(channel)
    literal: list[str] = []
    for token in tokens(channel):
        if isinstance(token, Star):
            break
        literal.append(token)
    return is_reserved("".join(literal))


def _read_slowly(text: bytes) -> ClientFrame:
    """Read what does not fit a request at first sight: find the first fault in the protocol's order, or none.

    Some requests are fine nevertheless: of a field that is there twice the last one counts, and an option of a wrong
    type counts as not given.
    """
    try:
        fields = _decode_object(text)
    except _UNREADABLE:
        why = "the message is not a JSON object that can be relayed"
        raise Refused(ErrorCode.MALFORMED_MESSAGE, why, _request_id(text)) from None
    kind, request_id = _text(fields, "type"), _text(fields, "requestId")
    if "requestId" in fields and (request_id is None or not 0 < len(request_id) <= MAX_REQUEST_ID):
        raise _bad_request_id()
    if kind is None:
        raise Refused(ErrorCode.MALFORMED_MESSAGE, "the message has no `type`, or one that is not a text", request_id)
    if kind == "ping":
        return Ping(request_id)
    if kind == "send":
        return _send(fields, request_id)
    if kind not in _TYPES:
        message = f"there is no message type {kind[:32]!r}{did_you_mean(kind[:32], _TYPES)}"
        raise Refused(ErrorCode.UNKNOWN_TYPE, message, request_id)
    channel = _text(fields, "channel")
    if channel is None:
        raise Refused(ErrorCode.INVALID_CHANNEL, _CHANNEL_RULE, request_id)
    if kind == "subscribe":
        return Subscribe(channel, request_id, _value(fields, "includeSenderMetadata") is True)
    if kind == "unsubscribe":
        return Unsubscribe(channel, request_id)
    if "data" not in fields:
        check_names(Publish(channel, Raw(b"null"), request_id))
        raise Refused(ErrorCode.MISSING_DATA, "a publish needs `data`", request_id)
    return Publish(channel, fields["data"], request_id, _text(fields, "id"))


def _send(fields: dict[str, Raw], request_id: str | None) -> Send:
    to = _text(fields, "to")
    if to is None or not is_peer_id(to):
        raise Refused(ErrorCode.INVALID_PEER_ID, _PEER_ID_RULE, request_id)
    if "data" not in fields:
        raise Refused(ErrorCode.MISSING_DATA, "a send needs `data`", request_id)
    return Send(to, fields["data"], request_id, _text(fields, "id"))


def _request_id(text: bytes) -> str | None:
    """Return the id that a message which is refused unread can be answered with: without it its sender would wait."""
    request_id: object
    try:
        request_id = _text(_decode_object(text), "requestId")
    except _UNREADABLE:
        try:
            # reads halves of surrogate pairs, which nothing else does; integers may have any number of digits
            fields = json.loads(text.decode(), parse_int=str)
        except (ValueError, RecursionError):  # it is no object, or nested more deeply than anything reads
            return None
        request_id = fields.get("requestId") if isinstance(fields, dict) else None
    fits = isinstance(request_id, str) and request_id.isprintable() and 0 < len(request_id) <= MAX_REQUEST_ID
    return request_id if fits else None


def _bad_request_id() -> Refused:
    message = f"`requestId` is a text of 1 to {MAX_REQUEST_ID} characters"
    return Refused(ErrorCode.MALFORMED_MESSAGE, message)


def _value(fields: dict[str, Raw], name: str) -> Any:
    if name not in fields:
        return None
    try:
        return msgspec.json.decode(fields[name])
    except _UNREADABLE:  # a number beyond what a float holds
        return None


def _text(fields: dict[str, Raw], name: str) -> str | None:
    value = _value(fields, name)
    return value if isinstance(value, str) else None
