"""`orchestrator run -d`: the run goes on by itself, and the command that began it ends when all is ready.

The run is a child of the command, and the leader of a session of its own, so that it outlives the terminal. It shows its
log there until it is ready; from then on its log is in files alone. Both sides are one process until `detached` forks, so it
is to be called before there is a thread or an event loop.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.runtime.output import Output

SETTLING: Final = 1.0
"""Seconds that the terminal has, once all is ready, to show what was said until then."""
_READY: Final = b"ready\n"
_ENDED: Final = b"ended"
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM)


def log_folder(topology: Path) -> Path:
    """Return where the log of a detached run goes if nothing else is said: `.orchestrator/logs` beside the topology.

    Raises `NoPlace`.
    """
    from orchestrator.runtime.run_seat import own_folder

    return own_folder(topology, os.environ) / "logs"


def detached(run: Callable[[Detached], int], topology: Path, logs: Path) -> int:
    """Have `run` go on in a process of its own, and return the exit code of the command: 0 once the run is ready, or the
    run's own if it ends before that.

    `run` is given what it has to tell of its readiness; its errors are said as those of any verb. `logs` = the folder of its
    log files. To be called before there is a thread or an event loop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    heard, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        return _wait(pid, heard, topology, logs)
    os.close(heard)
    code: int = ExitCode.FAILED
    try:
        os.setsid()
        _to_nowhere(0)
        code = Detached(told, logs).see_through(run)
    finally:
        os._exit(code)  # nothing of what the command would still do is for this process


class Detached:
    """What a run has to tell the command that began it."""

    def __init__(self, told: int, logs: Path) -> None:
        self._told, self._logs = told, logs
        self._said = False
        self._leaving: threading.Thread | None = None

    def ready(self, output: Output) -> None:
        """All is ready, or as good as it will get: let go of the terminal, once it shows what was said until now.

        It does not wait for that. After the first time it does nothing.
        """
        if self._leaving is None and not self._said:
            self._leaving = threading.Thread(target=self._leave, args=(output,), name="leaving", daemon=True)
            self._leaving.start()

    def failed(self, code: int) -> None:
        """The run ends with this code; of interest before it was ready. Called by `see_through`, and needed nowhere else."""
        if self._leaving is not None:
            self._leaving.join(2 * SETTLING)
        self._say(_ENDED + b" %d\n" % code)

    def see_through(self, run: Callable[[Detached], int]) -> int:
        """Return the exit code of `run`, once it has ended; what it raises is said, and kept in the log of the run."""
        from orchestrator.cli.main import reported

        code: int = ExitCode.FAILED
        try:
            code = reported(lambda: run(self))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else ExitCode.FAILED
        except BaseException as error:  # noqa: BLE001 - there is nobody above who could say it
            traceback.print_exc()
            self._keep(error)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        self.failed(code)
        return code

    def _leave(self, output: Output) -> None:
        if output.settle(SETTLING):  # else somebody waits for the terminal, and holds what a flush would wait for
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        self._say(_READY)

    def _say(self, line: bytes) -> None:
        if self._said:
            return
        self._said = True
        if line == _READY:
            _to_nowhere(1, 2)
        with contextlib.suppress(OSError):  # the command has been killed; the run goes on
            os.write(self._told, line)
        os.close(self._told)

    def _keep(self, error: BaseException) -> None:
        from orchestrator.runtime.console import render_json
        from orchestrator.runtime.log_files import LogFile, file_name
        from orchestrator.runtime.records import RUN, Record

        told = "".join(traceback.format_exception(error))
        record = Record(time.time(), "critical", f"the run broke: {type(error).__name__}", exception=told)
        with contextlib.suppress(OSError):
            LogFile(self._logs / file_name(RUN.name)).write(f"{render_json(RUN, record)}\n".encode(errors="replace"))


def _to_nowhere(*numbers: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nowhere, number)
    if nowhere not in numbers:
        os.close(nowhere)


def _wait(pid: int, heard: int, topology: Path, logs: Path) -> int:
    """Wait until the run is ready, or has ended; ctrl-c ends it."""
    with _passed_on(pid):
        said = _said(pid, heard)
        if said == _READY:
            file = shlex.quote(str(topology))
            print(f"{topology} runs: process {pid}; its log goes to {logs}")
            for verb, why in (("ps", "shows it"), ("logs", "shows what it says"), ("stop", "ends it")):
                print(f"  orchestrator {verb} {file}".ljust(len(file) + 21), why)
            return ExitCode.DONE
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _said(pid: int, heard: int) -> bytes:
    """Return the line that a run has said, or nothing where it ended without one."""
    poll = select.poll()
    poll.register(heard, select.POLLIN)
    ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    if ended is not None:  # a process that it started may have the other end of the pipe, too
        poll.register(ended, select.POLLIN)
    try:
        found = {number for number, _ in poll.poll()}
        return os.read(heard, 64) if heard in found else b""
    finally:
        os.close(heard)
        if ended is not None:
            os.close(ended)


@contextlib.contextmanager
def _passed_on(pid: int) -> Iterator[None]:
    """While entered, signals that would end this process are the run's instead."""

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
