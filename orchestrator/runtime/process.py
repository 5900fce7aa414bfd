"""One child process: how it is started, what it prints, and how it is seen to end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias

from orchestrator.runtime.control import ControlChannel, ToParent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

MAX_LINE: Final = 65_536
"""Bytes of one printed line; what is longer arrives in pieces."""
LAST_OUTPUT: Final = 0.5
"""Seconds in which a process that has ended may still be heard: something that it started can hold its pipes open."""

Stream: TypeAlias = Literal["stdout", "stderr"]
Hear: TypeAlias = "Callable[[Stream, bytes], None]"
"""Takes each line that a process prints, without its newline; called in the event loop, and must not block."""


ALLOWED: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)
"""What a child inherits that should inherit nothing: enough to find its interpreter, its modules and its language."""


def child_environment(
    inherited: Mapping[str, str], withheld: Collection[str], added: Mapping[str, str], *, inherit: bool = True
) -> dict[str, str]:
    """Return what a child finds in its environment: all that we found in ours, except our own settings and the
    variables in `withheld`, and what the topology adds. Without `inherit`, of ours only what is `ALLOWED`."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("ORCHESTRATOR_")
        and name not in withheld
        and (inherit or name in ALLOWED or name.startswith("LC_"))
    }
    return {**kept, **added}


class ChildProcess:
    """A running `python -m MODULE FD` in a session of its own, with a control socket at that file descriptor.

    Its standard input is empty. Both ends of its life are noticed without polling, and when it is gone,
    whatever it left in its process group is killed before its number can be used again.
    """

    def __init__(self, popen: subprocess.Popen[bytes], control: ControlChannel[ToParent], hear: Hear) -> None:
        self._popen, self._hear = popen, hear
        self.pid: Final = popen.pid
        self.control: Final = control
        self._pipes: list[asyncio.ReadTransport] = []
        self._silent: list[asyncio.Future[None]] = []

    @classmethod
    async def spawn(
        cls, module: str, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> ChildProcess:
        """Start `module`; it keeps `descriptors` open under the same numbers. Raises `OSError`."""
        popen, ours = _start(module, environment, descriptors)
        child = cls(popen, await ControlChannel.of_parent(ours), hear)
        await child._listen(popen.stdout, "stdout")
        await child._listen(popen.stderr, "stderr")
        return child

    async def _listen(self, pipe: IO[bytes] | None, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        silent: asyncio.Future[None] = loop.create_future()
        transport, _ = await loop.connect_read_pipe(lambda: _Lines(stream, self._hear, silent), pipe)
        self._pipes.append(transport)
        self._silent.append(silent)

    async def wait(self) -> int:
        """Return its exit code, negative for a signal, once it is gone and all of its output was heard.

        What it said on its control socket can still be read, until `close`.
        """
        await _gone(self._popen)
        _signal_group(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        await asyncio.wait(self._silent, timeout=LAST_OUTPUT)
        return code

    async def close(self) -> None:
        """Let go of its pipes and its control socket."""
        for pipe in self._pipes:
            pipe.close()
        await self.control.close()

    def kill(self) -> None:
        """End it and everything that it started. Does nothing to a process that is gone."""
        if self._popen.returncode is None:
            _signal_group(self.pid, signal.SIGKILL)


def _start(
    module: str, environment: Mapping[str, str], descriptors: Sequence[int]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Return the process and our end of its control socket."""
    ours, theirs = socket.socketpair()
    try:
        # -P: nothing in the current directory shadows a module of ours or of the standard library.
        popen = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            pass_fds=(theirs.fileno(), *descriptors),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return popen, ours


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # nobody left, or, on macOS, nobody but the dead
        return


async def _gone(popen: subprocess.Popen[bytes]) -> None:
    """Return when the process has exited. It is not reaped where the system can tell without that."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()

    def report() -> None:
        if not gone.done():
            gone.set_result(None)

    try:
        descriptor = os.pidfd_open(popen.pid)
    except (AttributeError, OSError):  # not Linux, or one without them
        threading.Thread(target=_wait_in_thread, args=(popen, loop, report), daemon=True).start()
        await gone
        return
    loop.add_reader(descriptor, report)
    try:
        await gone
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _wait_in_thread(
    popen: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, report: Callable[[], None]
) -> None:
    popen.wait()
    try:
        loop.call_soon_threadsafe(report)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
        return


class _Lines(asyncio.Protocol):
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
