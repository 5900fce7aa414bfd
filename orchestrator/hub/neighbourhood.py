"""What other hubs bring about at this one: messages for those who are here, rosters, and ends of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub.requests import put
from orchestrator.hub.rosters import Reason
from orchestrator.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.hub.connections import Connection
    from orchestrator.hub.core import Hub
    from orchestrator.hub.directory import Member
    from orchestrator.hub.envelopes import Published, Sent


class Neighbourhood:
    """The hub as its `Cluster` sees it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def usage(self) -> dict[str, tuple[int, int, int]]:
        return {app.name: (app.connections, app.peak, app.messages) for app in self._hub.apps()}

    def deliver_published(self, said: Published) -> None:
        hub = self._hub
        app = hub.app(said.app)
        if app is None:
            return
        now = hub.turn.now
        if said.id is not None and app.repeats.receivers(said.sender, said.id, now) is not None:
            return  # its sender has said it again at another hub
        if app.untold:
            hub.membership.introduce(app, said.sender)
        hub.turn.origin = (said.node, said.number)
        receivers = put(app.channels.audience(said.channel), said.frame, said.metadata, None)
        hub.turn.origin = None
        hub.turn.traffic.fanned_out(receivers)
        app.repeats.note(said.sender, said.id, receivers, now)

    def deliver_sent(self, said: Sent) -> int:
        hub = self._hub
        app = hub.app(said.app)
        targets = None if app is None else app.peers.get(said.to)
        if app is None or not targets:
            return 0
        now = hub.turn.now
        if said.id is None or app.repeats.receivers(said.sender, said.id, now) is None:
            if app.untold:
                hub.membership.introduce(app, said.sender)
            hub.turn.origin = (said.node, said.number)
            for target in targets:
                target.outbox.put(said.frame)
            hub.turn.origin = None
            hub.turn.traffic.directs += len(targets)
            app.repeats.note(said.sender, said.id, len(targets), now)
        return len(targets)

    def appear(self, app: str, channel: str, member: Member) -> None:
        home = self._hub.app(app)
        if home is not None:
            self._hub.membership.appear(home, channel, member)

    def vanish(self, app: str, channel: str, member: Member, reason: Reason) -> None:
        home = self._hub.app(app)
        if home is not None:
            self._hub.membership.vanish(home, channel, member, reason)

    def give_up(self, app: str, peer: str, instance: str) -> None:
        for connection in self._named(app, peer):
            if connection.identity.instance == instance:
                self._hub.end(connection, CloseCode.GOING_AWAY, "continued at another hub", Reason.DRAINING)
            else:
                self._hub.end(connection, CloseCode.ADMIN_DISCONNECT, "replaced", Reason.REPLACED)

    def held(self, app: str, peer: str, instance: str) -> Sequence[tuple[str, bool]] | None:
        newest: Connection | None = None
        for connection in self._named(app, peer):
            if connection.identity.instance == instance:
                newest = connection
            else:
                self._hub.end(connection, CloseCode.ADMIN_DISCONNECT, "replaced", Reason.REPLACED)
        if newest is None:
            return None
        return [(text, subscription.stamped) for text, subscription in newest.subscriptions.items()]

    def adopt(self, connection: Connection, subscriptions: Iterable[tuple[str, bool]]) -> None:
        self._hub.membership.adopt(connection, subscriptions)

    def release(self, app: str, peer: str, instance: str) -> None:
        for connection in self._named(app, peer):
            if connection.identity.instance == instance:
                self._hub.end(connection, CloseCode.NORMAL, "continued by another connection", Reason.LEFT)

    def _named(self, app: str, peer: str) -> list[Connection]:
        home = self._hub.app(app)
        return [] if home is None else [one for one in home.peers.get(peer, ()) if one.identity.instance is not None]

    def kick_here(self, app: str, peer: str) -> None:
        self._hub.kick_here(app, peer, self._hub.turn.now)
