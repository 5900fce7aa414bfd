"""Who subscribes to what in one app, and whom a message on a channel therefore reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.hub.news import News
from orchestrator.hub.outbox import Group
from orchestrator.hub.pattern_index import PatternIndex
from orchestrator.hub.rosters import Roster
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.globs import has_star
from orchestrator.protocol.names import is_reserved

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.rosters import Pending

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

    @property
    def size(self) -> int:
        return len(self.plain) + len(self.stamped)


@dataclass(slots=True, eq=False)
class Channel:
    """The exact subscriptions to one name."""

    name: str
    json: bytes
    members: dict[Connection, Subscription] = field(default_factory=dict)
    roster: Roster = field(default_factory=Roster)
    news: News = field(default_factory=News)
    audience: Audience | None = None


_Members: TypeAlias = "dict[Connection, Subscription]"


class Channels:
    """All subscriptions of one app.

    What a delivery costs depends on its receivers alone: they are worked out when a channel's subscriptions, or those
    to patterns, have changed since the last message on it.
    """

    __slots__ = ("_generation", "_patterns", "_remembered", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, Channel] = {}
        self._patterns: PatternIndex[_Members] = PatternIndex()
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

    def count(self, text: str) -> int:
        """Return how many subscribe to exactly this text."""
        if has_star(text):
            return len(self._patterns.get(text) or ())
        channel = self.exact.get(text)
        return 0 if channel is None else len(channel.members)

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
            for members in self._patterns.matching(name):
                for member, subscription in members.items():
                    wants[member] = subscription.stamped or wants.get(member, False)
        return Audience(
            name=encode_json(name) if channel is None else channel.json,
            plain=Group(member.outbox for member, stamped in wants.items() if not stamped),
            stamped=Group(member.outbox for member, stamped in wants.items() if stamped),
            generation=self._generation,
        )

    def _add_pattern(self, connection: Connection, text: str, subscription: Subscription) -> None:
        members = self._patterns.get(text)
        if members is None:
            members = {}
            self._patterns.add(text, members)
        members[connection] = subscription
        self._outdate()

    def _remove_pattern(self, connection: Connection, text: str) -> None:
        members = self._patterns.get(text)
        assert members is not None, "it holds the subscription that is removed"
        del members[connection]
        if not members:
            self._patterns.remove(text)
        self._outdate()

    def _outdate(self) -> None:
        self._generation += 1
        self._remembered.clear()
