"""Where the processes of a run come from: its guardian, seen from the parent, which asks for children and loses none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from orchestrator.runtime import descendants
from orchestrator.runtime.control import ControlChannel
from orchestrator.runtime.guardian_process import Guardian
from orchestrator.runtime.guardian_wire import (
    Ended,
    FromGuardian,
    Refused,
    Signal,
    Start,
    Started,
    ToGuardian,
    line_of,
    packed,
    read_from_guardian,
)
from orchestrator.runtime.process import LAST_OUTPUT, ChildProcess, Lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.runtime.process import Hear, Stream

DEAF: Final = 2.0
"""Seconds within which a child that is to be killed is gone, if its guardian is well."""
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Program:
    """What a child is: the module whose `main` it runs, with its control socket's descriptor as the only argument."""

    module: str
    fork: bool = False
    """Fork it from a process in which our modules are loaded already, instead of a fresh interpreter."""
    title: str = ""
    process: bool = False
    """It is a process of its own wherever it is started."""
    patience: float | None = None
    """Seconds that it may block an event loop which it shares with others; `None` = without limit."""


class Nursery:
    """Starts the children of one run. If the guardian is killed, all children are, and the next child gets another one."""

    def __init__(self, environ: Mapping[str, str], hear: Hear, early: Guardian | None = None) -> None:
        """`environ`: of which the guardian, and so what the system shows of forked children, gets the harmless part.

        `hear` takes what the guardian prints, which is nothing as long as it is well. `early`: one that runs already.
        """
        self._environ, self._hear, self._early = environ, hear, early
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    async def start(
        self, program: Program, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> ChildProcess:
        """Start a child, whose standard input is empty. It finds `descriptors` under 4, 5 and so on. Raises `OSError`."""
        async with self._opening:
            if self._link is None or self._link.lost:
                if self._link is not None:
                    await self._link.close()
                guardian, self._early = self._early, None
                if guardian is None:
                    guardian = await asyncio.to_thread(Guardian, self._environ)
                self._link = _Link(guardian)
                await self._link.listen(self._hear)
            link = self._link
        return await link.start(program, hear, environment, descriptors)

    async def close(self) -> None:
        """Have everything ended that is left, and return when it is."""
        if self._link is not None:
            await self._link.close()


class _Link:
    """One guardian, from its start to its end."""

    def __init__(self, guardian: Guardian) -> None:
        descendants.adopt_orphans()  # of a guardian that is killed
        self._guardian, self._socket = guardian, guardian.end
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._count = 0
        self._born: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._pids: dict[int, int] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._pipe: asyncio.ReadTransport | None = None
        self._silent: asyncio.Future[None] = self._loop.create_future()
        self.lost = False
        self._reading = asyncio.create_task(self._read(), name="guardian")

    async def listen(self, hear: Hear) -> None:
        """Hear what it prints."""
        printed = self._guardian.process.stderr
        self._pipe, _ = await self._loop.connect_read_pipe(lambda: Lines("stderr", hear, self._silent), printed)

    async def start(
        self, program: Program, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int]
    ) -> ChildProcess:
        with ExitStack() as theirs, ExitStack() as ours:
            control, end = socket.socketpair()
            ours.callback(control.close)
            theirs.enter_context(end)
            pipes = []
            for _ in STREAMS:
                reading, writing = os.pipe()
                ours.callback(os.close, reading)
                theirs.callback(os.close, writing)
                pipes.append((reading, writing))
            self._count += 1
            number = self._count
            born, ended = self._loop.create_future(), self._loop.create_future()
            lent = [end.fileno(), *(writing for _, writing in pipes), *descriptors]
            request = Start(number, program.module, program.title, program.fork, packed(environment), len(lent))
            self._born[number], self._ended[number] = born, ended
            try:
                await self._send(request, lent)
                theirs.close()
                pid = await born
            except BaseException:
                self._born.pop(number, None)
                self._ended.pop(number, None)
                raise
            ours.pop_all()
        child = ChildProcess(
            pid, await ControlChannel.of_parent(control), ended, lambda sent: self._signal(number, sent), hear
        )
        for stream, (reading, _) in zip(STREAMS, pipes, strict=True):
            await child.listen(stream, reading)
        return child

    def _signal(self, number: int, sent: int) -> None:
        if number in self._pids and not self.lost:
            if sent == signal.SIGKILL:
                self._loop.call_later(DEAF, self._insist, number)
            task = self._loop.create_task(self._send(Signal(number, sent), []))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)

    def _insist(self, number: int) -> None:
        """A child that was to be killed is still there: perhaps its guardian was stopped, and is to go on."""
        if number in self._pids and not self.lost:
            self._guardian.process.send_signal(signal.SIGCONT)

    async def _send(self, message: ToGuardian, descriptors: list[int]) -> None:
        """Raises `OSError` when the guardian is gone."""
        data = memoryview(line_of(message))
        async with self._turn:
            while descriptors:
                try:
                    sent = socket.send_fds(self._socket, [data], descriptors)
                except BlockingIOError:
                    await self._writable()
                    continue
                data, descriptors = data[sent:], []
            await self._loop.sock_sendall(self._socket, data)

    async def _writable(self) -> None:
        writable: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._socket, _settle, writable, None)
        try:
            await writable
        finally:
            self._loop.remove_writer(self._socket)

    async def _read(self) -> None:
        unread = b""
        try:
            while data := await self._loop.sock_recv(self._socket, 65_536):
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    self._take(read_from_guardian(line))
        except ConnectionError:
            pass
        finally:
            self._lose()

    def _take(self, said: FromGuardian) -> None:
        match said:
            case Started(number=number, pid=pid):
                self._pids[number] = pid
                _settle(self._born.pop(number, None), pid)
            case Refused(number=number, errno=code):
                self._ended.pop(number, None)
                born = self._born.pop(number, None)
                if born is not None and not born.done():
                    born.set_exception(OSError(code, os.strerror(code)))
            case Ended(number=number, returncode=code):
                self._pids.pop(number, None)
                _settle(self._ended.pop(number, None), code)

    def _lose(self) -> None:
        """Nobody watches the children any more: end them, and all that they have started."""
        self.lost = True
        for born in self._born.values():
            if not born.done():
                born.set_exception(OSError("the guardian of the run's processes was killed"))
        for pid in self._pids.values():
            descendants.send_to_group(pid, signal.SIGKILL)
            descendants.send(pid, signal.SIGKILL)
        descendants.kill_all(self._left())
        for ended in self._ended.values():
            _settle(ended, -signal.SIGKILL)
        self._born.clear()
        self._ended.clear()

    async def close(self) -> None:
        """Have the guardian end what is left, and wait until it has gone."""
        if not self.lost:
            self._socket.shutdown(socket.SHUT_WR)
        await asyncio.to_thread(self._guardian.process.wait)
        await self._reading
        await asyncio.gather(*self._sends, return_exceptions=True)
        self._socket.close()
        if self._pipe is not None:
            await asyncio.wait([self._silent], timeout=LAST_OUTPUT)
            self._pipe.close()
        await asyncio.to_thread(self._bury)

    def _left(self) -> set[int]:
        """Return those of our own children who were the guardian's, or come from them: they are ours since it was killed."""
        own, marks = set(self._pids.values()), range(1, self._count + 1)
        return {pid for pid in descendants.children_of(os.getpid()) if pid in own or descendants.mark_of(pid) in marks}

    def _bury(self) -> None:
        """End and reap them, until there are no more: each may leave us others."""
        while left := self._left():
            for pid in left:
                descendants.kill_all(descendants.descendants_of(pid) | {pid})
            for pid in left:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    continue


def _settle(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
