"""One child process, as its parent sees it: what it finds, what it prints, and how it is seen to end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from orchestrator.runtime.control import ControlChannel, ToParent
from orchestrator.runtime.guardian_wire import LENT

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINE: Final = 65_536
"""Bytes of one printed line; what is longer arrives in pieces."""
LAST_OUTPUT: Final = 0.5
"""Seconds in which a process that has ended may still be heard: something that it started can hold its pipes open."""

Stream: TypeAlias = Literal["stdout", "stderr"]
Hear: TypeAlias = "Callable[[Stream, bytes], None]"
"""Takes each line that a process prints, without its newline; called in the event loop, and must not block."""


class ChildProcess:
    """A running process in a session of its own, with a control socket. Its standard input is empty.

    Both ends of its life are noticed without polling, and when it is gone, whatever it left in its process group is
    killed before its number can be used again.
    """

    def __init__(
        self,
        pid: int,
        control: ControlChannel[ToParent],
        ended: asyncio.Future[int],
        send: Callable[[int], None],
        hear: Hear,
    ) -> None:
        """`ended` is its exit code to come, negative for a signal; `send` sends it a signal, or none if it is gone."""
        self.pid: Final = pid
        self.control: Final = control
        self.lent: Final = LENT
        self.own_loop: Final = True
        self._ended, self._send, self._hear = ended, send, hear
        self._pipes: list[asyncio.ReadTransport] = []
        self._silent: list[asyncio.Future[None]] = []

    async def listen(self, stream: Stream, descriptor: int) -> None:
        """Hear what it prints there; takes over the descriptor."""
        loop = asyncio.get_running_loop()
        silent: asyncio.Future[None] = loop.create_future()
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await loop.connect_read_pipe(lambda: Lines(stream, self._hear, silent), pipe)
        self._pipes.append(transport)
        self._silent.append(silent)

    async def wait(self) -> int:
        """Return its exit code, negative for a signal, once it is gone and all of its output was heard.

        What it said on its control socket can still be read, until `close`.
        """
        code = await asyncio.shield(self._ended)
        if self._silent:
            await asyncio.wait(self._silent, timeout=LAST_OUTPUT)
        return code

    async def close(self) -> None:
        """Let go of its pipes and its control socket."""
        for pipe in self._pipes:
            pipe.close()
        await self.control.close()

    def kill(self) -> None:
        """End it and everything that it started. Does nothing to a process that is gone."""
        self._send(signal.SIGKILL)

    def abort(self) -> None:
        """Have it print where each of its threads stands, and end."""
        self._send(signal.SIGABRT)


class Lines(asyncio.Protocol):
    """Cuts what a pipe delivers into lines of bounded length."""

    def __init__(self, stream: Stream, hear: Hear, silent: asyncio.Future[None]) -> None:
        self._stream, self._hear, self._silent = stream, hear, silent
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        while len(self._rest) > MAX_LINE:
            piece, self._rest = self._rest[:MAX_LINE], self._rest[MAX_LINE:]
            self._hear(self._stream, piece)

    def _say(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE):
            self._hear(self._stream, line[start : start + MAX_LINE])

    def connection_lost(self, _error: Exception | None) -> None:
        if self._rest:
            self._say(self._rest)
            self._rest = b""
        if not self._silent.done():
            self._silent.set_result(None)
