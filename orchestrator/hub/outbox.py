"""What waits to be written to one connection: bounded in bytes and in age, and joined into one write per turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.hub.backlog import Backlog
from orchestrator.hub.traffic import Traffic
from orchestrator.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
    backlog: Backlog = field(default_factory=lambda: Backlog(0))
    origin: tuple[str, int] | None = None
    """The hub and the number of the message between hubs that brings what is put just now."""
    owed: bool = False
    """Something is to be said to other hubs at the end of the turn."""
    traffic: Traffic = field(default_factory=Traffic)


class Batch:
    """Frames that go to many outboxes alike, in one piece: each outbox holds the batch and not its frames.

    It stays open, and takes more frames for all of them at once, for as long as it is the last thing in every outbox
    that holds it. Whatever is put behind it in one of them, or takes it out, seals it.
    """

    __slots__ = ("_frames", "_group", "open", "piece", "receivers", "skipped", "slow")

    def __init__(self, group: Group, frame: bytes, skipped: Outbox | None) -> None:
        self._group = group
        self._frames = [frame]
        self.piece: bytes | None = frame
        self.open = True
        self.skipped = skipped
        """The outbox of the group that gets nothing of it."""
        self.receivers = 0
        self.slow: list[Outbox] = []
        """Outboxes that take each frame by itself."""

    def add(self, frame: bytes) -> None:
        """Append a frame for everybody; only while it is open."""
        self._frames.append(frame)
        self.piece = None
        for outbox in self.slow:
            outbox.put(frame)

    def seal(self) -> None:
        """Take nothing more."""
        self.open = False
        if self._group.batch is self:
            self._group.batch = None

    def joined(self) -> bytes:
        """Return all of it as one piece, which is made once however many ask for it."""
        if self.piece is None:
            self.piece = b"".join(self._frames)
        return self.piece

    def frames(self) -> list[bytes]:
        return list(self._frames)


class Group:
    """Outboxes that get the same frames."""

    __slots__ = ("_outboxes", "batch")

    def __init__(self, outboxes: Iterable[Outbox]) -> None:
        self._outboxes = tuple(outboxes)
        self.batch: Batch | None = None
        """What was put last, while it is open."""

    def __len__(self) -> int:
        return len(self._outboxes)

    def put(self, frame: bytes, skipped: Outbox | None) -> int:
        """Put a frame into every outbox but `skipped`; return into how many."""
        batch = self.batch
        if batch is not None and batch.skipped is skipped:
            batch.add(frame)
            return batch.receivers
        if len(self._outboxes) == 1:
            (only,) = self._outboxes
            if only is skipped:
                return 0
            only.put(frame)
            return 1
        return self._open(Batch(self, frame, skipped), frame)

    def _open(self, batch: Batch, frame: bytes) -> int:
        self.batch, skipped = batch, batch.skipped
        batch.receivers = len(self._outboxes)
        dirty = self._outboxes[0].turn.dirty
        for outbox in self._outboxes:
            if outbox is skipped:
                batch.receivers -= 1
            elif outbox.held:
                batch.slow.append(outbox)
                outbox.put(frame)
            else:
                tail = outbox.tail
                if tail is not None:
                    tail.seal()
                elif not outbox.dirty:
                    outbox.dirty = True
                    dirty.append(outbox)
                outbox.tail = batch
                outbox.frames.append(batch)
        if len(batch.slow) == batch.receivers:  # nobody holds it, so nobody would seal it
            batch.seal()
        return batch.receivers


class Outbox:
    """Complete WebSocket frames for one connection, in order.

    While the socket takes what it is given, frames wait for the end of the turn only. Once the socket stalls, or the outbox is corked, they
    wait here, at most `limit` bytes together with what the socket still holds; one more and the reader is too slow.
    """

    __slots__ = (
        "_in_flight",
        "_once_sent",
        "_seen",
        "_sifting",
        "_sifts",
        "_size",
        "_waiting_since",
        "aborted",
        "backlog",
        "closing",
        "connection",
        "corks",
        "dirty",
        "frames",
        "held",
        "limit",
        "oldest",
        "owner",
        "stalled",
        "tail",
        "turn",
        "unsent",
    )

    def __init__(self, turn: Turn, limit: int) -> None:
        self.turn = turn
        self.limit = limit
        self.owner: Writer | None = None
        self.connection: Connection | None = None
        """Whose outbox this is, once the hub has let it in."""
        self.frames: list[bytes | Batch] = []
        self.stalled = False
        self.corks = 0
        """Reasons for which nothing is written for now."""
        self.unsent = 0
        """Bytes that a stalled socket still holds."""
        self.oldest = 0.0
        """When the oldest byte that a stalled socket holds was put here."""
        self.closing: Close | None = None
        self.aborted = False
        """The other side is gone: there is nobody to write a close frame to."""
        self.held = False
        """`put` has to take the long way."""
        self.backlog = 0
        """Bytes of a reader that lags: here, and in its socket."""
        self.tail: Batch | None = None
        """What was put last, if that is a batch which may still grow."""
        self.dirty = False
        """It is among those of its turn with something to write or to close."""
        self._size = 0
        self._waiting_since: float | None = None
        self._once_sent: list[Callable[[float], None]] | None = None
        self._sifting: list[tuple[tuple[str, int] | None, bytes]] | None = None
        self._sifts = 0
        """Other hubs that have still to say what of it the peer has got."""
        self._seen: dict[str, int] = {}
        self._in_flight: list[Callable[[float], None]] | None = None

    def put(self, frame: bytes) -> None:
        if self.held:
            self._put_held(frame)
            return
        if self.tail is not None:
            self._seal()
        elif not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)
        self.frames.append(frame)

    def _seal(self) -> None:
        if self.tail is not None:
            self.tail.seal()
            self.tail = None

    def _put_held(self, frame: bytes) -> None:
        if self.closing is not None or self.aborted:
            return
        if self._waiting_since is None:
            self._waiting_since = self.turn.now
        if self._sifting is not None:
            self._sifting.append((self.turn.origin, frame))
        else:
            self.frames.append(frame)
        self._size += len(frame)
        self._count(self._size + self.unsent)
        if self.backlog > self.limit and self.closing is None:
            self.overflow()

    def _count(self, waiting: int) -> None:
        by, self.backlog = waiting - self.backlog, waiting
        if by:
            self.turn.backlog.change(self, by)

    def overflow(self) -> None:
        """Give up on a reader that is too slow: what it has not got is dropped, and the socket's part of it waits."""
        self._drop()
        self.close(CloseCode.POLICY_VIOLATION, "slow consumer")
        self.turn.overflowed.append(self)
        self._count(self.unsent)

    def close(self, code: int, reason: str) -> None:
        """Take nothing more, and end the connection after what is here was written."""
        if self.closing is None and not self.aborted:
            self._keep_sifted()
            self.corks = 0
            self.closing = Close(code, reason)
            self._mark()

    def abort(self) -> None:
        """Take nothing more and cut the connection."""
        if not self.aborted:
            self.aborted = True
            self._drop()
            self._mark()
            self._count(0)

    def lost(self) -> None:
        """Note that there is no socket any more."""
        self.aborted = self.held = True
        self._drop()
        self._count(0)

    def cork(self) -> None:
        """Keep everything from now on, in its order, until `uncork` was called as often; an end does not wait for that."""
        self._seal()
        self.corks += 1
        self.held = True

    def uncork(self) -> None:
        if not self.corks:
            return  # it was closed meanwhile
        self.corks -= 1
        if self.corks or self.stalled or self.closing is not None or self.aborted:
            return
        self.held = False
        self._count(0)
        if self.frames and not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)

    def sift(self) -> None:
        """Keep with each frame what brought it, until it was `sifted` as often; only while it is corked."""
        if self._sifting is None:
            self._sifting, self._seen = [], {}
        self._sifts += 1

    def sifted(self, seen: Mapping[str, int]) -> None:
        """Drop what messages have brought that the other side has got already: of each hub those up to a number."""
        for node, number in seen.items():
            self._seen[node] = max(number, self._seen.get(node, -1))
        self._sifts -= 1
        if self._sifts <= 0:
            self._keep_sifted()

    def _keep_sifted(self) -> None:
        frames, self._sifting, self._sifts = self._sifting or (), None, 0
        for origin, frame in frames:
            if origin is None or origin[1] > self._seen.get(origin[0], -1):
                self.frames.append(frame)
            else:
                self._size -= len(frame)

    def part(self) -> None:
        """Let go of all to whom this belongs, who hold it: none of them is to wait for the garbage collector."""
        self.owner = self.connection = None

    def _drop(self) -> None:
        self._seal()
        self.frames.clear()
        self._sifting = None
        self._size = 0

    def _mark(self) -> None:
        self._seal()
        self.held = True
        if not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)

    def cleaned(self) -> None:
        """Note that the server has taken this outbox off the list of those with something to do."""
        self.dirty = False

    def once_sent(self, call: Callable[[float], None]) -> None:
        """Call `call`, with the time then, when the socket has taken everything that was put until now."""
        if self.frames:
            self._once_sent = [*(self._once_sent or ()), call]
        elif self.stalled:
            self._in_flight = [*(self._in_flight or ()), call]
        else:
            call(self.turn.now)

    def waiting(self) -> list[bytes]:
        """Return every frame that is here."""
        return [frame for item in self.frames for frame in ([item] if isinstance(item, bytes) else item.frames())]

    def take(self, now: float) -> bytes:
        """Return everything to be written now, as one piece; empty when there is nothing, or the socket is stalled.

        Whoever writes it tells the outcome by `sent` or `stall`.
        """
        if self.stalled or self.corks or not self.frames:
            return b""
        frames, self.frames = self.frames, []
        if (tail := self.tail) is not None:
            if tail.open:
                tail.seal()
            self.tail = None
        if self._waiting_since is None:
            self.oldest = now
        else:
            self.oldest, self._waiting_since, self._size = self._waiting_since, None, 0
        if self._once_sent is not None:
            self._in_flight, self._once_sent = [*(self._in_flight or ()), *self._once_sent], None
        if len(frames) == 1:
            only = frames[0]
            return only if isinstance(only, bytes) else only.piece or only.joined()
        return b"".join([item if isinstance(item, bytes) else item.joined() for item in frames])

    def sent(self, now: float) -> None:
        """Note that the socket has taken everything it was given."""
        if self._in_flight is not None:
            calls, self._in_flight = self._in_flight, None
            for call in calls:
                call(now)

    def stall(self, unsent: int) -> None:
        """Note that the socket could not take all of what it was last given."""
        self._seal()
        self.stalled = self.held = True
        self.unsent = unsent
        self._count(self._size + unsent)
        if unsent > self.limit and self.closing is None and not self.aborted:
            self.overflow()

    def resume(self, now: float) -> None:
        """Note that a stalled socket has taken everything it was given."""
        self.stalled, self.unsent = False, 0
        self._count(0)
        self.held = self.closing is not None or self.aborted or self.corks > 0
        self.sent(now)
        if self.frames and not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)
