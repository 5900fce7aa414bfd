"""Numbered chunks: the writer keeps what its reader may ask for again, the reader puts them in order, each once."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, TypeAlias

from msgspec import Raw, Struct

from orchestrator.patterns.effects import Send
from orchestrator.protocol.payloads import CompletionChunk, Failure, StreamAck, StreamResume

REPLAY_BYTES: Final = 4 * 1024 * 1024
"""What a writer keeps for a reader that comes back, in bytes of chunk content."""
REPLAY_SECONDS: Final = 120.0
"""How long a writer keeps its chunks after the last one."""
AHEAD_CHUNKS: Final = 1_024
"""Chunks beyond a gap that a reader keeps while it waits for the gap to be filled."""
ACK_EVERY: Final = 32
"""Chunks after which a reader says what it has used."""
CREDIT_CHUNKS: Final = 512
"""Chunks that a writer sends ahead of a reader that acknowledges."""
ACK_BYTES: Final = REPLAY_BYTES // 8
"""The same in bytes of their content: a writer waits for a reader that is `REPLAY_BYTES` behind."""
MERGED_BYTES: Final = 16 * 1024
"""What neighbouring chunks of text may come to when they are merged, and chunks that travel in one message."""
MANY: Final = 64
"""Chunks in one message."""
RESUME_INTERVAL: Final = 0.5
"""Seconds between two requests for the same gap."""


class Writer:
    """The producing end of one stream."""

    def __init__(self, stream_id: str, *, acknowledged: bool = False, traceparent: str | None = None) -> None:
        """`acknowledged`: the reader is known to acknowledge; else that shows when it does. `traceparent` goes along with
        the first chunk."""
        self.stream_id, self.traceparent = stream_id, traceparent
        self._kept: deque[CompletionChunk] = deque()
        self._bytes = 0
        self._first = 0
        """The number of the oldest chunk kept."""
        self._next = 0
        self._acked = -1
        self._acks_heard = acknowledged
        self.takes_many = False
        """The reader has said that several chunks may come in one message."""
        self._cursor = 0
        """The number of the next chunk to send."""
        self._sent = 0
        """The number of the first chunk that was never sent."""
        self.ended_at: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether the producer may go on.

        It waits for a reader that acknowledges, so that nothing is let go which that may ask for again, and for what has
        not been sent yet.
        """
        if self._bytes > REPLAY_BYTES and (self._acks_heard or self.unsent):
            return False
        return not self._acks_heard or self._next - self._acked <= CREDIT_CHUNKS

    @property
    def acknowledged(self) -> bool:
        """Whether the reader acknowledges: then it is one of this package."""
        return self._acks_heard

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def begun(self) -> bool:
        """Whether any chunk was sent."""
        return self._sent > 0

    @property
    def unsent(self) -> int:
        """How many chunks wait to be sent, or sent again."""
        return self._next - self._cursor

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def push(self, content: Raw, *, merge: bool = False) -> None:
        """Number a chunk. Of those for a reader that does not acknowledge, `REPLAY_BYTES` are kept.

        `merge`: it is text, and becomes one with the chunk before, if that was never sent.
        """
        if merge and self._next > self._sent and not self.ended:
            before, after = memoryview(self._kept[-1].content), memoryview(content)
            if before.nbytes + after.nbytes <= MERGED_BYTES:
                whole = Raw(b"".join((before[:-1], after[1:])))
                seq = self._next - 1
                self._kept[-1] = CompletionChunk(self.stream_id, seq, whole, traceparent=self._trace_of(seq))
                self._bytes += after.nbytes - 2  # two quotes less
                return
        self._append(CompletionChunk(self.stream_id, self._next, content, traceparent=self._trace_of(self._next)))

    def end(self, now: float, error: Failure | None = None) -> None:
        """Number the last chunk, which says that the stream is complete, or why it is not."""
        if self.ended_at is None:
            self.ended_at = now
            self._append(CompletionChunk(stream_id=self.stream_id, seq=self._next, done=True, error=error))

    def pending(self) -> CompletionChunk | None:
        """Return the next chunk to send, with those that may travel with it, and step past them; `None` = all are sent."""
        if self._cursor >= self._next:
            return None
        chunk = self._kept[self._cursor - self._first]
        self._cursor += 1
        if self.takes_many and self._cursor < self._next and not chunk.done:
            chunk = self._with_followers(chunk)
        self._sent = max(self._sent, self._cursor)
        return chunk

    def _with_followers(self, chunk: CompletionChunk) -> CompletionChunk:
        """Step past the chunks that travel with this one: all that there are, but for the last, and up to a limit."""
        more: list[Raw] = []
        size, start = memoryview(chunk.content).nbytes, self._cursor - self._first
        for follower in islice(self._kept, start, start + MANY - 1):
            size += memoryview(follower.content).nbytes
            if follower.done or size > MERGED_BYTES:
                break
            more.append(follower.content)
        self._cursor += len(more)
        if not more:
            return chunk
        return CompletionChunk(
            chunk.stream_id, chunk.seq, chunk.content, more=tuple(more), traceparent=chunk.traceparent
        )

    def _trace_of(self, seq: int) -> str | None:
        return None if seq else self.traceparent

    def rewind(self, seq: int) -> bool:
        """Send again from `seq` on. Returns false when that chunk is no longer kept: the stream is then broken."""
        if seq < self._first:
            return False
        self._cursor = min(self._cursor, seq)
        return True

    def acked(self, seq: int, *, many: bool = False) -> None:
        """Let go of what the reader says it has; a claim to have more than was sent is passed over.

        `many`: it says, too, that it takes several chunks in one message.
        """
        self._acks_heard = True
        self.takes_many = self.takes_many or many
        if seq >= self._next:
            return
        self._acked = max(self._acked, seq)
        while self._kept and self._first <= seq:
            self._drop_oldest()

    def broken(self, seq: int, error: Failure) -> CompletionChunk:
        """Return a last chunk in the place of one that is no longer kept."""
        return CompletionChunk(stream_id=self.stream_id, seq=seq, done=True, error=error)

    def expired(self, now: float) -> bool:
        return self.ended_at is not None and now - self.ended_at >= REPLAY_SECONDS

    def _append(self, chunk: CompletionChunk) -> None:
        self._kept.append(chunk)
        self._next += 1
        self._bytes += len(bytes(chunk.content))
        while self._bytes > REPLAY_BYTES and self._first < self._cursor and not self._acks_heard:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= len(bytes(self._kept.popleft().content))
        self._first += 1
        self._cursor = max(self._cursor, self._first)
        self._sent = max(self._sent, self._first)


class Piece(Struct, frozen=True):
    """The next chunk of a stream, in order."""

    content: Raw


class Ended(Struct, frozen=True):
    """A stream is over; `error` says why when it did not reach its end."""

    error: Failure | None = None


Reading: TypeAlias = Send | Piece | Ended


class Reader:
    """The consuming end of one stream."""

    def __init__(self, stream_id: str, producer: str) -> None:
        self.stream_id, self.producer = stream_id, producer
        self.started = False
        """Whether any chunk has arrived."""
        self._next = 0
        self._ahead: dict[int, CompletionChunk] = {}
        self._asked_at = float("-inf")
        self._consumed = 0
        self._sizes: deque[int] = deque()
        """Of the chunks that were read and not consumed."""
        self._unsaid = 0
        """Bytes that were consumed since the producer was last told."""
        self._numbered = False
        self._over = False

    def receive(self, chunk: CompletionChunk, now: float) -> list[Reading]:
        """Take one chunk, in whatever order they come, and return what can be read by now."""
        self.started = True
        if self._over:
            return []
        if chunk.more:
            return self._receive_many(chunk, now)
        if chunk.seq is None:  # an older program: it counts on the order of arrival
            return self._read(chunk)
        if chunk.seq < self._next:
            return []
        if len(self._ahead) < AHEAD_CHUNKS or chunk.seq == self._next:
            self._ahead[chunk.seq] = chunk
        reading: list[Reading] = []
        while self._next in self._ahead:
            reading += self._read(self._ahead.pop(self._next))
        if self._ahead:
            reading += self.resume(now)
        return reading

    def _receive_many(self, chunk: CompletionChunk, now: float) -> list[Reading]:
        contents = (chunk.content, *chunk.more)
        if chunk.seq == self._next and not self._ahead:  # as nearly always
            self._numbered = True
            self._next += len(contents)
            self._sizes.extend([memoryview(content).nbytes for content in contents])
            return [Piece(content) for content in contents]
        reading: list[Reading] = []
        for number, content in enumerate(contents):
            seq = None if chunk.seq is None else chunk.seq + number
            reading += self.receive(CompletionChunk(chunk.stream_id, seq, content), now)
        return reading

    def resume(self, now: float) -> list[Reading]:
        """Ask for what is missing, at most every `RESUME_INTERVAL`."""
        if self._over or now - self._asked_at < RESUME_INTERVAL:
            return []
        self._asked_at = now
        return [Send(self.producer, self.missing())]

    def consumed(self) -> list[Reading]:
        """Count one chunk as used by the reader's owner, which is what lets the producer go on."""
        self._consumed += 1
        self._unsaid += self._sizes.popleft() if self._sizes else 0
        if not self._numbered or self._over or (self._consumed % ACK_EVERY and self._unsaid < ACK_BYTES):
            return []
        return [Send(self.producer, self.progress())]

    def progress(self) -> StreamAck:
        """Say what has been used so far; the first one tells the producer that this reader acknowledges at all."""
        self._unsaid = 0
        return StreamAck(self.stream_id, self._consumed - 1, many=True)

    def missing(self) -> StreamResume:
        """Ask for all that has not arrived; also a way to learn whether the producer still knows of the stream."""
        return StreamResume(self.stream_id, self._next)

    def _read(self, chunk: CompletionChunk) -> list[Reading]:
        self._next += 1
        if chunk.done:
            self._over = True
            self._ahead.clear()
            last: list[Reading] = [] if bytes(chunk.content) in (b'""', b"null", b"") else [Piece(chunk.content)]
            return [*last, Ended(chunk.error)]
        self._numbered = chunk.seq is not None
        self._sizes.append(memoryview(chunk.content).nbytes)
        return [Piece(chunk.content)]
