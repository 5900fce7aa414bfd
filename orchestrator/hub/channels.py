"""Who subscribes to what in one app, and whom a message on a channel therefore reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.hub.news import News
from orchestrator.hub.outbox import Group
from orchestrator.hub.rosters import Roster
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.globs import Star, compiled, has_star, tokens
from orchestrator.protocol.names import is_reserved

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.rosters import Pending
    from orchestrator.protocol.globs import Pattern

_REMEMBERED: Final = 4096
"""Channels without a subscriber of their own whose pattern subscribers are remembered."""


@dataclass(slots=True)
class Subscription:
    """One connection's subscription to one channel or pattern."""

    stamped: bool
    """It asked for the metadata of senders."""
    sees: bool
    """It is told who is there."""
    listed: bool
    pending: Pending | None = None
    """The roster that is still to be sent, and what has changed since it was taken."""


@dataclass(slots=True)
class Audience:
    """The connections that a message on one channel is queued to, each once."""

    name: bytes
    """Of the channel, as JSON."""
    plain: Group
    stamped: Group
    """Those that get the sender's metadata with it."""
    generation: int


@dataclass(slots=True, eq=False)
class Channel:
    """The exact subscriptions to one name."""

    name: str
    json: bytes
    members: dict[Connection, Subscription] = field(default_factory=dict)
    roster: Roster = field(default_factory=Roster)
    news: News = field(default_factory=News)
    audience: Audience | None = None


@dataclass(slots=True)
class _PatternMembers:
    pattern: Pattern
    prefix: str
    members: dict[Connection, Subscription] = field(default_factory=dict)


class Channels:
    """All subscriptions of one app.

    What a delivery costs depends on its receivers alone: they are worked out when a channel's subscriptions, or those
    to patterns, have changed since the last message on it. Then only patterns that begin like the name are tried.
    """

    __slots__ = ("_by_prefix", "_generation", "_patterns", "_prefix_sizes", "_remembered", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, Channel] = {}
        self._patterns: dict[str, _PatternMembers] = {}
        self._by_prefix: dict[str, dict[str, _PatternMembers]] = {}
        """Pattern subscriptions by the text before their first star, then by their whole text."""
        self._prefix_sizes: dict[int, int] = {}
        """How many of those texts have which length."""
        self._generation = 0
        """Of the pattern subscriptions: an audience of another one may be out of date."""
        self._remembered: dict[str, Audience] = {}

    def add(self, connection: Connection, text: str, subscription: Subscription) -> Channel | None:
        """Record a subscription, or replace it; return its channel, or `None` for one to a pattern."""
        if has_star(text):
            self._add_pattern(connection, text, subscription)
            return None
        channel = self.exact.get(text)
        if channel is None:
            channel = self.exact[text] = Channel(text, encode_json(text))
        channel.members[connection] = subscription
        channel.audience = None
        return channel

    def remove(self, connection: Connection, text: str) -> Channel | None:
        """Forget a subscription; return the channel that it was to, or `None` for a pattern."""
        if has_star(text):
            self._remove_pattern(connection, text)
            return None
        channel = self.exact[text]
        del channel.members[connection]
        channel.audience = None
        if not channel.members:
            del self.exact[text]
        return channel

    def audience(self, name: str) -> Audience:
        """Return whom a message on the channel `name` reaches; the sender may be among them."""
        channel = self.exact.get(name)
        known = self._remembered.get(name) if channel is None else channel.audience
        if known is not None and known.generation == self._generation:
            return known
        found = self._find(name, channel)
        if channel is not None:
            channel.audience = found
        else:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = found
        return found

    def _find(self, name: str, channel: Channel | None) -> Audience:
        wants: dict[Connection, bool] = {}
        if channel is not None:
            wants = {member: subscription.stamped for member, subscription in channel.members.items()}
        if self._patterns and not is_reserved(name):
            for size in self._prefix_sizes:
                for held in self._by_prefix.get(name[:size], {}).values():
                    if len(held.prefix) == size and held.pattern.matches(name):
                        for member, subscription in held.members.items():
                            wants[member] = subscription.stamped or wants.get(member, False)
        return Audience(
            name=encode_json(name) if channel is None else channel.json,
            plain=Group(member.outbox for member, stamped in wants.items() if not stamped),
            stamped=Group(member.outbox for member, stamped in wants.items() if stamped),
            generation=self._generation,
        )

    def _add_pattern(self, connection: Connection, text: str, subscription: Subscription) -> None:
        held = self._patterns.get(text)
        if held is None:
            held = self._patterns[text] = _PatternMembers(compiled(text), _prefix(text))
            size = len(held.prefix)
            self._by_prefix.setdefault(held.prefix, {})[text] = held
            self._prefix_sizes[size] = self._prefix_sizes.get(size, 0) + 1
        held.members[connection] = subscription
        self._outdate()

    def _remove_pattern(self, connection: Connection, text: str) -> None:
        held = self._patterns[text]
        del held.members[connection]
        if not held.members:
            size = len(held.prefix)
            del self._patterns[text]
            del self._by_prefix[held.prefix][text]
            if not self._by_prefix[held.prefix]:
                del self._by_prefix[held.prefix]
            self._prefix_sizes[size] -= 1
            if not self._prefix_sizes[size]:
                del self._prefix_sizes[size]
        self._outdate()

    def _outdate(self) -> None:
        self._generation += 1
        self._remembered.clear()


def _prefix(pattern: str) -> str:
    literal: list[str] = []
    for token in tokens(pattern):
        if isinstance(token, Star):
            break
        literal.append(token)
    return "".join(literal)
