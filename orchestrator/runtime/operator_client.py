"""A command's end of a run's socket: blocking, for a command does nothing else meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.runtime import seats
from orchestrator.runtime.operator_wire import (
    MAX_ANSWER,
    VERSION,
    Hello,
    NotUnderstood,
    Refused,
    line_of,
    read_answer,
    read_hello,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.runtime.operator_wire import AnyAnswer, AnyRequest
    from orchestrator.runtime.run_seat import RunSeat

HELLO: Final = 5.0
"""Seconds that a run may take to say that it is there."""
LEAVING: Final = 15.0
"""Seconds that the process of a run may live after it has closed the connection of whoever stopped it."""
_AGAIN: Final = 0.05


class RunGone(OrchestratorError):
    """A run ended before it had answered."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(pid)

    def __str__(self) -> str:
        return f"the run, process {self.pid}, ended before it had answered"


class RunSilent(OrchestratorError):
    """A run is there, and says nothing."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(pid)

    def __str__(self) -> str:
        return (
            f"the run, process {self.pid}, does not answer: it may be stopped, or too busy; `kill {self.pid}` asks it to "
            "end in another way"
        )


class RunRefused(OrchestratorError):
    """A run did not do what it was asked for; the message is the run's own."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        known = code in ExitCode._value2member_map_  # a run may know codes that we do not
        self.exit_code = ExitCode(code) if known else ExitCode.FAILED  # type: ignore[misc]


@contextmanager
def asked(seat: RunSeat, request: AnyRequest) -> Iterator[Iterator[AnyAnswer]]:
    """Ask a run, and yield its answers as they come, until it closes the connection.

    Raises `RunSilent` and `RunGone`; while its answers are read, `RunRefused` and `NotUnderstood` as well.
    """
    with connected(seat) as connection:
        yield connection.ask(request)


def stop(seat: RunSeat, request: AnyRequest) -> bool:
    """Ask a run to end, and return whether its process has, once it has closed the connection.

    Raises `RunSilent` and `RunRefused`. One that ends before it was asked has ended, too.
    """
    try:
        with connected(seat) as connection, _Watch(connection.pid) as watch:
            for _ in connection.ask(request):
                continue
            return watch.ended(seat, LEAVING)
    except RunGone:
        return True


@contextmanager
def connected(seat: RunSeat) -> Iterator[Connection]:
    """Raises `RunSilent` and `RunGone`, and `NotUnderstood` for a run of another version."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.settimeout(HELLO)
        try:
            end.connect(seat.path)
        except (TimeoutError, BlockingIOError):
            raise RunSilent(seat.pid) from None
        except OSError:
            raise RunGone(seat.pid) from None
        yield Connection(seat, end)


class Connection:
    def __init__(self, seat: RunSeat, end: socket.socket) -> None:
        self._seat, self._end = seat, end
        self._lines = _Lines(end)
        with contextlib.suppress(OSError):  # one that refuses everybody may have left already, and said why
            end.sendall(line_of(Hello(VERSION)))
        try:
            line = self._lines.next()
        except TimeoutError:
            raise RunSilent(seat.pid) from None
        if not line:
            raise RunGone(seat.pid)
        answer = read_answer(line)
        if isinstance(answer, Refused):
            raise RunRefused(answer.sentence, answer.exit_code)
        self.pid = read_hello(line).pid

    def ask(self, request: AnyRequest) -> Iterator[AnyAnswer]:
        """Send the request at once, and yield the answers to it."""
        self._end.settimeout(None)
        with contextlib.suppress(OSError):  # what it has said before it left is still to be read
            self._end.sendall(line_of(request))
        return self._answers()

    def _answers(self) -> Iterator[AnyAnswer]:
        while line := self._lines.next():
            answer = read_answer(line)
            if isinstance(answer, Refused):
                raise RunRefused(answer.sentence, answer.exit_code)
            if isinstance(answer, Hello):
                raise NotUnderstood("the run has said hello twice")
            yield answer


class _Lines:
    """The lines that come by a socket; what a run left unfinished is none."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = bytearray()

    def next(self) -> bytes:
        """Return the next line, or nothing at the end. Raises `TimeoutError`, and `NotUnderstood` for too long a line."""
        searched = 0
        while (at := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > MAX_ANSWER:
                raise NotUnderstood(f"an answer of the run exceeds {MAX_ANSWER} bytes")
            try:
                more = self._end.recv(262_144)
            except ConnectionError:
                return b""
            if not more:
                return b""
            self._rest += more
        line = bytes(self._rest[: at + 1])
        del self._rest[: at + 1]
        return line


class _Watch:
    """Knows when a process has ended, if the system can tell; taken up while it is certain which process has the pid."""

    def __init__(self, pid: int) -> None:
        self._descriptor: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # it is in a part of the system that we do not see
                self._descriptor = os.pidfd_open(pid)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def ended(self, seat: RunSeat, seconds: float) -> bool:
        """Wait so long for the end of the process, or else for that of its seat."""
        if self._descriptor is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        end = time.monotonic() + seconds
        while gone := seats.answers(seat.path):
            if time.monotonic() > end:
                break
            time.sleep(_AGAIN)  # this system tells nobody of the end of a process that is no child
        return not gone
