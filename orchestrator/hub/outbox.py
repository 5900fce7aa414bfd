"""What waits to be written to one connection: bounded in bytes and in age, and joined into one write per turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.connections import Connection


class Close(NamedTuple):
    """How a connection is to end, once everything before it is written."""

    code: int
    reason: str


class Writer(Protocol):
    """Whoever owns an outbox."""

    def flush(self, now: float) -> None:
        """Write and close what the outbox says, as far as the socket goes along."""


@dataclass(slots=True)
class Turn:
    """What one turn of the loop has changed."""

    now: float = 0.0
    """Monotonic seconds."""
    dirty: list[Outbox] = field(default_factory=list)
    """Outboxes with something to write or to close, each once."""
    overflowed: list[Outbox] = field(default_factory=list)
    """Outboxes whose reader is too slow."""


class Outbox:
    """Complete WebSocket frames for one connection, in order.

    While the socket takes what it is given, frames wait for the end of the turn only. Once the socket stalls, they
    wait here, at most `limit` bytes together with what the socket still holds; one more and the reader is too slow.
    """

    __slots__ = (
        "_dirty",
        "_in_flight",
        "_once_sent",
        "_size",
        "_waiting_since",
        "aborted",
        "closing",
        "connection",
        "frames",
        "held",
        "limit",
        "oldest",
        "owner",
        "stalled",
        "turn",
        "unsent",
    )

    def __init__(self, turn: Turn, limit: int) -> None:
        self.turn = turn
        self.limit = limit
        self.owner: Writer | None = None
        self.connection: Connection | None = None
        """Whose outbox this is, once the hub has let it in."""
        self.frames: list[bytes] = []
        self.stalled = False
        self.unsent = 0
        """Bytes that a stalled socket still holds."""
        self.oldest = 0.0
        """When the oldest byte that a stalled socket holds was put here."""
        self.closing: Close | None = None
        self.aborted = False
        """The other side is gone: there is nobody to write a close frame to."""
        self.held = False
        """`put` has to take the long way."""
        self._size = 0
        self._dirty = False
        self._waiting_since: float | None = None
        self._once_sent: list[Callable[[float], None]] = []
        self._in_flight: list[Callable[[float], None]] = []

    def put(self, frame: bytes) -> None:
        if self.held:
            self._put_held(frame)
            return
        if not self._dirty:
            self._dirty = True
            self.turn.dirty.append(self)
        self.frames.append(frame)

    def _put_held(self, frame: bytes) -> None:
        if self.closing is not None or self.aborted:
            return
        if self._waiting_since is None:
            self._waiting_since = self.turn.now
        self.frames.append(frame)
        self._size += len(frame)
        if self._size + self.unsent > self.limit:
            self.overflow()

    def overflow(self) -> None:
        """Give up on a reader that is too slow: what it has not got is dropped."""
        self.frames.clear()
        self.close(CloseCode.POLICY_VIOLATION, "slow consumer")
        self.turn.overflowed.append(self)

    def close(self, code: int, reason: str) -> None:
        """Take nothing more, and end the connection after what is here was written."""
        if self.closing is None and not self.aborted:
            self.closing = Close(code, reason)
            self._mark()

    def abort(self) -> None:
        """Take nothing more and cut the connection."""
        if not self.aborted:
            self.aborted = True
            self.frames.clear()
            self._mark()

    def _mark(self) -> None:
        self.held = True
        if not self._dirty:
            self._dirty = True
            self.turn.dirty.append(self)

    def cleaned(self) -> None:
        """Note that the server has taken this outbox off the list of those with something to do."""
        self._dirty = False

    def once_sent(self, call: Callable[[float], None]) -> None:
        """Call `call`, with the time then, when the socket has taken everything that was put until now."""
        if self.frames:
            self._once_sent.append(call)
        elif self.stalled:
            self._in_flight.append(call)
        else:
            call(self.turn.now)

    def take(self, now: float) -> bytes:
        """Return everything to be written now, as one piece; empty when there is nothing, or the socket is stalled.

        Whoever writes it tells the outcome by `sent` or `stall`.
        """
        if self.stalled or not self.frames:
            return b""
        frames, self.frames, self._size = self.frames, [], 0
        self.oldest = now if self._waiting_since is None else self._waiting_since
        self._waiting_since = None
        if self._once_sent:
            self._in_flight += self._once_sent
            self._once_sent = []
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def sent(self, now: float) -> None:
        """Note that the socket has taken everything it was given."""
        if self._in_flight:
            calls, self._in_flight = self._in_flight, []
            for call in calls:
                call(now)

    def stall(self, unsent: int) -> None:
        """Note that the socket could not take all of what it was last given."""
        self.stalled = self.held = True
        self.unsent = unsent
        if unsent > self.limit and self.closing is None and not self.aborted:
            self.overflow()

    def resume(self, now: float) -> None:
        """Note that a stalled socket has taken everything it was given."""
        self.stalled, self.unsent = False, 0
        self.held = self.closing is not None or self.aborted
        self.sent(now)
        if self.frames and not self._dirty:
            self._dirty = True
            self.turn.dirty.append(self)
