"""The sockets of a connection, and the bytes that go from one to the other, by the event loop's callbacks."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.testing.lane import End, Lane, Send, Wait

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""To linger for no time at all: the socket is reset."""
_READ: Final = 65_536


class Side:
    """One socket, and which of its callbacks are set."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.open = True
        self._loop = loop
        self._reads = self._writes = False

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            self._loop.add_reader(self.sock, callback)
        elif self._reads:
            self._loop.remove_reader(self.sock)
        self._reads = callback is not None

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            self._loop.add_writer(self.sock, callback)
        elif self._writes:
            self._loop.remove_writer(self.sock)
        self._writes = callback is not None

    def end_stream(self) -> None:
        with contextlib.suppress(OSError):  # the other side was quicker
            self.sock.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool) -> None:
        if not self.open:
            return
        self.open = False
        self.on_readable(None)
        self.on_writable(None)
        if reset:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.sock.close()

    def throw_away(self, closed: Callable[[], None]) -> None:
        """End the stream, drop what still comes, and close when the other side ends its own: then `closed` is called.

        A socket closed any sooner would be reset by what comes then.
        """
        self.on_writable(None)
        self.end_stream()
        self.on_readable(lambda: self._thrown_away(closed))

    def _thrown_away(self, closed: Callable[[], None]) -> None:
        try:
            ended = not self.sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            ended = True
        if ended:
            self.close(reset=False)
            closed()


class Flow:
    """One direction of a connection, from the socket that is read to the one that is written."""

    def __init__(
        self,
        lane: Lane,
        source: Side,
        sink: Side,
        loop: asyncio.AbstractEventLoop,
        *,
        on_passed: Callable[[int], None],
        on_eof: Callable[[], None],
        on_end: Callable[[Literal["fin", "reset"], str], None],
    ) -> None:
        """`on_end` is told when the whole connection is to end, and has to `stop` both flows then."""
        self.lane = lane
        self.ended = False
        """The end of this direction was passed on."""
        self._source, self._sink, self._loop = source, sink, loop
        self._on_passed, self._on_eof, self._on_end = on_passed, on_eof, on_end
        self._stopped = False
        self._reads = self._blocked = self._source_ended = False
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        self._stopped = True
        self._disarm()

    def run(self) -> None:
        """Do everything that is due, and see to it that the rest is done in time."""
        self._disarm()
        blocked = False
        while not (self._stopped or blocked):
            match self.lane.step(self._loop.time()):
                case Send(data):
                    blocked = not self._write(data)
                case Wait(until):
                    if until is not None:
                        self._timer = self._loop.call_at(until, self.run)
                    break
                case End("eof"):
                    self._pass_eof()
                case End("fin" | "reset" as how, why, last):
                    self._write_last(last)
                    self._on_end(how, why)
        if not self._stopped:
            self._wait_for_sockets(blocked)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, data: bytes) -> bool:
        """Write what the socket takes; tell whether that is worth another try now."""
        try:
            size = self._sink.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._on_end("reset", f"{error.strerror} on writing")
            return False
        self.lane.sent(size, self._loop.time())
        self._on_passed(size)
        return True

    def _write_last(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sink.sock.send(data)

    def _pass_eof(self) -> None:
        self.ended = True
        self.lane.eof_sent()
        self._sink.end_stream()
        self._on_eof()

    def _wait_for_sockets(self, blocked: bool) -> None:
        if blocked is not self._blocked:
            self._blocked = blocked
            self._sink.on_writable(self.run if blocked else None)
        reads = self.lane.room > 0 and not self._source_ended
        if reads is not self._reads:
            self._reads = reads
            self._source.on_readable(self._read if reads else None)

    def _read(self) -> None:
        try:
            data = self._source.sock.recv(self.lane.room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._source_ended = True
            self.lane.receive_end("reset", f"{error.strerror} on reading", self._loop.time())
        else:
            if data:
                self.lane.receive(data, self._loop.time())
            else:
                self._source_ended = True
                self.lane.receive_end("eof", "the stream ended", self._loop.time())
        self.run()
