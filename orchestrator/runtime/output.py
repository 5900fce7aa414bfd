"""Where a run writes: its log, from a thread that may wait for a slow terminal, and the answers to `--ask`.

The log never holds up the run: what is written faster than the reader reads is dropped, per source, counted, and said.
What a terminal does not take is in the log files all the same, and among what was said last.
An answer is never dropped: whoever writes it waits. On a terminal that shows both, log lines wait for the end of
the answer's line.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeAlias

from orchestrator.runtime.backlog import Backlog
from orchestrator.runtime.console import Console, render_json
from orchestrator.runtime.records import LEVELS, RUN, Record, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.runtime.console import Rendering
    from orchestrator.runtime.log_files import LogFiles
    from orchestrator.runtime.recent import Recent

LINE_PATIENCE: Final = 1.0
"""Seconds that a log line waits for an answer to finish its line before it breaks it."""

LogFormat: TypeAlias = Literal["console", "json"]


def rendering(chosen: LogFormat | None, file: TextIO, environ: Mapping[str, str], names: Iterable[str]) -> Rendering:
    """Return how the log is written to `file`: as `chosen`, else for people on a terminal and for programs elsewhere.

    Colours: on a terminal, unless NO_COLOR is set to something or the terminal is dumb; elsewhere with FORCE_COLOR.
    """
    terminal = file.isatty()
    if chosen == "json" or (chosen is None and not terminal):
        return render_json
    wanted = bool(environ.get("FORCE_COLOR")) or (terminal and environ.get("TERM") != "dumb")
    return Console(names, colours=wanted and not environ.get("NO_COLOR"))


class Output:
    """The log and the answers of one run."""

    def __init__(
        self,
        render: Rendering,
        level: str,
        *,
        log: TextIO,
        answers: TextIO,
        files: LogFiles | None = None,
        recent: Recent | None = None,
    ) -> None:
        """`files` and `recent` are given each record as well; `files` are begun here, and closed with the rest."""
        self._render, self._threshold = render, LEVELS[level]
        self._log, self._answers = log, answers
        self._shared = log.isatty() and answers.isatty()
        self._files, self._recent = files, recent
        self._waiting = Backlog()
        self._writing = self._unheard = False
        self._changed = threading.Condition()
        self._closed = False
        self._spoke: float | None = None  # when the answer last grew, while it is in the middle of a line
        self.unread = False
        """The reader of the answers has left."""
        self._spoken: SimpleQueue[tuple[str, Future[None]]] = SimpleQueue()
        self._speaker: threading.Thread | None = None
        self._thread = threading.Thread(target=self._write_log, name="log", daemon=True)
        self._thread.start()
        if files is not None:
            files.start(self.say)

    # -- the log

    def put(self, source: Source, record: Record) -> None:
        """Have `record` written, without waiting for that."""
        with self._changed:
            if not self._unheard:
                self._waiting.add(source, record)
            if self._recent is not None:
                self._recent.put(source, record)
            self._changed.notify_all()
        if self._files is not None:
            self._files.put(source, record)

    def say(self, level: str, event: str, /, **fields: Any) -> None:
        """Have the run itself say something, if its level is one that is wanted."""
        self.tell(RUN, level, event, **fields)

    def tell(self, source: Source, level: str, event: str, /, **fields: Any) -> None:
        """Have something said about `source`, in its name."""
        if LEVELS[level] >= self._threshold:
            self.put(source, Record(time.time(), level, event, fields))

    def whisper(self, event: str) -> bool:
        """Have the run itself say something to a terminal and to nobody else: it is kept nowhere. Return whether there is one."""
        if not self._log.isatty():
            return False
        with self._changed:
            if not self._unheard:
                self._waiting.add(RUN, Record(time.time(), "info", event))
            self._changed.notify_all()
        return True

    def settle(self, patience: float) -> bool:
        """Wait until all is written that there is to write, for `patience` seconds at most; return whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._writing), patience)

    def close(self, patience: float = 2.0) -> None:
        """Write what waits, for `patience` seconds at most: a reader that has stopped reading holds up nobody."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(patience)
        if self._files is not None:
            self._files.close(patience)

    def _write_log(self) -> None:
        while (item := self._next()) is not None:
            try:
                source, record, broken = item
                self._log.write(("\n" if broken else "") + self._render(source, record) + "\n")
                self._log.flush()
            except (OSError, ValueError):  # nobody reads it any more, and there is nobody else to tell
                with self._changed:
                    self._waiting, self._writing, self._unheard = Backlog(), False, True
                    self._changed.notify_all()
                return

    def _next(self) -> tuple[Source, Record, bool] | None:
        """Wait for the next record whose time has come, and tell whether it breaks an answer's line.

        Returns `None` when there will be no more.
        """
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closed)
            broken = self._waited_in_vain()
            item = self._waiting.take(last=self._closed)
            self._writing = item is not None
            return None if item is None else (*item, broken)

    # -- the answers

    def answer(self, text: str) -> Future[None]:
        """Have a part of an answer written. The future is done when it was; it raises `OSError` for a reader who left.

        To be called again only then: the thread that writes waits for a slow reader, and nothing is queued here.
        """
        if self._speaker is None:
            self._speaker = threading.Thread(target=self._write_answers, name="answers", daemon=True)
            self._speaker.start()
        written: Future[None] = Future()
        self._spoken.put((text, written))
        return written

    def _write_answers(self) -> None:
        while True:
            text, written = self._spoken.get()
            if not written.set_running_or_notify_cancel():
                continue  # whoever wanted it written has given up
            try:
                self._answers.write(text)
                self._answers.flush()
            except (OSError, ValueError) as error:
                self.unread = True
                written.set_exception(error)
                continue
            if text:
                with self._changed:
                    self._spoke = time.monotonic() if self._shared and not text.endswith("\n") else None
                    self._changed.notify_all()
            written.set_result(None)

    def _waited_in_vain(self) -> bool:
        """Wait for the end of the answer's line, and return whether it is still in the middle of one."""
        while self._spoke is not None and not self._closed:
            left = self._spoke + LINE_PATIENCE - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        broken = self._spoke is not None
        self._spoke = None
        return broken


def abandon(file: TextIO) -> None:
    """Send what `file` still holds nowhere: its reader left, and the interpreter would complain about that at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)
