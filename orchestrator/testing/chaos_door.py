"""A listening port that can refuse and come back as the same one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 512


class ChaosDoor:
    """Binds a free port of the loopback interface, and listens on it from time to time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_client: Callable[[socket.socket], None],
        on_failure: Callable[[OSError], None],
    ) -> None:
        """`on_failure` is told why nobody can be accepted any more; the door does not listen then."""
        self._loop, self._on_client, self._on_failure = loop, on_client, on_failure
        self._placeholder = _bound(0)
        self.port: int = self._placeholder.getsockname()[1]
        self._listening: socket.socket | None = None

    def listen(self, on: bool) -> None:
        """Start or stop listening. Whoever connects meanwhile is refused: the port is bound, and nobody listens."""
        if on and self._listening is None:
            self._listening = _bound(self.port)
            self._listening.listen(_BACKLOG)
            self._loop.add_reader(self._listening, self._accept)
        elif not on and self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def close(self) -> None:
        self.listen(False)
        self._placeholder.close()

    def _accept(self) -> None:
        while self._listening is not None:
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors: another try would only turn in circles
                self.listen(False)
                self._on_failure(error)
                return
            self._on_client(client)


def _bound(port: int) -> socket.socket:
    """Return a socket that does not listen yet. Several of them may be bound to one port."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
