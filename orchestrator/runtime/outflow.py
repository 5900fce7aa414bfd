"""A stream on its way out: chunks are sent ahead of the hub's answers, and again from where an answer failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from orchestrator.errors import OrchestratorError, PayloadTooLarge, PeerNotFound, TaskCancelled, is_transient
from orchestrator.patterns.effects import Accepted, Answer, Refused, Send, Unsent
from orchestrator.patterns.intake import CALLER_GRACE
from orchestrator.patterns.stream import Writer
from orchestrator.protocol.limits import MAX_JOINED_SIZE
from orchestrator.protocol.payloads import Failure
from orchestrator.runtime.courier import Courier

WINDOW: Final = 64
"""Chunks under way to the hub at once."""
BACKLOG: Final = 256
"""Chunks that wait to be sent before the producer waits."""
ENVELOPE: Final = 512
"""Bytes that a chunk's frame needs beside its content."""
RETRY_SECONDS: Final = 0.5


class Outflow:
    """The stream of one task to one reader."""

    def __init__(
        self,
        stream_id: str,
        reader: str,
        courier: Courier,
        reader_seen: Callable[[bool], None] = lambda _: None,
        *,
        merges: bool = False,
        ours: bool = False,
        traceparent: str | None = None,
    ) -> None:
        """`reader_seen` hears of each chunk whether its reader was there.

        `merges`: chunks are text, and neighbours may become one while the connection is short of messages, for a reader
        that does not take many in one message. `ours`: the reader is of this package, and so is one that acknowledges:
        it joins parts. `traceparent` goes along with the first chunk.
        """
        self.reader = reader
        self.writer = Writer(stream_id, acknowledged=ours, traceparent=traceparent)
        self._merges = merges
        self._courier, self._reader_seen = courier, reader_seen
        self._under_way = 0
        self._held: asyncio.TimerHandle | bool = False
        """Whether sending is suspended, and the timer that takes it up again, if it is not a reconnect that does."""
        self._turn_ends: asyncio.Handle | None = None
        """Sends what was put in this turn of the event loop after the first chunk."""
        self._moved = asyncio.Event()
        self._broken: OrchestratorError | None = None
        self._gone_since: float | None = None
        self.given_up = False
        """Its reader stayed away too long after its end; should it ask after all, it gets what is still kept."""
        self.detached = False
        """What is produced goes elsewhere, and is read by nobody here."""
        self.patience = CALLER_GRACE
        """Seconds that a reader which is away has to come back for a stream that has ended."""

    @property
    def done(self) -> bool:
        """Whether the stream has ended and the hub has taken all of it, or it can go nowhere."""
        if self._broken is not None or self.given_up:
            return True
        return self.writer.ended and not self.writer.unsent and not self._under_way

    async def put(self, content: Raw) -> None:
        """Send a chunk; waits while the reader, or the hub, is too far behind.

        Raises `PayloadTooLarge` for a chunk that cannot travel, and what the hub said if it refuses the stream.
        """
        link = self._courier.link
        size, limit = memoryview(content).nbytes, link.max_message_size - ENVELOPE
        if size > limit and self.writer.acknowledged:
            limit = MAX_JOINED_SIZE - ENVELOPE
        if size > limit:
            raise PayloadTooLarge(size, limit)
        while (
            self._broken is None
            and not self.detached
            and (not self.writer.has_room or self.writer.unsent + self._under_way >= BACKLOG)
        ):
            self._moved.clear()
            await self._moved.wait()
        if self.detached:
            return
        if self._broken is not None:
            raise self._broken
        self.writer.push(content, merge=self._merges and not self.writer.takes_many and link.short_of_messages)
        self._flow_once_a_turn()

    def end(self, error: Failure | None = None) -> None:
        self.writer.end(asyncio.get_running_loop().time(), error)
        self._flow()

    async def drained(self) -> None:
        """Wait until the hub has taken everything, the end of the stream included."""
        while not self.done:
            self._moved.clear()
            await self._moved.wait()

    def resume(self, seq: int) -> None:
        """The reader asks for everything from `seq` on."""
        if self.detached or not self.writer.rewind(seq):
            failure = Failure("StreamBroken", f"chunk {seq} is no longer kept by the agent that produced it")
            self._courier.deliver(Send(self.reader, self.writer.broken(seq, failure)))
            return
        self._gone_since, self.given_up = None, False
        self._go_on()

    def acked(self, seq: int, *, many: bool = False) -> None:
        self.writer.acked(seq, many=many)
        self._moved.set()

    def connected(self) -> None:
        self._gone_since = None
        self._go_on()

    def detach(self) -> None:
        """Nobody reads it, and its producer goes on all the same: from now on nothing is sent, and nothing waited for."""
        self.detached = self.given_up = True
        self._moved.set()
        self.close()

    def abandon(self) -> None:
        """Send nothing more: the reader has said that it does not want it, or is gone for good."""
        self._broken = self._broken or TaskCancelled(self.writer.stream_id, None)
        self._moved.set()
        self.close()

    def close(self) -> None:
        if isinstance(self._held, asyncio.TimerHandle):
            self._held.cancel()
        if self._turn_ends is not None:
            self._turn_ends.cancel()
            self._turn_ends = None

    def _go_on(self) -> None:
        if isinstance(self._held, asyncio.TimerHandle):
            self._held.cancel()
        self._held = False
        self._flow()

    def _flow_once_a_turn(self) -> None:
        """Send a chunk at once, and what is put behind it in the same turn of the event loop together, at its end.

        A chunk that comes alone waits for nothing so, and many that come at once leave in few messages.
        """
        if not self.writer.takes_many:
            self._flow()
        elif self._turn_ends is None:
            self._turn_ends = asyncio.get_running_loop().call_soon(self._end_turn)
            self._flow()

    def _end_turn(self) -> None:
        self._turn_ends = None
        self._flow()
        self._moved.set()

    def _flow(self) -> None:
        if not self.writer.unsent:
            return
        window = WINDOW if self._gone_since is None and not self._courier.link.short_of_messages else 1
        while not self._held and self._broken is None and not self.given_up and self._under_way < window:
            chunk = self.writer.pending()
            if chunk is None:
                return
            self._under_way += 1
            self._courier.deliver(Send(self.reader, chunk, chunk.seq, self.writer.acknowledged), self._answered)

    def _answered(self, seq: int, answer: Answer) -> None:
        self._under_way -= 1
        self._moved.set()
        if isinstance(answer, Accepted):
            self._gone_since = None
            self._reader_seen(True)
            self._flow()
        elif (
            isinstance(answer, Refused)
            and not isinstance(answer.error, PeerNotFound)
            and not is_transient(answer.error)
        ):
            self._refused(seq, answer.error)
        else:
            self.writer.rewind(seq)
            if isinstance(answer, Refused) and isinstance(answer.error, PeerNotFound):
                self._reader_gone()
                self._reader_seen(False)
            if isinstance(answer, Unsent):
                self._held = self._held or True  # until the connection is back
            elif not self._held:
                self._held = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._go_on)

    def _refused(self, seq: int, error: Exception) -> None:
        """The hub does not carry this stream: its reader must hear at least that."""
        if self._broken is None:
            self._broken = error if isinstance(error, OrchestratorError) else OrchestratorError(str(error))
            failure = Failure(type(error).__name__, str(error))
            self._courier.deliver(Send(self.reader, self.writer.broken(seq, failure)))

    def _reader_gone(self) -> None:
        """Give up on a reader that stays away from a stream that has ended; while it runs, its task decides that."""
        now = asyncio.get_running_loop().time()
        if self._gone_since is None:
            self._gone_since = now
        elif self.writer.ended and now - self._gone_since >= self.patience:
            self.given_up = True
            self._moved.set()
            self.close()
