"""A guardian as its parent speaks to it: line by line, with file descriptors beside."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import pytest

from orchestrator.runtime import open_files
from orchestrator.runtime.guardian_process import Guardian
from orchestrator.runtime.guardian_wire import (
    Ended,
    FromGuardian,
    Refused,
    Signal,
    Start,
    Started,
    line_of,
    packed,
    read_from_guardian,
)
from orchestrator.runtime.nursery import Nursery, Program
from tests.runtime.processes import ENVIRONMENT, gone, runs

VARIOUS: Final = "tests.runtime.children.various"
SAFETY: Final = 30.0


class Wire:
    """A guardian's process and the way to it, without anything that reads along."""

    def __init__(self, module: str, *words: str) -> None:
        self.end, theirs = socket.socketpair()
        self.end.settimeout(SAFETY)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *words],
                env=ENVIRONMENT,
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )
        self._rest = b""

    def start(self, number: int, **environ: str) -> socket.socket:
        """Ask for a child, and return the end of its control socket."""
        control, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open("w") as nowhere:
            request = Start(number, VARIOUS, "", True, packed({**ENVIRONMENT, **environ}), 3)
            data = line_of(request)
            sent = socket.send_fds(self.end, [data], [theirs.fileno(), nowhere.fileno(), nowhere.fileno()])
            self.end.sendall(data[sent:])
        return control

    def signal(self, number: int, sent: int) -> None:
        self.end.sendall(line_of(Signal(number, sent)))

    def next(self) -> FromGuardian:
        while b"\n" not in self._rest:
            data = self.end.recv(65_536)
            assert data, "the guardian has gone"
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        said: FromGuardian = read_from_guardian(line)
        return said


@contextmanager
def wired(module: str = "orchestrator.runtime.guardian", *words: str) -> Iterator[Wire]:
    wire = Wire(module, *words)
    try:
        yield wire
    finally:
        wire.end.close()
        _, errors = wire.process.communicate(timeout=SAFETY)
    assert (wire.process.returncode, errors) == (0, b"")


def test_each_child_is_told_from_its_start_to_its_end() -> None:
    with wired("orchestrator.runtime.guardian", str(open_files.given())) as wire:
        with wire.start(1, DO="end", HOW="return"), wire.start(2, DO="wait"):
            told = [wire.next() for _ in range(3)]
            assert {type(one) for one in told} == {Started, Ended}
            assert Ended(1, 7) in told
            wire.signal(2, signal.SIGTERM)
            wire.signal(1, signal.SIGKILL)  # it is gone, and nobody else has its number
            assert wire.next() == Ended(2, -signal.SIGTERM)


def test_a_signal_that_comes_as_soon_as_a_child_is_there_ends_it() -> None:
    """A guardian ignores what ends its children, and a child begins as its copy."""
    with wired("orchestrator.runtime.guardian", str(open_files.given())) as wire:
        for number in range(1, 31):
            with wire.start(number, DO="wait"):
                assert isinstance(wire.next(), Started)
                wire.signal(number, signal.SIGTERM)
                assert wire.next() == Ended(number, -signal.SIGTERM)


def test_a_parent_that_reads_slowly_misses_nothing() -> None:
    """All are asked for before anything is read: what the guardian has to say does not fit into a socket."""
    count = 600
    with wired("tests.runtime.children.refused") as wire:
        controls: list[socket.socket] = []

        def ask() -> None:
            for number in range(1, count + 1):
                controls.append(wire.start(number, DO="wait"))

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(timeout=1.0)  # by then it has long stopped, if it has to wait for a reader at all
        told = [wire.next() for _ in range(count)]
        asking.join()
        assert told == [Refused(number, errno.EAGAIN) for number in range(1, count + 1)]
        for control in controls:
            control.close()


def test_a_fork_that_the_system_refuses_is_told_and_the_next_request_is_read() -> None:
    with wired("tests.runtime.children.refused") as wire:
        for number in (1, 2):
            with wire.start(number, DO="wait"):
                assert wire.next() == Refused(number, errno.EAGAIN)


async def test_a_fork_that_the_system_refuses_is_an_os_error() -> None:
    with wired("tests.runtime.children.refused") as wire:
        wire.end.setblocking(False)
        nursery = Nursery(ENVIRONMENT, lambda _stream, _line: None, cast("Guardian", _Early(wire)))
        for _ in range(2):
            with pytest.raises(BlockingIOError) as raised:  # which is what Python calls EAGAIN
                await nursery.start(Program(VARIOUS, fork=True), lambda _stream, _line: None, ENVIRONMENT)
            assert raised.value.errno == errno.EAGAIN
        await nursery.close()


class _Early:
    """Looks like a guardian that was started before it was needed."""

    def __init__(self, wire: Wire) -> None:
        self.end, self.process = wire.end.dup(), wire.process


def test_no_signal_that_can_be_ignored_ends_it() -> None:
    with wired("orchestrator.runtime.guardian", str(open_files.given())) as wire:
        with wire.start(1, DO="wait"):
            assert isinstance(wire.next(), Started)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                wire.process.send_signal(number)
            with wire.start(2, DO="end", HOW="return"):
                assert [type(wire.next()), wire.next()] == [Started, Ended(2, 7)]


async def test_when_its_parent_is_gone_it_ends_all_and_then_itself() -> None:
    with wired("orchestrator.runtime.guardian", str(open_files.given())) as wire:
        control = wire.start(1, DO="wait")
        started = await asyncio.to_thread(wire.next)
        assert isinstance(started, Started) and runs(started.pid)
        wire.end.close()
        async with asyncio.timeout(5):
            await gone(started.pid)
        control.close()
