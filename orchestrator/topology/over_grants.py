"""What a token allows where only its standard claims are read: one list of channels, one list of permissions.

A service that knows no `grants` cannot tell a channel that may be published to from one that may be read, nor limit
whom a peer sends to, and it lists everybody who subscribes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.protocol.codes import Action
from orchestrator.protocol.globs import covers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.protocol.tokens import Grants

EVERY_PEER = "**"


@dataclass(frozen=True, slots=True)
class OverGrants:
    """Patterns that the flat claims allow and the grants do not, or not whole; empty ones = nothing more."""

    subscribe: tuple[str, ...] = ()
    """Channels that may be read, too."""
    publish: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()
    """Channels whose presence is seen, too."""
    listed: tuple[str, ...] = ()
    """Channels that are only observed under the grants, and where the peer is seen by the others without them."""
    send: tuple[str, ...] = ()
    """`EVERY_PEER`, where not every peer may be sent to: no flat claim limits that."""

    def __bool__(self) -> bool:
        return any((self.subscribe, self.publish, self.presence, self.listed, self.send))


def over_grants(channels: Iterable[str], permissions: frozenset[Action], grants: Grants) -> OverGrants:
    """Compare the flat claims of a token with the grants beside them.

    A pattern counts as allowed by the grants only where a single one of theirs covers it.
    """
    flat = tuple(channels)
    seen = (*grants.subscribe, *grants.observe)
    may_subscribe = Action.SUBSCRIBE in permissions
    return OverGrants(
        subscribe=beyond(flat, seen) if may_subscribe else (),
        publish=beyond(flat, grants.publish) if Action.PUBLISH in permissions else (),
        presence=beyond(flat, (*grants.presence, *grants.observe)) if Action.PRESENCE in permissions else (),
        listed=beyond(grants.observe, grants.subscribe) if may_subscribe else (),
        send=beyond((EVERY_PEER,), grants.send) if Action.SEND in permissions else (),
    )


def beyond(patterns: Iterable[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `patterns` that no single one of `allowed` covers."""
    return tuple(pattern for pattern in patterns if not any(covers(each, pattern) for each in allowed))
