"""What each request does, once it is known to be well formed: rights first, then limits, then effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.hub import wire
from orchestrator.hub.intake import Refused, check_names
from orchestrator.hub.rights import Listing
from orchestrator.hub.rosters import Reason
from orchestrator.protocol.codes import Action, ErrorCode
from orchestrator.protocol.frames import Ping, Publish, Send, Subscribe, Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from orchestrator.hub.apps import App
    from orchestrator.hub.channels import Audience
    from orchestrator.hub.cluster import Cluster
    from orchestrator.hub.connections import Connection, FanOut
    from orchestrator.hub.membership import Membership
    from orchestrator.hub.settings import Settings
    from orchestrator.protocol.frames import ClientFrame


AWAY: Final = "those who subscribe are connected to other hubs, which cannot be reached now"


class Requests:
    __slots__ = ("_limited", "_membership", "_settings", "_traffic", "cluster", "handlers")

    def __init__(self, settings: Settings, membership: Membership) -> None:
        self._settings = settings
        self._limited = settings.max_messages > 0
        self.handlers: dict[type[ClientFrame], Callable[[Connection, Any], None]] = {
            Publish: self._publish,
            Send: self._send,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Ping: self._ping,
        }
        """What carries out and acknowledges a request of each kind, whose names need not have been checked yet.

        Raises `Refused` for one that is to be answered with an error.
        """
        self._membership = membership
        self._traffic = membership.traffic
        self.cluster: Cluster | None = None

    def _publish(self, connection: Connection, frame: Publish) -> None:
        app, request_id, traffic = connection.app, frame.request_id, self._traffic
        traffic.publishes += 1
        allowed = connection.rights.publishing.get(frame.channel)
        if allowed is None:
            check_names(frame)  # those that were asked about before are fine
        app.messages += 1
        if not allowed:
            _check_publish(connection, frame)
        now = connection.outbox.turn.now
        receivers = None if frame.id is None else app.repeats.receivers(connection.peer_id, frame.id, now)
        if receivers is None:
            if self._limited:
                self.check_quota(app, request_id)
            audience = app.channels.audience(frame.channel)
            elsewhere = 0 if self.cluster is None else self.cluster.receivers(app.name, frame.channel)
            if connection.fan_out is not None:
                _charge(connection.fan_out, frame, audience.size + elsewhere, now)
            if app.untold:
                self._membership.introduce(app, connection.peer_id)
            metadata = connection.identity.peer_metadata
            taken = True
            if self.cluster is None:
                receivers = deliver(audience, connection.peer_json, frame.data, metadata, connection)
                traffic.messages += receivers  # what `fanned_out` does, where most messages come by
                traffic.fan_outs[receivers.bit_length()] += 1
            else:
                plain = wire.message(audience.name, connection.peer_json, frame.data)
                reached = self.cluster.publish(app.name, frame.channel, connection.peer_id, plain, metadata, frame.id)
                receivers = put(audience, plain, metadata, connection)
                traffic.fanned_out(receivers)
                connection.outbox.turn.origin = None
                if reached:
                    receivers += elsewhere
                elif elsewhere and not receivers:
                    raise Refused(ErrorCode.BACKEND_ERROR, AWAY, request_id)
                taken = reached or not elsewhere
            if frame.id is not None and taken:
                app.repeats.note(connection.peer_id, frame.id, receivers, now)
        if request_id is not None:
            connection.outbox.put(wire.ack(request_id, receivers))

    def _send(self, connection: Connection, frame: Send) -> None:
        app, request_id = connection.app, frame.request_id
        self._traffic.sends += 1
        targets = app.peers.get(frame.to)
        if not targets:
            check_names(frame)  # the name of one who is here is one
        app.messages += 1
        if not connection.rights.sends_to_all:
            _check_send(connection, frame)
        if self.cluster is not None and (not targets or self.cluster.elsewhere(app.name, frame.to)):
            self._send_elsewhere(self.cluster, connection, frame)
            return
        outbox = connection.outbox
        if frame.id is None or app.repeats.receivers(connection.peer_id, frame.id, outbox.turn.now) is None:
            if self._limited:
                self.check_quota(app, request_id)
            if not targets:
                raise Refused(ErrorCode.PEER_NOT_FOUND, "the peer is not connected", request_id)
            if connection.fan_out is not None:
                _charge(connection.fan_out, frame, len(targets), outbox.turn.now)
            if app.untold:
                self._membership.introduce(app, connection.peer_id)
            start, end = connection.around_direct
            direct = wire.direct(start, frame.data, end)
            for target in targets:
                target.outbox.put(direct)
            self._traffic.directs += len(targets)
            if frame.id is not None:
                app.repeats.note(connection.peer_id, frame.id, len(targets), outbox.turn.now)
        if request_id is not None:
            outbox.put(wire.ack(request_id))

    def _send_elsewhere(self, cluster: Cluster, connection: Connection, frame: Send) -> None:
        """Do what `_send` does for a peer that is not here, or not only; the answer comes when there is one."""
        app, request_id, now = connection.app, frame.request_id, connection.outbox.turn.now
        if frame.id is not None and app.repeats.receivers(connection.peer_id, frame.id, now) is not None:
            _acknowledge(connection, request_id)
            return
        if self._limited:
            self.check_quota(app, request_id)
        targets = app.peers.get(frame.to, {})
        if connection.fan_out is not None:
            _charge(connection.fan_out, frame, len(targets) + max(1, cluster.elsewhere(app.name, frame.to)), now)
        self._membership.introduce(app, connection.peer_id)
        start, end = connection.around_direct
        direct = wire.direct(start, frame.data, end)
        cluster.send(connection, frame.to, direct, frame.id, request_id, len(targets))
        for target in targets:
            target.outbox.put(direct)
        self._traffic.directs += len(targets)
        connection.outbox.turn.origin = None

    def _subscribe(self, connection: Connection, frame: Subscribe) -> None:
        self._traffic.subscribes += 1
        check_names(frame)
        channel, request_id = frame.channel, frame.request_id
        _need(connection, Action.SUBSCRIBE, request_id)
        listing = connection.rights.subscription(channel)
        if listing is Listing.REFUSED:
            raise _unauthorized(channel, request_id)
        held = connection.subscriptions
        if channel not in held and len(held) >= self._settings.max_channels:
            message = f"a connection holds at most {self._settings.max_channels} subscriptions"
            raise Refused(ErrorCode.CHANNEL_LIMIT_EXCEEDED, message, request_id)
        self._membership.join(connection, channel, frame.include_sender_metadata, listing)
        _acknowledge(connection, request_id)
        self._membership.owe_roster(connection, channel)

    def _unsubscribe(self, connection: Connection, frame: Unsubscribe) -> None:
        self._traffic.unsubscribes += 1
        check_names(frame)
        if frame.channel in connection.subscriptions:
            self._membership.leave(connection, frame.channel, Reason.LEFT)
        _acknowledge(connection, frame.request_id)

    def _ping(self, connection: Connection, frame: Ping) -> None:
        self._traffic.pings += 1
        connection.outbox.put(wire.pong(frame.request_id))

    def check_quota(self, app: App, request_id: str | None) -> None:
        """Raise `Refused` when the app has attempted more messages than it may."""
        if 0 < self._settings.max_messages < app.messages:
            message = "the messages of this period are used up"
            raise Refused(ErrorCode.OVER_MESSAGE_QUOTA, message, request_id)


def deliver(audience: Audience, sender: bytes, data: Raw, metadata: bytes | None, skip: Connection | None) -> int:
    """Queue a message to everybody in `audience` but `skip`; return how many there are.

    `sender` and `metadata` come as JSON. The frame is built once, or twice where some want the metadata.
    """
    if not audience.plain and not audience.stamped:
        return 0
    return put(audience, wire.message(audience.name, sender, data), metadata, skip)


def put(audience: Audience, plain: bytes, metadata: bytes | None, skip: Connection | None) -> int:
    """Do what `deliver` does with a frame that was made already, without the metadata of its sender."""
    skipped = None if skip is None else skip.outbox
    receivers = audience.plain.put(plain, skipped) if audience.plain else 0
    if audience.stamped:
        receivers += audience.stamped.put(plain if metadata is None else wire.stamped(plain, metadata), skipped)
    return receivers


def _charge(fan_out: FanOut, frame: Publish | Send, receivers: int, now: float) -> None:
    """Take from a publisher's budget what a message to so many costs. Raises `Refused` when there is nothing left."""
    if not fan_out.allows(now):
        message = "this connection's messages have gone to very many receivers; wait a moment"
        raise Refused(ErrorCode.OVER_MESSAGE_QUOTA, message, frame.request_id)
    fan_out.spend(len(frame.data), receivers)


def _check_publish(connection: Connection, frame: Publish) -> None:
    _need(connection, Action.PUBLISH, frame.request_id)
    if not connection.rights.may_publish(frame.channel):
        raise _unauthorized(frame.channel, frame.request_id)


def _check_send(connection: Connection, frame: Send) -> None:
    _need(connection, Action.SEND, frame.request_id)
    if not connection.rights.may_send(frame.to):
        message = "the grants of this token do not name this peer"
        raise Refused(ErrorCode.ACTION_NOT_PERMITTED, message, frame.request_id)


def _need(connection: Connection, action: Action, request_id: str | None) -> None:
    if not connection.rights.may(action):
        raise Refused(ErrorCode.ACTION_NOT_PERMITTED, f"this credential does not allow to {action}", request_id)


def _unauthorized(channel: str, request_id: str | None) -> Refused:
    return Refused(ErrorCode.CHANNEL_NOT_AUTHORIZED, f"this credential does not reach {channel!r}", request_id)


def _acknowledge(connection: Connection, request_id: str | None) -> None:
    if request_id is not None:
        connection.outbox.put(wire.ack(request_id))
