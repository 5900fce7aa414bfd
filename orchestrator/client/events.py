"""What a connection tells the program that holds it, in the order in which it happened."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Raw, Struct

from orchestrator.errors import ConnectionProblem
from orchestrator.protocol.frames import JsonObject, Present


class Event(Struct, frozen=True):
    """One of the types below. Structs, because one is made for every message: a dataclass takes five times as long."""


class Connected(Event, frozen=True):
    """The hub has welcomed this connection; requests may be made."""

    peer_id: str
    """Who this connection is; with a publishable key, another id after each reconnect."""
    resumed: bool
    """This connection follows an earlier one: remembered subscriptions are being sent again."""
    expires_at: float | None
    """Unix seconds at which the hub will end it; `None` = the credential does not expire."""
    max_message_size: int
    """Bytes of `data` that the hub accepts."""
    metadata: JsonObject | None
    """The private `metadata` of the token."""


class Renewed(Event, frozen=True):
    """The connection goes on under a fresh token: nothing was lost, doubled or reordered, and nobody saw it."""

    expires_at: float | None
    metadata: JsonObject | None
    """The private `metadata` of the new token."""


class Disconnected(Event, frozen=True):
    """The connection ended. What others published until the next `Connected` is lost to this client."""

    code: int
    """The close code; 1006 where there was none."""
    reason: str
    will_reconnect: bool
    """`False` is final: `Client.failure` says why, and no event follows."""
    delay: float | None
    """Seconds until the next attempt; `None` when there is none."""


class MessageReceived(Event, frozen=True, gc=False):
    """Somebody published to a channel of ours."""

    channel: str
    """The concrete name, also where a pattern was subscribed to."""
    sender: str
    data: Raw
    """The JSON bytes as they arrived."""
    metadata: JsonObject | None
    """The sender's public metadata, where the subscription asked for it."""


class DirectReceived(Event, frozen=True, gc=False):
    """Somebody sent to this peer."""

    sender: str
    data: Raw
    metadata: JsonObject | None


class PresenceReceived(Event, frozen=True):
    """The roster of a channel, or a change of it."""

    channel: str
    joined: tuple[Present, ...]
    left: tuple[Present, ...]
    snapshot: bool
    """The first presence frame after a subscribe was acknowledged on this connection: `joined` is the whole roster."""


class SubscriptionLost(Event, frozen=True):
    """A subscription could not be restored on this connection: nothing more comes on it until the next one."""

    channel: str
    error: ConnectionProblem


class GoingAway(Event, frozen=True):
    """The hub is shutting down and will close this connection soon."""

    retry_after: float
    """Seconds to stay away; the next attempt waits at least that long."""


class TokenFailed(Event, frozen=True):
    """The token provider failed again; reported from the third consecutive failure on."""

    failures: int
    reason: str


ClientEvent: TypeAlias = (
    Connected
    | Renewed
    | Disconnected
    | MessageReceived
    | DirectReceived
    | PresenceReceived
    | SubscriptionLost
    | GoingAway
    | TokenFailed
)
