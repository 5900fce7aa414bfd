"""Close codes, error codes and what each means for whoever receives it: the one table that all reconnecting reads."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


class CloseCode(IntEnum):
    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    CLIENT_INACTIVITY = 4000
    INVALID_TOKEN = 4001
    TOKEN_EXPIRED = 4002
    CHANNEL_NOT_AUTHORIZED = 4003
    OVER_CONCURRENT_LIMIT = 4010
    OVER_MESSAGE_RATE = 4011
    ACCOUNT_SUSPENDED = 4012
    ADMIN_DISCONNECT = 4020


class Closing(NamedTuple):
    """What a close code asks of the client that receives it."""

    meaning: str
    terminal: bool = False
    """Coming back is pointless: the client stops."""
    slow_floor: float = 0.0
    """Seconds below which the next delay must not fall, once."""
    advice: str = ""
    """What the person who runs the client can do about it."""


CLOSINGS: Final[dict[int, Closing]] = {
    CloseCode.NORMAL: Closing("normal closure"),
    CloseCode.GOING_AWAY: Closing("the hub is shutting down"),
    CloseCode.PROTOCOL_ERROR: Closing("protocol error"),
    CloseCode.UNSUPPORTED_DATA: Closing("unsupported data"),
    CloseCode.ABNORMAL: Closing("the connection died"),
    CloseCode.INVALID_TEXT: Closing("a text frame was not UTF-8"),
    CloseCode.POLICY_VIOLATION: Closing("slow consumer or protocol abuse"),
    CloseCode.MESSAGE_TOO_BIG: Closing("a frame was too big"),
    CloseCode.INTERNAL_ERROR: Closing("internal error of the hub"),
    CloseCode.CLIENT_INACTIVITY: Closing("nothing was heard from the hub"),
    CloseCode.INVALID_TOKEN: Closing(
        "invalid token",
        terminal=True,
        advice="check that the token is signed with a key that the hub knows and that the key was not revoked",
    ),
    CloseCode.TOKEN_EXPIRED: Closing(
        "token expired", advice="connect with a fresh token, or with a token_provider that is asked for one in time"
    ),
    CloseCode.CHANNEL_NOT_AUTHORIZED: Closing(
        "channel not authorised",
        terminal=True,
        advice="the token names a channel outside its key's patterns: widen the key or narrow the token",
    ),
    CloseCode.OVER_CONCURRENT_LIMIT: Closing("too many connections", slow_floor=30.0),
    CloseCode.OVER_MESSAGE_RATE: Closing("too many messages"),
    CloseCode.ACCOUNT_SUSPENDED: Closing(
        "account suspended", terminal=True, advice="the app of this key is disabled: ask whoever runs the hub"
    ),
    CloseCode.ADMIN_DISCONNECT: Closing(
        "disconnected by the hub",
        terminal=True,
        advice="another process took over this peer id, or an administrator removed it",
    ),
}


def closing(code: int) -> Closing:
    """Return what `code` means; a code that is not in the table is retried."""
    return CLOSINGS.get(code) or Closing(f"closed with code {code}")


class ErrorCode(StrEnum):
    """Answers to a request that leave the connection open."""

    MALFORMED_MESSAGE = "malformed_message"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_CHANNEL = "invalid_channel"
    INVALID_PEER_ID = "invalid_peer_id"
    CHANNEL_NOT_AUTHORIZED = "channel_not_authorized"
    CHANNEL_RESERVED = "channel_reserved"
    CHANNEL_LIMIT_EXCEEDED = "channel_limit_exceeded"
    PEER_NOT_FOUND = "peer_not_found"
    MISSING_DATA = "missing_data"
    ACTION_NOT_PERMITTED = "action_not_permitted"
    OVER_MESSAGE_QUOTA = "over_message_quota"
    BACKEND_ERROR = "backend_error"
    INTERNAL_ERROR = "internal_error"


class Action(StrEnum):
    """What a key or token may allow."""

    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    PRESENCE = "presence"
    SEND = "send"


ALL_ACTIONS: Final = frozenset(Action)
