"""What a child does about its parent: it ends with it, and it takes along whatever it started itself."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ORPHAN_GRACE: Final = 0.7
"""Seconds that a child whose parent is gone has to end by itself: nobody waits for its last words any more."""

STUCK_GRACE: Final = 1.0
"""Seconds that a process which has ended its work has for what the interpreter and libraries do at exit."""


def watch_parent(control: socket.socket, orphaned: Callable[[], None], grace: float = ORPHAN_GRACE) -> threading.Thread:
    """Watch `control` for the end of the parent, in a thread, so that a blocked event loop cannot prevent it.

    When the other end is closed, `orphaned` is called in that thread (from where a loop is reached by
    `call_soon_threadsafe`); `grace` seconds later this process and its whole process group are killed, if they still
    are. The parent must close its end only after it has seen this process exit.
    """
    watched = os.dup(control.fileno())

    def watch() -> None:
        poll = select.poll()
        poll.register(watched, 0)  # the other end's closing is always reported; nothing is read here
        while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
            pass
        try:
            orphaned()
        finally:  # whatever became of the wish to end in peace
            time.sleep(grace)
            kill_own_group()

    thread = threading.Thread(target=watch, name="parent-watch", daemon=True)
    thread.start()
    return thread


def kill_own_group() -> None:
    """Kill this process and all that it started, where it leads a process group of its own; else only itself."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(128 + signal.SIGKILL)


def exit_anyway(code: int, seconds: float = STUCK_GRACE) -> None:
    """End this process with `code` in `seconds` at the latest, from now on.

    To be called when everything that matters is done: what is left then is a thread in a handler that does not return,
    which the interpreter would wait for without end.
    """
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
