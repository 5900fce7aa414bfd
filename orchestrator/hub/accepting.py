"""Sockets from the listening one to the door, also when there are more of them than the system lets us have.

asyncio's own servers are of no use then: one logs each time it fails, and the other closes whatever it is offered, or
even the socket that listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.hub import open_files
from orchestrator.hub.connect_gate import source_of
from orchestrator.hub.request_head import END, UPGRADE_STARTS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from orchestrator.hub.door import Door, Waiting

_BACKLOG: Final = 4096
_AT_ONCE: Final = 32
"""Sockets that are taken before those who are connected get their turn, when many come."""
_MANY: Final = 8
"""Sockets taken one by one after which it looks as if many come. To find out that there is no other one costs as much
as to take one, so it is not tried each time."""
_PAUSE: Final = 0.25
"""Seconds after which it is tried again when there was no room."""
_TOLD: Final = 20
"""Of those who are refused, as many a second get a TLS handshake to be told so."""
_PEEK: Final = 16_384
_SAY_AGAIN: Final = 60.0
_log: Final = logging.getLogger("orchestrator.hub")


class Accepting:
    """Takes sockets as long as there is room for them.

    When the process may have few more files open, those who wait at the door make room; when nobody does, connections
    wait in the system's queue until some of ours have ended.
    """

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        waiting: Waiting,
        answer_unread: Callable[[str], bytes | None],
        door: Callable[[str], Door],
    ) -> None:
        """Begin. Both functions are called with where a socket comes from; see `Door` for the first one."""
        self._listening = listening
        self._tls = tls
        self._waiting = waiting
        self._answer_unread = answer_unread
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        listening.setblocking(False)  # or taking one more than there is would hold up everybody
        self._most = open_files.most()
        self._taken = 0
        """Sockets since there was none left."""
        self._scarce = False
        """There was little room when we last looked."""
        with contextlib.suppress(OSError):  # it is one of this machine alone
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all that are taken from it
        self._second = self._told = 0
        self._again: asyncio.TimerHandle | None = None
        self._said = float("-inf")
        listening.listen(_BACKLOG)
        self._loop.add_reader(listening, self._take)

    async def close(self) -> None:
        """Stop listening, and let go of those who are on their way to the door. Again, it does nothing."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
        if self._again is not None:
            self._again.cancel()
        self._listening.close()
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _take(self) -> None:
        for _ in range(_AT_ONCE if self._taken >= _MANY else 1):
            if self._scarce and not open_files.is_room(self._listening.fileno()):
                self._make_room("as many files are open as the system allows: raise the limit (`ulimit -n`)")
                return
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                self._taken = 0
                return  # there is none, or none any more
            except OSError as error:
                self._make_room(error.strerror or str(error))
                return
            self._taken += 1
            self._scarce = connection.fileno() >= self._most
            source = source_of(address[0])
            answer = self._answer_unread(source)
            if answer is None:
                self._welcome(connection, source)
            elif self._tls is not None and not self._may_tell():
                connection.close()  # a handshake only to say no costs more than anything that it may ask for
            elif self._tls is not None or not _answered(connection, answer):
                self._welcome(connection, source)

    def _may_tell(self) -> bool:
        """Tell whether somebody may still be told within this second, in a TLS connection, that it is refused."""
        second = int(self._loop.time())
        if second != self._second:
            self._second, self._told = second, 0
        self._told += 1
        return self._told <= _TOLD

    def _welcome(self, connection: socket.socket, source: str) -> None:
        door = self._door(source)
        task = self._loop.create_task(self._lead(connection, door))
        door.expect(task)
        self._arriving.add(task)
        task.add_done_callback(partial(self._led, connection, door))

    async def _lead(self, connection: socket.socket, door: Door) -> None:
        with contextlib.suppress(OSError):  # gone, or no TLS: nobody is there to be told
            await self._loop.connect_accepted_socket(lambda: door, connection, ssl=self._tls)

    def _led(self, connection: socket.socket, door: Door, task: asyncio.Task[None]) -> None:
        """Let go of a socket that did not get there; one that was cancelled before it began has run nothing else."""
        self._arriving.discard(task)
        if not door.reached:
            door.leave()
            connection.close()

    def _make_room(self, why: str) -> None:
        self._scarce = True
        if self._loop.time() >= self._said + _SAY_AGAIN:
            self._said = self._loop.time()
            _log.warning("no more connections are taken for now: %s", why)
        if not self._waiting.shed():
            self._loop.remove_reader(self._listening)
            self._again = self._loop.call_later(_PAUSE, self._loop.add_reader, self._listening, self._take)


def _answered(connection: socket.socket, answer: bytes) -> bool:
    """Answer a request for a WebSocket that is all there already, and close; otherwise leave everything as it is.

    Those who are refused so have cost next to nothing.
    """
    try:
        request = connection.recv(_PEEK, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        if not request.startswith(UPGRADE_STARTS) or request.find(END) != len(request) - len(END):
            return False
        connection.recv(_PEEK, socket.MSG_DONTWAIT)  # what is unread would turn the end into a reset
        connection.send(answer, socket.MSG_DONTWAIT)
    except OSError:  # it has not come yet, or nobody is there any more
        return False
    connection.close()
    return True
