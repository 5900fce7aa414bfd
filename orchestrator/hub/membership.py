"""Joining and leaving channels, and telling the others: the order of these steps is the presence of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub import rosters
from orchestrator.hub.channels import Subscription
from orchestrator.hub.rights import Listing
from orchestrator.hub.rosters import MAX_HELD, Pending, Reason
from orchestrator.protocol.codes import Action
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from orchestrator.hub.channels import Channel
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.timers import Timers


class Membership:
    """The subscriptions of connections, with the rosters that follow from them."""

    __slots__ = ("_gap", "_timers")

    def __init__(self, timers: Timers, gap: float) -> None:
        """`gap` is the time in seconds between the moment a socket takes an ack and the roster that follows it."""
        self._timers = timers
        self._gap = gap

    def join(self, connection: Connection, text: str, stamped: bool, listing: Listing) -> None:
        """Subscribe, or replace the options of a subscription; the others hear of a peer that is new to them.

        The roster that the connection is owed is taken now, and waits for `owe_roster`.
        """
        subscription = Subscription(
            stamped, sees=connection.rights.sees_presence(text), listed=listing is Listing.LISTED
        )
        replaced = connection.subscriptions.get(text)
        if replaced is not None:
            _owe_nothing(replaced)
        connection.subscriptions[text] = subscription
        channel = connection.app.channels.add(connection, text, subscription)
        if channel is not None and subscription.listed and channel.roster.add(connection):
            frame = rosters.joined(channel.json, connection.entry)
            _announce(channel, connection.peer_id, frame)
        if subscription.sees:
            subscription.pending = Pending(_snapshot(connection, text, channel))

    def owe_roster(self, connection: Connection, text: str) -> None:
        """Send the roster taken by `join` one gap after the socket has taken what was put until now: the ack."""
        subscription = connection.subscriptions[text]
        pending = subscription.pending
        if pending is None:
            return

        def due(_now: float) -> None:
            if subscription.pending is not pending or connection.subscriptions.get(text) is not subscription:
                return  # a later subscribe has its own, or there is no subscription any more
            subscription.pending = None
            connection.outbox.put(pending.snapshot)
            for frame in pending.held:
                connection.outbox.put(frame)

        connection.outbox.once_sent(lambda now: self._timers.at(now + self._gap, due))

    def leave(self, connection: Connection, text: str, reason: Reason) -> None:
        """Unsubscribe; the others hear of a peer that is gone."""
        subscription = connection.subscriptions.pop(text)
        _owe_nothing(subscription)
        channel = connection.app.channels.remove(connection, text)
        if channel is not None and subscription.listed and channel.roster.remove(connection):
            frame = rosters.left(channel.json, connection.peer_json, reason)
            _announce(channel, connection.peer_id, frame)

    def move(self, old: Connection, new: Connection) -> None:
        """Give `new`, of the same peer, every subscription of `old` that its token allows; nobody hears of it.

        Rosters are sent anew: what changed may have been on its way to `old` when that one broke.
        """
        for text, held in list(old.subscriptions.items()):
            listing = new.rights.subscription(text)
            if listing is not Listing.REFUSED and new.rights.may(Action.SUBSCRIBE):
                self.join(new, text, held.stamped, listing)
                self.owe_roster(new, text)
            self.leave(old, text, Reason.LEFT)


def _owe_nothing(subscription: Subscription) -> None:
    if subscription.pending is not None:
        subscription.pending.forget()
        subscription.pending = None


def _announce(channel: Channel, peer_id: str, frame: bytes) -> None:
    for member, subscription in channel.members.items():
        if not subscription.sees or member.peer_id == peer_id:
            continue
        pending = subscription.pending
        if pending is None:
            member.outbox.put(frame)
        elif len(pending.held) < MAX_HELD:
            pending.held.append(frame)
        else:
            pending.held.clear()
            pending.snapshot = channel.roster.snapshot(channel.json, member.peer_id)


def _snapshot(connection: Connection, text: str, channel: Channel | None) -> bytes:
    if channel is None:
        return rosters.empty(encode_json(text))
    return channel.roster.snapshot(channel.json, connection.peer_id)
