"""Tells apart who prints and logs in a process that several children share: by the context that each of them runs in."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog

from orchestrator.runtime.debugging import debugs
from orchestrator.runtime.logs import NOISY, configure_structlog
from orchestrator.runtime.process import Lines
from orchestrator.runtime.records import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.runtime.process import Hear, Stream

_VOICE: Final[ContextVar[Voice | None]] = ContextVar("voice", default=None)


def current() -> Voice | None:
    """Return who speaks; `None` in a process of one child, and in threads that were started without a context."""
    return _VOICE.get()


class Voice:
    """One of those who share a process. It may speak in any thread, and is heard in the event loop's."""

    def __init__(self, hear: Hear) -> None:
        """`hear` takes each line, as from the pipes of a process; it is called in the loop that runs now."""
        self._hear, self._loop, self._home = hear, asyncio.get_running_loop(), threading.get_ident()
        self._turn = threading.RLock()  # a signal's handler may print in the middle of a print
        self._lines: dict[Stream, Lines] = {"stdout": self._fresh("stdout"), "stderr": self._fresh("stderr")}

    def _fresh(self, stream: Stream) -> Lines:
        return Lines(stream, self._pass_on, self._loop.create_future())

    def speak(self) -> None:
        """Be who speaks in the current context, and in all that are copied from it."""
        _VOICE.set(self)

    def print(self, stream: Stream, data: bytes) -> None:
        """Say what is a whole line by now, and keep the rest for the next time."""
        with self._turn:
            self._lines[stream].data_received(data)

    def log(self, line: str) -> None:
        """Say a line of the log, whatever is in the middle of being printed."""
        with self._turn:
            whole = self._fresh("stderr")
            whole.data_received(line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Say what has no end of line."""
        with self._turn:
            for stream in self._lines:
                self._lines[stream].connection_lost(None)
                self._lines[stream] = self._fresh(stream)

    def _pass_on(self, stream: Stream, line: bytes) -> None:
        if threading.get_ident() == self._home:
            self._hear(stream, line)
        else:
            with suppress(RuntimeError):  # the loop has ended: nobody is left to tell
                self._loop.call_soon_threadsafe(self._hear, stream, line)


class _Printed:
    """Stands for `sys.stdout` or `sys.stderr`: what is written goes to who speaks, and all else to the real one."""

    def __init__(self, real: TextIO, stream: Stream, run: Voice) -> None:
        self._real, self._stream, self._run = real, stream, run
        self.buffer = _PrintedBytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if debugs(sys._getframe(1)):
            return self._real.write(text)
        self.say(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def say(self, data: bytes) -> None:
        (current() or self._run).print(self._stream, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _PrintedBytes:
    def __init__(self, printed: _Printed) -> None:
        self._printed = printed

    def write(self, data: bytes) -> int:
        self._printed.say(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here but lines that are not whole."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._printed._real.buffer, name)


class _Logged:
    """The file that log lines are written to."""

    def __init__(self, run: Voice) -> None:
        self._run = run

    def write(self, line: str) -> int:
        (current() or self._run).log(line)
        return len(line)

    def flush(self) -> None:
        """Nothing waits here."""


@contextmanager
def told_apart(run: Voice, level: str) -> Iterator[None]:
    """While entered, what is printed and logged goes to the voice in whose context it is; to `run` where there is none.

    Of what libraries log on behalf of `run`, as always in a parent, only warnings and errors are heard. `level` is one of
    `records.LEVELS`.
    """
    real, root = (sys.stdout, sys.stderr), logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in NOISY}
    configured = structlog.get_config() if structlog.is_configured() else None
    handler = configure_structlog({}, level, cast(TextIO, _Logged(run)))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or current() not in (None, run))
    root.handlers[:] = [handler]
    root.setLevel(min(LEVELS[level], logging.WARNING))
    for name in NOISY:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)
    sys.stdout = cast(TextIO, _Printed(real[0], "stdout", run))
    sys.stderr = cast(TextIO, _Printed(real[1], "stderr", run))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = real
        logging.captureWarnings(False)
        root.handlers[:], root.level = before[0], before[1]
        for name, kept in before[2].items():
            logging.getLogger(name).setLevel(kept)
        structlog.reset_defaults()
        if configured is not None:
            structlog.configure(**configured)
        run.close()
