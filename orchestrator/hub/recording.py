"""A hub that tells of everything that it is called with and of everything that it does, in order; it decides nothing else.

It is used in the place of a plain hub where a recording is asked for, so that one without a recording has nothing to do with
it. What goes on between two calls follows from them: fed with what was told of one, another hub does the same.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from orchestrator.hub.core import Hub
from orchestrator.hub.intake import Refused
from orchestrator.hub.outbox import Outbox
from orchestrator.hub.rosters import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.settings import Settings
    from orchestrator.protocol.codes import CloseCode

Event: TypeAlias = tuple[str, float, int, Any]
"""Its kind, the monotonic time of it, the number of a connection or 0, and what there is to say of it."""
Tell: TypeAlias = "Callable[[Event], None]"


class RecordedOutbox(Outbox):
    """Tells what is taken out of it, and how it ends. `number` is that of its connection, 0 before there is one."""

    __slots__ = ("_hub", "_tell", "number")

    def __init__(self, hub: RecordingHub, limit: int) -> None:
        super().__init__(hub.turn, limit)
        self._hub, self._tell = hub, hub.tell
        self.number = 0

    def take(self, now: float) -> bytes:
        data = super().take(now)
        if data and self.number:
            self._tell(("out", now, self.number, data))
        return data

    def sent(self, now: float) -> None:
        if self._in_flight is not None and not self._hub.busy:  # else it follows from what the hub was called with
            self._tell(("sent", now, self.number, None))
        super().sent(now)

    def close(self, code: int, reason: str) -> None:
        if self.closing is None and not self.aborted:
            self._tell(("closed" if self.number else "refused", self.turn.now, self.number, (int(code), reason)))
        super().close(code, reason)

    def abort(self) -> None:
        if not self.aborted and self.number:
            self._tell(("cut" if self._hub.busy else "abort", self.turn.now, self.number, None))
        super().abort()

    def lost(self) -> None:
        if self.number:
            self._tell(("lost", self.turn.now, self.number, None))
        super().lost()


class RecordingHub(Hub):
    """`tell` is called in the middle of everything: it is to return at once, and to raise nothing."""

    def __init__(self, settings: Settings, tell: Tell, on_fault: Callable[[Exception], None] | None = None) -> None:
        super().__init__(settings, on_fault)
        self.tell = tell
        self.busy = False
        """It is being called: what it does now follows from that."""
        self._numbers = 0

    def begin(self, now: float, wall: float) -> None:
        """Tell what this hub is, before anything else; `wall` is Unix seconds."""
        settings = asdict(self.settings)
        for private in ("backplane", "tls_certificate", "tls_key"):
            settings[private] = None
        self.tell(("hub", now, 0, (wall, settings, self.settings.backplane is not None)))

    def outbox(self) -> RecordedOutbox:
        return RecordedOutbox(self, self.settings.outbox_bytes)

    def connect(self, identity: Identity, outbox: Outbox, now: float, wall: float) -> Connection | None:
        self._numbers += 1
        cast(RecordedOutbox, outbox).number = self._numbers
        self.tell(("connect", now, self._numbers, (identity, wall)))
        self.busy = True
        try:
            return super().connect(identity, outbox, now, wall)
        finally:
            self.busy = False

    def disconnect(self, connection: Connection, now: float, reason: Reason = Reason.LOST) -> None:
        self._told("disconnect", now, connection, reason.value)
        try:
            super().disconnect(connection, now, reason)
        finally:
            self.busy = False

    def receive(self, connection: Connection, text: bytes, now: float) -> None:
        self.tell(("in", now, cast(RecordedOutbox, connection.outbox).number, text))
        self.busy = True
        try:
            super().receive(connection, text, now)
        finally:
            self.busy = False

    def receive_binary(self, connection: Connection, message: bytes, now: float) -> None:
        self._told("binary", now, connection, len(message))
        try:
            super().receive_binary(connection, message, now)
        finally:
            self.busy = False

    def receive_ping(self, connection: Connection, payload: bytes, now: float) -> None:
        self._told("ping", now, connection, payload)
        try:
            super().receive_ping(connection, payload, now)
        finally:
            self.busy = False

    def receive_pong(self, connection: Connection, now: float) -> None:
        self._told("pong", now, connection, None)
        try:
            super().receive_pong(connection, now)
        finally:
            self.busy = False

    def receive_fragment(self, connection: Connection, now: float) -> bool:
        self._told("fragment", now, connection, None)
        try:
            return super().receive_fragment(connection, now)
        finally:
            self.busy = False

    def violation(self, connection: Connection, code: CloseCode, now: float) -> None:
        if self.busy:  # one that the hub found itself
            super().violation(connection, code, now)
            return
        self._told("violation", now, connection, int(code))
        try:
            super().violation(connection, code, now)
        finally:
            self.busy = False

    def stalled(self, connection: Connection, unsent: int, now: float) -> None:
        self._told("stalled", now, connection, unsent)
        try:
            super().stalled(connection, unsent, now)
        finally:
            self.busy = False

    def resumed(self, connection: Connection, now: float) -> None:
        self._told("resumed", now, connection, None)
        try:
            super().resumed(connection, now)
        finally:
            self.busy = False

    def tick(self, now: float) -> None:
        if self.busy:
            super().tick(now)
            return
        self._told("tick", now, None, None)
        try:
            super().tick(now)
        finally:
            self.busy = False

    def kick_here(self, app: str, peer_id: str, now: float) -> int:
        if self.busy:
            return super().kick_here(app, peer_id, now)
        self._told("kick", now, None, (app, peer_id))
        try:
            count = super().kick_here(app, peer_id, now)
        finally:
            self.busy = False
        self.tell(("result", now, 0, count))
        return count

    def rekey(self, keys: KeyRing, now: float) -> None:
        objections = [
            (cast(RecordedOutbox, connection.outbox).number, int(code))
            for connection in self.connections()
            if (code := keys.objection(connection.identity.key)) is not None
        ]
        self._told("rekey", now, None, objections)
        try:
            super().rekey(keys, now)
        finally:
            self.busy = False

    def attempt(self, app: str) -> None:
        self.tell(("attempt", self.turn.now, 0, app))
        super().attempt(app)

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
        self._told("broadcast", now, None, (app, channel, sender, bytes(data), metadata, message_id))
        receivers = -1
        try:
            receivers = super().broadcast(app, channel, sender, data, metadata, now, message_id)
        except Refused:
            self.tell(("result", now, 0, -1))
            raise
        finally:
            self.busy = False
        self.tell(("result", now, 0, receivers))
        return receivers

    def end(self, connection: Connection, code: CloseCode, text: str, reason: Reason) -> None:
        if self.busy:
            super().end(connection, code, text, reason)
            return
        self._told("end", self.turn.now, connection, (int(code), text, reason.value))
        try:
            super().end(connection, code, text, reason)
        finally:
            self.busy = False

    def drain(self, now: float) -> float:
        settings = self.settings
        self._told("drain", now, None, (settings.drain_window, settings.drain_rate, settings.retry_after_ms))
        try:
            return super().drain(now)
        finally:
            self.busy = False

    def _told(self, kind: str, now: float, connection: Connection | None, detail: object) -> None:
        number = 0 if connection is None else cast(RecordedOutbox, connection.outbox).number
        self.tell((kind, now, number, detail))
        self.busy = True
