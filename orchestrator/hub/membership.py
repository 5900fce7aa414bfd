"""Joining and leaving channels, and telling the others: the order of these steps is the presence of the protocol."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.hub import rosters
from orchestrator.hub.channels import Subscription
from orchestrator.hub.news import told
from orchestrator.hub.rights import Listing
from orchestrator.hub.rosters import Pending, Reason
from orchestrator.protocol.codes import Action
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.hub.apps import App
    from orchestrator.hub.channels import Channel
    from orchestrator.hub.cluster import Cluster
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.directory import Member
    from orchestrator.hub.outbox import Turn
    from orchestrator.hub.rosters import Present
    from orchestrator.hub.timers import Timers


class Membership:
    """The subscriptions of connections, with the rosters that follow from them.

    A channel's readers are told of its first changes as they come. While there are more, they are told once per
    window, and of what is left of the changes by then. Nobody hears from a peer before hearing of it.
    """

    __slots__ = ("_gap", "_timers", "_turn", "_window", "cluster", "traffic")

    def __init__(self, timers: Timers, turn: Turn, gap: float, window: float) -> None:
        """`gap` is the time in seconds between the moment a socket takes an ack and the roster that follows it."""
        self._timers, self._turn = timers, turn
        self._gap, self._window = gap, window
        self.cluster: Cluster | None = None
        self.traffic: Final = turn.traffic

    def join(self, connection: Connection, text: str, stamped: bool, listing: Listing) -> None:
        """Subscribe, or replace the options of a subscription; the others hear of a peer that is new to them.

        The roster that the connection is owed is taken now, or while changes are untold after those are told; it waits
        for `owe_roster`.
        """
        subscription = Subscription(
            stamped, sees=connection.rights.sees_presence(text), listed=listing is Listing.LISTED
        )
        replaced = connection.subscriptions.get(text)
        if replaced is not None:
            _owe_nothing(replaced)
        connection.subscriptions[text] = subscription
        channel = connection.app.channels.add(connection, text, subscription)
        if self.cluster is not None:
            if channel is not None and subscription.listed:  # first: it is told with the subscription, before the ack
                self.cluster.holdings.listed(connection.app.name, text, connection.peer_id, connection.entry)
            self._spread(self.cluster, connection, text, channel, replaced is None)
        if subscription.sees:
            subscription.pending = Pending()
        if channel is not None and subscription.listed:
            if channel.roster.add(connection):
                self._joined(connection.app, channel, connection)
            if self.cluster is not None:
                self.cluster.returned(connection.app.name, text, connection.peer_id)
        if subscription.pending is not None and (channel is None or not channel.news.changes):
            subscription.pending.snapshot = _snapshot(connection, text, channel)

    def owe_roster(self, connection: Connection, text: str) -> None:
        """Send the roster owed by `join` one gap after the socket has taken what was put until now: the ack."""
        subscription = connection.subscriptions[text]
        pending = subscription.pending
        if pending is None:
            return
        owed = partial(self._send_roster, connection, text, subscription, pending)
        connection.outbox.once_sent(lambda now: self._timers.at(now + self._gap, owed))

    def _send_roster(
        self, connection: Connection, text: str, subscription: Subscription, pending: Pending, _now: float
    ) -> None:
        if subscription.pending is not pending or connection.subscriptions.get(text) is not subscription:
            return  # a later subscribe has its own, or there is no subscription any more
        channel = connection.app.channels.exact.get(text)
        if pending.snapshot is None and channel is not None and channel.news.changes:
            channel.news.waiting.append(partial(self._send_roster, connection, text, subscription, pending))
            return
        subscription.pending = None
        connection.outbox.put(pending.snapshot or _snapshot(connection, text, channel))
        self.traffic.presences += 1 + len(pending.held)
        for frame in pending.held:
            connection.outbox.put(frame)

    def leave(self, connection: Connection, text: str, reason: Reason) -> None:
        """Unsubscribe; the others hear of a peer that is gone."""
        subscription = connection.subscriptions.pop(text)
        _owe_nothing(subscription)
        app = connection.app
        channel = app.channels.remove(connection, text)
        if self.cluster is not None:
            self.cluster.holdings.unsubscribed(app.name, text, app.channels.count(text))
        if channel is not None and subscription.listed:
            if channel.roster.remove(connection):
                self._left(app, channel, connection, reason)
            if self.cluster is not None:
                own = channel.roster.own_entry(connection.peer_id)
                self.cluster.holdings.listed(app.name, text, connection.peer_id, own, reason)

    def appear(self, app: App, name: str, member: Member) -> None:
        """List a peer that is at another hub, where anybody here reads the roster."""
        channel = app.channels.exact.get(name)
        if channel is not None and channel.roster.add(member):
            self._joined(app, channel, member)

    def vanish(self, app: App, name: str, member: Member, reason: Reason) -> None:
        channel = app.channels.exact.get(name)
        if channel is not None and channel.roster.remove(member):
            self._left(app, channel, member, reason)

    def _spread(self, cluster: Cluster, connection: Connection, text: str, channel: Channel | None, new: bool) -> None:
        """Have messages of other hubs come here, and list those who are there."""
        count = connection.app.channels.count(text)
        if new:
            cluster.holdings.subscribed(connection, text, count)
            if channel is not None and count == 1:
                for member in cluster.directory.members(connection.app.name, text):
                    channel.roster.add(member)

    def _joined(self, app: App, channel: Channel, one: Present) -> None:
        channel.news.joined(one)
        app.untold.setdefault(one.peer_id, {})[channel] = None
        self._changed(channel, app)

    def _left(self, app: App, channel: Channel, one: Present, reason: Reason) -> None:
        channel.news.left(one, reason)
        _no_longer_untold(app, channel, one.peer_id)
        self._changed(channel, app)

    def move(self, old: Connection, new: Connection) -> None:
        """Give `new`, of the same peer, every subscription of `old` that its token allows; nobody hears of it.

        Rosters are sent anew: what changed may have been on its way to `old` when that one broke.
        """
        for text, held in list(old.subscriptions.items()):
            self.adopt(new, [(text, held.stamped)])
            self.leave(old, text, Reason.LEFT)

    def adopt(self, connection: Connection, subscriptions: Iterable[tuple[str, bool]]) -> None:
        """Subscribe a connection, of its own accord, to what its token allows; the flags are as in a request."""
        for text, stamped in subscriptions:
            listing = connection.rights.subscription(text)
            if listing is not Listing.REFUSED and connection.rights.may(Action.SUBSCRIBE):
                self.join(connection, text, stamped, listing)
                self.owe_roster(connection, text)

    def introduce(self, app: App, peer_id: str) -> None:
        """Tell of a peer's joins, as far as they are untold: it is about to be heard of itself."""
        if app.untold:
            for channel in list(app.untold.get(peer_id, ())):
                self._tell(channel, app)

    def _changed(self, channel: Channel, app: App) -> None:
        """Tell of a change, now or at the end of the window."""
        news = channel.news
        if not news.open:
            news.open = True
            self._timers.at(self._turn.now + self._window, partial(self._end_window, channel, app))
        if news.due():
            self._tell(channel, app)

    def _end_window(self, channel: Channel, app: App, now: float) -> None:
        if channel.news.changes:
            self._timers.at(now + self._window, partial(self._end_window, channel, app))
        else:
            channel.news.quiet()
        self._tell(channel, app)

    def _tell(self, channel: Channel, app: App) -> None:
        """Tell the readers of a channel what they have not been told, and then whoever waits for a whole roster."""
        changes = channel.news.take()
        for peer_id in changes:
            _no_longer_untold(app, channel, peer_id)
        frames = told(channel.json, changes, channel.roster)
        for member, subscription in channel.members.items() if frames else ():
            pending = subscription.pending
            if not subscription.sees or (pending is not None and pending.snapshot is None):
                continue
            theirs = frames
            if member.peer_id in changes:
                theirs = told(channel.json, changes, channel.roster, member.peer_id)
            if pending is not None:
                pending.hold(theirs)
                continue
            for frame in theirs:
                member.outbox.put(frame)
            self.traffic.presences += len(theirs)
        waiting, channel.news.waiting = channel.news.waiting, []
        for due in waiting:
            due(self._turn.now)


def _no_longer_untold(app: App, channel: Channel, peer_id: str) -> None:
    channels = app.untold.get(peer_id, {})
    channels.pop(channel, None)
    if not channels:
        app.untold.pop(peer_id, None)


def _owe_nothing(subscription: Subscription) -> None:
    if subscription.pending is not None:
        subscription.pending.forget()
        subscription.pending = None


def _snapshot(connection: Connection, text: str, channel: Channel | None) -> bytes:
    if channel is None:
        return rosters.empty(encode_json(text))
    return channel.roster.snapshot(channel.json, connection.peer_id)
