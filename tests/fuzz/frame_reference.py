"""What a hub makes of one text message, read a second time: the protocol's checks in its order, one after the other."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_HALF = re.compile("[\ud800-\udfff]")


class Request(NamedTuple):
    kind: str
    name: str | None
    """The channel or the peer that it is about."""
    request_id: str | None
    data: Any = None
    stamped: bool = False


class Fault(NamedTuple):
    code: str
    request_id: str | None = None


class NotUtf8(NamedTuple):
    pass


def reading(text: bytes) -> Request | Fault | NotUtf8:
    try:
        fields = strict(text.decode())
    except UnicodeDecodeError:
        return NotUtf8()
    except (ValueError, RecursionError):
        return Fault("malformed_message", _salvaged(text))
    if depth(fields) > 64:
        return Fault("malformed_message", _salvaged(text))
    if not isinstance(fields, dict):
        return Fault("malformed_message")
    request_id = fields.get("requestId")
    if "requestId" in fields and not (isinstance(request_id, str) and 1 <= len(request_id) <= 128):
        return Fault("malformed_message")
    if not isinstance(fields.get("type"), str):
        return Fault("malformed_message", request_id)
    return _request(fields["type"], fields, request_id)


def _salvaged(text: bytes) -> str | None:
    """Return the id of a message that cannot be relayed, but that a lenient reader makes an object of."""
    try:
        fields = json.loads(text.decode(), parse_int=_number, parse_float=_number)
    except (ValueError, RecursionError):
        return None
    request_id = fields.get("requestId") if isinstance(fields, dict) else None
    return (
        request_id if isinstance(request_id, str) and request_id.isprintable() and 1 <= len(request_id) <= 128 else None
    )


def _request(kind: str, fields: dict[str, Any], request_id: str | None) -> Request | Fault:
    if kind == "ping":
        return Request(kind, None, request_id)
    if kind == "send":
        to = fields.get("to")
        if not isinstance(to, str) or not 1 <= len(to) <= 128 or _CONTROL.search(to):
            return Fault("invalid_peer_id", request_id)
        if "data" not in fields:
            return Fault("missing_data", request_id)
        return Request(kind, to, request_id, fields["data"])
    if kind not in ("subscribe", "unsubscribe", "publish"):
        return Fault("unknown_type", request_id)
    channel = fields.get("channel")
    if not isinstance(channel, str) or not 1 <= len(channel.encode()) <= 256 or _CONTROL.search(channel):
        return Fault("invalid_channel", request_id)
    if kind == "publish" and "*" in channel:
        return Fault("invalid_channel", request_id)
    if kind != "unsubscribe" and _reserved(channel):
        return Fault("channel_reserved", request_id)
    if kind != "publish":
        stamped = kind == "subscribe" and fields.get("includeSenderMetadata") is True
        return Request(kind, channel, request_id, stamped=stamped)
    if "data" not in fields:
        return Fault("missing_data", request_id)
    return Request(kind, channel, request_id, fields["data"])


def _reserved(channel: str) -> bool:
    if "*" in channel:  # a pattern: what stands before its first star that is one
        channel = re.sub(r"(\\[*\\])|\*.*", lambda found: (found[1] or "")[1:], channel, flags=re.DOTALL)
    return re.match("_(metered|internal|system)/", channel, re.IGNORECASE | re.ASCII) is not None


def strict(text: str) -> Any:
    """Read JSON to the letter, numbers as their own text. Raises `ValueError`."""
    value = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_no_constant)
    if _holds_half(value):
        raise ValueError("half a character")
    if re.search(r"\\u[dD][89a-fA-F]", text):  # what was overwritten by a second key counts too
        json.loads(text, parse_constant=_no_constant, parse_int=str, object_pairs_hook=_whole_pairs)
    return value


def _number(text: str) -> tuple[str]:
    return (text,)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _whole_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if any(_holds_half(part) for pair in pairs for part in pair):
        raise ValueError("half a character")
    return dict(pairs)


def _holds_half(value: Any) -> bool:
    if isinstance(value, str):
        return _HALF.search(value) is not None
    if isinstance(value, dict):
        return any(_holds_half(key) or _holds_half(held) for key, held in value.items())
    return isinstance(value, list) and any(map(_holds_half, value))


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0
