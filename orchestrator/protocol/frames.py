"""The envelopes of both directions. `data` stays the bytes that it arrived as, so nothing in it is ever rewritten."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Any]

encode_json: Final = msgspec.json.Encoder().encode
"""Compact UTF-8 JSON of any JSON value or frame; `Raw` values go in as they are."""


def encode_data(data: object, encode: Callable[[object], bytes] = encode_json) -> Raw:
    """Return the JSON of what a program wants to send. Raises `ValueError` for NaN and infinities, which JSON lacks.

    An encoder writes them as `null`, so that what arrived would silently not be what was sent.
    """
    encoded = encode(data)
    if b"null" in encoded:
        _refuse_what_is_no_number(data)
    return Raw(encoded)


def _refuse_what_is_no_number(data: object) -> None:
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{value} has no place in JSON: send a text, or None")
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend(value)


class Frame(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", rename="camel"):
    """One WebSocket text message."""


# -- from the client


class Subscribe(Frame, tag="subscribe", frozen=True):
    channel: str
    request_id: str | None = None
    include_sender_metadata: bool = False


class Unsubscribe(Frame, tag="unsubscribe", frozen=True):
    channel: str
    request_id: str | None = None


class Publish(Frame, tag="publish", frozen=True):
    channel: str
    data: Raw
    request_id: str | None = None
    id: str | None = None
    """Names the message among those of its sender: a hub that has it already takes it for a repetition."""


class Send(Frame, tag="send", frozen=True):
    to: str
    data: Raw
    request_id: str | None = None
    id: str | None = None


class Ping(Frame, tag="ping", frozen=True):
    request_id: str | None = None


ClientFrame: TypeAlias = Subscribe | Unsubscribe | Publish | Send | Ping

# -- from the hub


class Welcome(Frame, tag="welcome", frozen=True, omit_defaults=False):
    peer_id: str
    server_time: float
    max_message_size: int
    expires_at: float | None = None
    """Unix seconds; `None` = the credential does not expire. On the wire the key is always there."""
    metadata: JsonObject | UnsetType = UNSET
    instance: str | UnsetType = UNSET
    """The `instance` of the token, from a hub that lets another connection of it continue this one."""
    rate: Raw | UnsetType = UNSET
    """The message budget of the connection, from a hub that tells: as in the claim of a token."""


class Ack(Frame, tag="ack", frozen=True):
    request_id: str
    receivers: int | None = None
    """Connections that a publish was queued to, where the hub says so."""


class Error(Frame, tag="error", frozen=True):
    code: str
    request_id: str | None = None
    message: str = ""


class Message(Frame, tag="message", frozen=True):
    channel: str
    sender: str = msgspec.field(name="from")
    data: Raw
    from_metadata: JsonObject | UnsetType = UNSET


class Direct(Frame, tag="direct", frozen=True):
    sender: str = msgspec.field(name="from")
    data: Raw
    from_metadata: JsonObject | UnsetType = UNSET


class Present(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One entry of a roster."""

    peer_id: str
    metadata: JsonObject | UnsetType = UNSET
    reason: str | None = None
    """Why a peer left, where the hub says so: `left`, `lost`, `draining` or `replaced`."""


class Presence(Struct, frozen=True, tag_field="type", tag="presence"):
    """A change of a roster, or, right after a subscribe, the whole of it. Both lists are always on the wire."""

    channel: str
    joined: tuple[Present, ...] = ()
    left: tuple[Present, ...] = ()


class GoingAway(Frame, tag="going_away", frozen=True):
    retry_after_ms: float | None = None


class Pong(Frame, tag="pong", frozen=True):
    request_id: str | None = None


HubFrame: TypeAlias = Welcome | Ack | Error | Message | Direct | Presence | GoingAway | Pong

_hub_frames: Final[msgspec.json.Decoder[HubFrame]] = msgspec.json.Decoder(HubFrame)


def decode_hub_frame(text: str | bytes) -> HubFrame | None:
    """Return the frame that a hub sent, or `None` for one of unknown type or shape, which a client passes over."""
    try:
        return _hub_frames.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
