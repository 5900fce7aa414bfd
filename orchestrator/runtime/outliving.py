"""A process that stands in front of another one: it outlives it, and ends all that it has left."""

from __future__ import annotations

import os
import select
import signal
from typing import Final, NoReturn

from orchestrator.runtime import descendants

_LOOK: Final = 0.01
"""Seconds between two looks at who is still there after a kill, where nobody's end wakes us."""


def stand_in_front(parent: int) -> None:
    """Divide this process: what returns is a child, which goes on in peace; the process itself ends as the child does.

    Before it does, everything that comes from the child is ended, whatever its session. When the other end of the socket
    `parent` is closed, the child is killed. To be called while there is one thread.
    """
    descendants.adopt_orphans()
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    child = os.fork()
    if child:
        _outlive(child, parent, wake)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)
    os.close(wake)
    os.close(woken)


def _outlive(child: int, parent: int, wake: int) -> NoReturn:
    poll = select.poll()
    poll.register(parent, 0)  # only that it is closed; nothing is read here
    poll.register(wake, select.POLLIN)
    while (status := _reaped(child)) is None:
        if any(number == parent for number, _ in poll.poll()):
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            break
        _drain(wake)
    poll.unregister(parent)
    while left := descendants.children_of(os.getpid()):
        descendants.kill_all(descendants.descendants_of(os.getpid()))
        for pid in left:
            _reaped(pid)
        poll.poll(_LOOK * 1000)
        _drain(wake)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _reaped(pid: int) -> int | None:
    """Return the status of a child that has ended."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if found else None


def _drain(wake: int) -> None:
    try:
        while os.read(wake, 4096):
            pass
    except BlockingIOError:
        return
