"""What happens to the connection of a user, as `User.events` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from orchestrator.agents.context import Disconnected
from orchestrator.client import events
from orchestrator.client.events import GoingAway, TokenFailed

__all__ = [
    "Connected",
    "Disconnected",
    "GoingAway",
    "Missed",
    "Reconnecting",
    "TokenFailed",
    "UserEvent",
    "told",
]


@dataclass(frozen=True, slots=True)
class Connected:
    """The hub has welcomed this user."""

    peer_id: str
    """Who the user is; with a publishable key, another id after each reconnect."""
    resumed: bool
    """This connection follows one that was lost; subscriptions are being restored."""
    expires_at: float | None
    """Unix seconds at which the hub will end it; `None` = the credential does not expire."""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is down and will be tried again in `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages of a subscription are missing.

    `slow`: its buffer is full, and from now on they are counted and not kept until its reader has caught up.
    `disconnected`: the connection was gone; what was published meanwhile, if anything was, will not come.
    """

    channel: str
    """The name or pattern that was subscribed to."""
    reason: Literal["slow", "disconnected"]


UserEvent: TypeAlias = Connected | Disconnected | Reconnecting | GoingAway | TokenFailed | Missed


def told(event: events.ClientEvent) -> tuple[UserEvent, ...]:
    """Return what a user is told of something that its connection reports."""
    match event:
        case events.Connected(peer_id=peer_id, resumed=resumed, expires_at=expires_at):
            return (Connected(peer_id, resumed, expires_at),)
        case events.Disconnected(code=code, reason=reason, will_reconnect=will_reconnect, delay=delay):
            gone = Disconnected(code, reason, will_reconnect)
            return (gone, Reconnecting(delay or 0.0)) if will_reconnect else (gone,)
        case GoingAway() | TokenFailed():
            return (event,)
        case _:
            return ()
