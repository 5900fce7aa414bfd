"""The main of a run's guardian: ``python -m orchestrator.runtime.guardian FD FILES [warm]``.

It starts, reaps and outlives every child. FD is its end of a socket pair to the run's parent, FILES how many files it and
its children may have open. Children are forked from here, where our modules are loaded already, or become programs of
their own. What a child leaves behind, in whatever session, becomes a child of this process; when the parent is gone,
however it went, everything is ended, and then this process ends. There is one thread in it and no event loop, so that
forking is safe; no signal but SIGKILL ends it.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from orchestrator.runtime import descendants, open_files
from orchestrator.runtime.control import ToChild, decoder_of
from orchestrator.runtime.guardian_wire import (
    CONTROL,
    LENT,
    STREAMS,
    Ended,
    FromGuardian,
    Refused,
    Signal,
    Start,
    Started,
    line_of,
    read_for_guardian,
    unpacked,
)
from orchestrator.runtime.imported import pass_over_loaded

PRELOADED: Final = (
    "orchestrator.runtime.host",
    "orchestrator.runtime.command_host",
    "orchestrator.store.remote",
    "encodings.idna",  # which every look-up of an address needs
)
"""What forked children share the memory of. Only modules of ours: a handler's are imported in its own process."""
ORPHAN_GRACE: Final = 0.6
"""Seconds that children have to end by themselves when the parent is gone; they have seen it too."""
_LOOK: Final = 0.02
"""Seconds between two looks at what is still there after the last kill, where no child's end wakes us."""
_MAX_DESCRIPTORS: Final = 64
_DEAF_TO: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of which a guardian takes no notice, unlike its children."""


@dataclass(frozen=True, slots=True)
class Birth:
    """This process is a child now, and is to become this."""

    start: Start
    pid: int


class Guardian:
    def __init__(self, parent: socket.socket, *, eager: bool = False) -> None:
        """`eager`: load what forked children need before the first is wanted."""
        self._parent, self._eager = parent, eager
        self._numbers: dict[int, int] = {}
        """Number of each child that is not reaped, by pid."""
        self._words: dict[int, bytes] = {}
        """What the environments of a child and of most that it starts have in common, by pid: where there are no marks."""
        self._unread = b""
        self._descriptors: list[int] = []
        self._wake, self._woken = os.pipe()
        self._warm = False

    def guard(self) -> Birth | None:
        """Do what the parent asks until it is gone, then end all that is left.

        Returns twice and more often: in the guardian at its end with `None`, in each child at its beginning.
        """
        descendants.adopt_orphans()
        for number in _DEAF_TO:
            signal.signal(number, signal.SIG_IGN)
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = dict(poll.poll(0 if self._eager and not self._warm else None))
            if not ready:
                self._warm_up()
            if self._wake in ready:
                self._reap()
            if self._parent.fileno() in ready:
                birth = self._take()
                if birth is not None:
                    return birth
                if self._parent.fileno() < 0:
                    self._end_all()
                    return None

    # -- what the parent asks

    def _take(self) -> Birth | None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._parent, 65_536, _MAX_DESCRIPTORS)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._parent.close()
            return None
        self._descriptors += descriptors
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            match message := read_for_guardian(line):
                case Signal(number=number, signal=sent):
                    self._signal(number, sent)
                case Start():
                    birth = self._start(message)
                    if birth is not None:
                        return birth
        return None

    def _signal(self, number: int, sent: int) -> None:
        for pid, other in self._numbers.items():
            if other == number:
                if sent == signal.SIGKILL:
                    descendants.send_to_group(pid, sent)
                descendants.send(pid, sent)  # it may not have its own group yet

    def _start(self, start: Start) -> Birth | None:
        taken = self._descriptors[: start.descriptors]
        del self._descriptors[: start.descriptors]
        if self._is_abandoned():  # what is still to be read was wished by nobody who lives
            self._close(taken)
            return None
        if start.fork and not self._warm:
            self._warm_up()
        guardian = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)  # what comes for the child before it heeds them waits
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF_TO)
            self._close(taken)
            self._say(Refused(start.number, error.errno or errno.EAGAIN))
            return None
        if pid == 0:
            descendants.die_with(guardian)
            os.setsid()
            descendants.mark(start.number)
            self._forget()
            _place(taken)
            return Birth(start, os.getpid())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF_TO)
        self._close(taken)
        self._numbers[pid] = start.number
        self._words[pid] = _word(start)
        self._say(Started(start.number, pid))
        return None

    def _is_abandoned(self) -> bool:
        """Tell whether the parent is gone; one that closes its end in peace is not."""
        poll = select.poll()
        poll.register(self._parent, 0)
        return bool(poll.poll(0))

    def _forget(self) -> None:
        """In a child: let go of what was the guardian's, before its descriptors get another meaning."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._parent.detach()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF_TO)

    def _close(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def _say(self, message: FromGuardian) -> None:
        if self._parent.fileno() >= 0:
            try:
                self._parent.sendall(line_of(message))
            except OSError:  # it is gone, which the next read finds as well
                return

    def _warm_up(self) -> None:
        self._warm = True
        for module in PRELOADED:
            import_module(module)
        pass_over_loaded()
        decoder_of(ToChild)
        # What is frozen is never looked at by a child's garbage collector, and so stays shared.
        gc.collect()
        gc.freeze()

    # -- who has ended

    def _reap(self) -> None:
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass
        while (pid := _ended()) is not None:
            number = self._numbers.pop(pid, None)
            if number is not None:
                # Before its pid, which names the group too, can be another's.
                descendants.send_to_group(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            # Also when one of those ends who are ended here: it may have left somebody in turn.
            self._end_orphans(self._words.pop(pid, b""))
            if number is not None:
                self._say(Ended(number, os.waitstatus_to_exitcode(status)))

    def _end_orphans(self, word: bytes) -> None:
        """End what children that are gone have left in other process groups; those of the living are left alone."""
        for pid in descendants.children_of(os.getpid()) - self._numbers.keys():
            if self._is_left(pid, word):
                descendants.kill_all(descendants.descendants_of(pid) | {pid})

    def _is_left(self, pid: int, word: bytes) -> bool:
        number = descendants.mark_of(pid)
        if number is None:
            return bool(word) and descendants.environment_holds(pid, word)
        return number not in self._numbers.values()

    def _end_all(self) -> None:
        """End everything: those who know of the parent's end by themselves, and then by force, until nobody is left."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        until = time.monotonic() + ORPHAN_GRACE
        while self._numbers and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._reap()
        for pid in self._numbers:
            descendants.send_to_group(pid, signal.SIGKILL)
        while _has_children():
            descendants.kill_all(descendants.descendants_of(os.getpid()) | set(self._numbers))
            poll.poll(_LOOK * 1000)
            self._reap()


def _word(start: Start) -> bytes:
    """Return the item of a child's environment that is its alone; empty where there is none."""
    return next((item for item in start.environment if item.startswith(b"ORCHESTRATOR_PEER_ID=")), b"")


def _ended() -> int | None:
    """Return the pid of a child that has ended and is not reaped yet."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _place(taken: list[int]) -> None:
    """Give descriptors the numbers under which a child looks for them, and close all others."""
    targets = [*STREAMS, *range(LENT, LENT + len(taken) - len(STREAMS))]
    # First out of the way of each other.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, max(targets) + 1) for descriptor in taken]
    for descriptor, target in zip(high, targets, strict=True):
        os.dup2(descriptor, target, inheritable=True)
    os.closerange(max(targets) + 1, _most_files())


def _most_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_048_576 if soft == resource.RLIM_INFINITY else soft


def live(birth: Birth) -> int:
    """Become the child: run its module's `main` and return what that returns, or never return."""
    start, environment = birth.start, unpacked(birth.start.environment)
    if not start.fork:
        # -P: nothing in the current directory shadows a module of ours or of the standard library.
        os.execve(sys.executable, [sys.executable, "-P", "-m", start.module, str(CONTROL)], environment)  # noqa: S606 - our own interpreter
    os.environb.clear()
    os.environb.update(environment)
    time.tzset()
    sys.argv[1:] = [str(CONTROL)]
    from orchestrator.runtime.title import entitle

    entitle(start.title)
    code: int = import_module(start.module).main()
    return code


def main() -> int:
    open_files.lower(int(sys.argv[2]))
    parent = socket.socket(fileno=int(sys.argv[1]))
    birth = Guardian(parent, eager="warm" in sys.argv[3:]).guard()
    return 0 if birth is None else live(birth)


if __name__ == "__main__":
    sys.exit(main())
