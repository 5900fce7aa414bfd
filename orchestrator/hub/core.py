"""The hub itself: a synchronous machine that takes what connections send and fills their outboxes.

It touches no socket and no clock. Whoever drives it hands in `now` (monotonic seconds), writes what is in the
outboxes of `turn.dirty` once per turn of its loop, and calls `tick` when `next_deadline` has come.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import ref

from orchestrator.hub import wire
from orchestrator.hub.apps import App
from orchestrator.hub.backlog import Backlog
from orchestrator.hub.cluster import Cluster
from orchestrator.hub.connections import Connection, FanOut
from orchestrator.hub.intake import Refused, read_unnamed
from orchestrator.hub.membership import Membership
from orchestrator.hub.neighbourhood import Neighbourhood
from orchestrator.hub.outbox import Outbox, Turn
from orchestrator.hub.repeats import FROM_OUTSIDE
from orchestrator.hub.requests import AWAY, Requests, put
from orchestrator.hub.rosters import Reason
from orchestrator.hub.timers import Timers
from orchestrator.protocol import limits
from orchestrator.protocol.codes import CloseCode, ErrorCode, closing
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from msgspec import Raw

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.backplane import Backplane
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.settings import Settings

_DRAIN_STEP: Final = 0.02
"""Seconds between two groups of closes of a shutdown."""


class Hub:
    def __init__(self, settings: Settings, on_fault: Callable[[Exception], None] | None = None) -> None:
        """`on_fault` is told of an exception that ended the handling of one request, and of nothing else."""
        self.settings = settings
        self.turn = Turn(backlog=Backlog(settings.outbound_bytes or 0))
        self.draining = False
        self._timers = Timers()
        self.membership = Membership(self._timers, self.turn, settings.snapshot_gap, settings.presence_window)
        self._requests = Requests(settings, self.membership)
        self._handlers = self._requests.handlers
        self._apps: dict[str, App] = {}
        self.cluster: Cluster | None = None
        self._on_fault = on_fault
        self._max_frame = settings.max_frame

    def join(self, node: str, backplane: Backplane, now: float) -> Cluster:
        """Become part of a cluster, as `node`, before anybody is connected; the backplane is up."""
        self.turn.now = now
        cluster = Cluster(node, backplane, Neighbourhood(self), self.turn, self._timers)
        self.cluster = self.membership.cluster = self._requests.cluster = cluster
        cluster.start()
        return cluster

    # -- connections

    def outbox(self) -> Outbox:
        return Outbox(self.turn, self.settings.outbox_bytes)

    def connect(self, identity: Identity, outbox: Outbox, now: float, wall: float) -> Connection | None:
        """Open a connection and put its welcome, or close `outbox` and return `None`; `wall` is Unix seconds.

        A token that names an instance continues the connection of the same peer and instance, and replaces those of
        its other instances.
        """
        self.turn.now = now
        app = self._home(identity.app)
        previous = [] if identity.instance is None else _with_instance(app, identity.peer_id)
        full = 0 < self.settings.max_connections <= app.connections - len(previous)
        if self.draining or full:
            code = CloseCode.OVER_CONCURRENT_LIMIT if full else CloseCode.GOING_AWAY
            outbox.close(code, closing(code).meaning)
            self.turn.traffic.refusals["full" if full else "draining"] += 1
            return None
        expires = None if identity.expires_at is None else now + identity.expires_at - wall - limits.EXPIRY_LEAD
        spread = self.settings.fan_out_bytes
        fan_out = FanOut(spread, now) if spread and identity.rate is not None else None
        connection = outbox.connection = Connection(identity, app, outbox, now, expires, fan_out)
        others = len(app.peers.get(identity.peer_id, ()))
        app.add(connection)
        self.turn.traffic.connects += 1
        if self.cluster is not None:
            self.cluster.connected(connection, others, wall)
        outbox.put(
            wire.welcome(
                connection.peer_json,
                identity.expires_at,
                wall,
                limits.MAX_MESSAGE_SIZE,
                identity.metadata,
                identity.instance,
                identity.rate,
            )
        )
        for old in previous:
            if old.identity.instance == identity.instance:
                self.membership.move(old, connection)
                self._close(old, CloseCode.NORMAL, "continued by another connection", Reason.LEFT)
            else:
                self._close(old, CloseCode.ADMIN_DISCONNECT, "replaced", Reason.REPLACED)
        self._watch(ref(connection), now)
        self.drop_slow()
        return connection

    def disconnect(self, connection: Connection, now: float, reason: Reason = Reason.LOST) -> None:
        """Note that the other side is gone: with `Reason.LEFT` when it said so."""
        self.turn.now = now
        if connection.open:
            self._remove(connection, reason, CloseCode.ABNORMAL if reason is Reason.LOST else None)
        self.drop_slow()

    # -- what connections send

    def receive(self, connection: Connection, text: bytes, now: float) -> None:
        """Handle one text message."""
        turn = self.turn
        turn.now = connection.heard = now
        if not connection.open:
            return
        if len(text) > self._max_frame:
            self.violation(connection, CloseCode.MESSAGE_TOO_BIG, now)
            return
        if connection.limited and not connection.spend(now):
            self.violation(connection, CloseCode.OVER_MESSAGE_RATE, now)
            return
        request_id: str | None = None
        try:
            frame = read_unnamed(text)
            request_id = frame.request_id
            self._handlers[type(frame)](connection, frame)
        except Refused as refused:
            turn.traffic.errors[refused.code] += 1
            connection.outbox.put(wire.error(refused.code, refused.message, refused.request_id))
        except UnicodeDecodeError:
            self._close(connection, CloseCode.INVALID_TEXT)
        except Exception as fault:  # noqa: BLE001  # one request must not end the hub; it is reported and answered
            if self._on_fault is not None:
                self._on_fault(fault)
            turn.traffic.errors[ErrorCode.INTERNAL_ERROR] += 1
            connection.outbox.put(wire.error(ErrorCode.INTERNAL_ERROR, "this request failed in the hub", request_id))
        if turn.overflowed:
            self.drop_slow()

    def receive_binary(self, connection: Connection, message: bytes, now: float) -> None:  # noqa: ARG002
        """Handle one binary message: the protocol has none."""
        if self._counts(connection, now):
            text = "messages are text, not binary"
            connection.outbox.put(wire.error(ErrorCode.MALFORMED_MESSAGE, text, None))
            self.drop_slow()

    def receive_ping(self, connection: Connection, payload: bytes, now: float) -> None:
        """Handle a WebSocket ping, which counts as a message."""
        if self._counts(connection, now):
            connection.outbox.put(wire.pong_frame(payload))
            self.drop_slow()

    def receive_pong(self, connection: Connection, now: float) -> None:
        """Handle a WebSocket pong: a sign of life, asked for or not, that counts as a message."""
        self._counts(connection, now)

    def receive_fragment(self, connection: Connection, now: float) -> bool:
        """Count a frame that does not complete its message; return whether the connection goes on."""
        return self._counts(connection, now)

    def violation(self, connection: Connection, code: CloseCode, now: float) -> None:
        """Close a connection that broke the rules of WebSocket, or the limits of the hub."""
        self.turn.now = now
        if connection.open:
            self._close(connection, code)
        self.drop_slow()

    # -- the socket's side of an outbox

    def stalled(self, connection: Connection, unsent: int, now: float) -> None:
        """Note that the socket still holds `unsent` bytes of what it was last given."""
        self.turn.now = now
        outbox = connection.outbox
        outbox.stall(unsent)
        if connection.open and not connection.age_watched:
            connection.age_watched = True
            self._timers.at(outbox.oldest + self.settings.outbox_age, partial(self._check_age, connection))
        self.drop_slow()

    def resumed(self, connection: Connection, now: float) -> None:
        self.turn.now = now
        connection.outbox.resume(now)

    # -- time

    @property
    def next_deadline(self) -> float | None:
        """The time at which `tick` is to be called; `None` = not before something else happens."""
        return self._timers.next

    def tick(self, now: float) -> None:
        self.turn.now = now
        self._timers.run(now)
        self.drop_slow()

    # -- what whoever runs the hub may do

    def connections(self) -> Iterator[Connection]:
        for app in self._apps.values():
            for peers in app.peers.values():
                yield from peers

    def apps(self) -> Iterable[App]:
        return self._apps.values()

    def end(self, connection: Connection, code: CloseCode, text: str, reason: Reason) -> None:
        """Close a connection; `text` goes along with the code."""
        if connection.open:
            self._close(connection, code, text, reason)
        self.drop_slow()

    def app(self, name: str) -> App | None:
        return self._apps.get(name)

    def kick(self, app: str, peer_id: str, now: float) -> int:
        """Close every connection of a peer for good, at every hub; return how many.

        Raises `Refused` when those here are closed and the other hubs cannot be reached.
        """
        here = self.kick_here(app, peer_id, now)
        return here if self.cluster is None else here + self.cluster.kick(app, peer_id)

    def kick_here(self, app: str, peer_id: str, now: float) -> int:
        """Close the connections of a peer to this hub alone; return how many."""
        self.turn.now = now
        found = self._apps.get(app)
        connections = [] if found is None else list(found.peers.get(peer_id, ()))
        for connection in connections:
            self._close(connection, CloseCode.ADMIN_DISCONNECT, reason=Reason.LEFT)
        self.drop_slow()
        return len(connections)

    def rekey(self, keys: KeyRing, now: float) -> None:
        """Close the connections whose keys are not among `keys` any more, or whose app is suspended."""
        self.turn.now = now
        for connection in list(self.connections()):
            code = keys.objection(connection.identity.key)
            if code is not None:
                self._close(connection, code, reason=Reason.LEFT)
        self.drop_slow()

    def attempt(self, app: str) -> None:
        """Count a message that somebody outside any connection wants to publish, whatever becomes of it."""
        self._home(app).messages += 1

    def broadcast(
        self,
        app: str,
        channel: str,
        sender: str,
        data: Raw,
        metadata: bytes | None,
        now: float,
        message_id: str | None = None,
    ) -> int:
        """Queue a message from outside any connection to all subscribers; return how many there are.

        `metadata` is JSON. Raises `Refused` when the messages of the app are used up; they are counted by `attempt`.
        """
        self.turn.now = now
        home = self._home(app)
        receivers = home.repeats.receivers(FROM_OUTSIDE, message_id, now)
        if receivers is None:
            self._requests.check_quota(home, None)
            audience = home.channels.audience(channel)
            frame = wire.message(audience.name, encode_json(sender), data)
            elsewhere, reached = 0, True
            if self.cluster is not None:
                elsewhere = self.cluster.receivers(app, channel)
                reached = self.cluster.publish(app, channel, FROM_OUTSIDE, frame, metadata, message_id) or not elsewhere
            here = put(audience, frame, metadata, None)
            self.turn.traffic.fanned_out(here)
            receivers = here + (elsewhere if reached else 0)
            self.turn.origin = None
            if reached:
                home.repeats.note(FROM_OUTSIDE, message_id, receivers, now)
            elif not receivers:
                raise Refused(ErrorCode.BACKEND_ERROR, AWAY, None)
            self.drop_slow()
        return receivers

    def roster(self, app: str, channel: str) -> list[bytes]:
        """Return the peers that are listed in a channel, as JSON objects."""
        home = self._apps.get(app)
        held = None if home is None else home.channels.exact.get(channel)
        if held is not None:
            return list(held.roster.entries())
        members = () if self.cluster is None else self.cluster.directory.members(app, channel)
        return list({member.peer_id: member.entry for member in members}.values())

    def drain(self, now: float) -> float:
        """Tell everybody that the hub is going away, and close them all, spread over the time that there is.

        Returns the seconds until the last close.
        """
        self.turn.now = now
        self.draining = True
        farewell = wire.going_away(self.settings.retry_after_ms)
        everybody = list(self.connections())
        for connection in everybody:
            connection.outbox.put(farewell)
        window = min(self.settings.drain_window, len(everybody) / self.settings.drain_rate)
        steps = max(1, math.ceil(window / _DRAIN_STEP))
        for step in range(steps):
            group = everybody[_share(len(everybody), step, steps) : _share(len(everybody), step + 1, steps)]
            if group:
                self._timers.at(now + step * _DRAIN_STEP, partial(self._dismiss, group))
        self.tick(now)
        return window

    def _home(self, name: str) -> App:
        home = self._apps.get(name)
        if home is None:
            home = self._apps[name] = App(name)
        return home

    # -- the ends of connections

    def _take_in(self, connection: Connection, now: float) -> bool:
        self.turn.now = now
        connection.heard = now
        return connection.open

    def _counts(self, connection: Connection, now: float) -> bool:
        if not self._take_in(connection, now):
            return False
        if not connection.spend(now):
            self.violation(connection, CloseCode.OVER_MESSAGE_RATE, now)
            return False
        return True

    def _close(
        self, connection: Connection, code: CloseCode, text: str | None = None, reason: Reason = Reason.LOST
    ) -> None:
        self._remove(connection, reason, code)
        connection.outbox.close(code, closing(code).meaning if text is None else text)

    def _remove(self, connection: Connection, reason: Reason, code: CloseCode | None) -> None:
        """Forget a connection; `code` ends it, `None` = whatever the other side has said."""
        connection.open = False
        self.turn.traffic.closes["client" if code is None else str(int(code))] += 1
        for text in list(connection.subscriptions):
            self.membership.leave(connection, text, reason)
        connection.app.remove(connection)
        if self.cluster is not None:
            self.cluster.holdings.disconnected(connection, len(connection.app.peers.get(connection.peer_id, ())))

    def _dismiss(self, group: list[Connection], now: float) -> None:
        self.turn.now = now
        for connection in group:
            if connection.open:
                self._close(connection, CloseCode.GOING_AWAY, reason=Reason.DRAINING)

    def drop_slow(self) -> None:
        """Remove the connections whose outboxes overflowed; telling others of it may overflow more."""
        overflowed = self.turn.overflowed
        while overflowed:
            outbox = overflowed.pop()
            connection = outbox.connection
            if connection is not None and connection.open:
                self.turn.traffic.slow += 1
                self._remove(connection, Reason.LOST, CloseCode.POLICY_VIOLATION)

    def _check_age(self, connection: Connection, now: float) -> None:
        outbox = connection.outbox
        if not connection.open or not outbox.stalled:
            connection.age_watched = False
            return
        due = outbox.oldest + self.settings.outbox_age
        if due <= now:
            outbox.overflow()
        else:
            self._timers.at(due, partial(self._check_age, connection))

    def _watch(self, watched: ref[Connection], now: float) -> None:
        """Close a connection when its token ends, and when it gives no sign of life for too long.

        The timer keeps none that has ended: there may be very many in the time that it takes.
        """
        connection = watched()
        if connection is None or not connection.open:
            return
        if connection.expires is not None and connection.expires <= now:
            self._close(connection, CloseCode.TOKEN_EXPIRED)
            return
        if connection.pinged is not None and connection.heard >= connection.pinged:
            connection.pinged = None
        if connection.pinged is None:
            due = connection.heard + self.settings.ping_interval
            if due <= now:
                connection.pinged = now
                connection.outbox.put(wire.PING)
                due = now + self.settings.ping_timeout
        else:
            due = connection.pinged + self.settings.ping_timeout
            if due <= now:
                self._remove(connection, Reason.LOST, CloseCode.ABNORMAL)
                connection.outbox.abort()
                return
        if connection.expires is not None:
            due = min(due, connection.expires)
        self._timers.at(due, partial(self._watch, watched))


def _with_instance(app: App, peer_id: str) -> list[Connection]:
    return [held for held in app.peers.get(peer_id, ()) if held.identity.instance is not None]


def _share(count: int, step: int, steps: int) -> int:
    """Return how many of `count` are done before `step` of `steps`, spread evenly from the first step on."""
    return -(-count * step // steps)
