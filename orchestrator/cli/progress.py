"""One line at the bottom of a terminal that says what is waited for, and is gone when that is over.

Nothing is ever drawn elsewhere than on a terminal that can erase a line. What others write to the same terminal goes through
`StatusLine.above`, or `StatusLine.beside`, so that neither tears the other.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PATIENCE: Final = 0.4
"""Seconds of waiting before anything is drawn: what is over sooner needs no word."""
INTERVAL: Final = 0.1
"""Seconds between two drawings at least."""
_TICK: Final = 0.5
_ERASE: Final = "\r\x1b[K"


def wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether a line may be drawn there: on a terminal that can erase one, for people who take more than plain text."""
    return stream.isatty() and environ.get("TERM", "dumb") != "dumb" and not environ.get("NO_COLOR")


class StatusLine:
    """For any thread. `columns` = how wide the terminal is now; `drawn` = whether anything ever is."""

    def __init__(
        self,
        stream: TextIO,
        *,
        drawn: bool,
        columns: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._drawn, self._columns, self._clock = stream, drawn, columns, clock
        self._turn = threading.RLock()
        self._began = clock()
        self._last = self._began + PATIENCE - INTERVAL
        """When it was drawn last; before the first time, so that it is not before `PATIENCE` is over."""
        self._text = self._there = ""
        self._over = threading.Event()

    def keep_time(self) -> None:
        """Have the seconds in it go on by themselves until it is closed."""
        if self._drawn:
            threading.Thread(target=self._tick, name="status", daemon=True).start()

    def _tick(self) -> None:
        while not self._over.wait(_TICK):
            self.tick()

    def show(self, text: str) -> None:
        """Have the line say something else; an empty text = nothing."""
        with self._turn:
            self._text = text
            if self._clock() - self._last >= INTERVAL:
                self._draw()

    def tick(self) -> None:
        """Draw it again, for it says how long it has been there."""
        self.show(self._text)

    @contextmanager
    def above(self) -> Iterator[None]:
        """While entered, the line is not there: whole lines may be written to the terminal."""
        with self._turn:
            self._erase()
            yield
            if self._clock() - self._began >= PATIENCE:
                self._draw()

    def close(self) -> None:
        """Erase it for good."""
        with self._turn:
            self._erase()
            self._drawn = False
            self._over.set()

    def beside(self) -> TextIO:
        """Return the stream as others are to write to it while the line is there: whole lines at a time."""
        return cast("TextIO", _Beside(self, self._stream)) if self._drawn else self._stream

    def _draw(self) -> None:
        if not self._drawn:
            return
        seconds = int(self._clock() - self._began)
        text = f"{self._text} … {seconds} s" if self._text and seconds else self._text
        self._last = self._clock()
        self._write(_ERASE + cut(text, self._columns() - 1))
        self._there = text

    def _erase(self) -> None:
        if self._there and self._drawn:
            self._write(_ERASE)
            self._there = ""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: nobody is left to tell
            self._drawn = False


def cut(text: str, columns: int) -> str:
    """Return as much of a text as so many columns show, without what a terminal would obey."""
    from orchestrator.cli.tasks_text import columns as columns_of
    from orchestrator.cli.tasks_text import plain

    text = plain(text)
    if columns_of(text) <= columns:
        return text
    while text and columns_of(text) >= columns:
        text = text[:-1]
    return f"{text}…" if columns > 0 else ""


class _Beside(io.TextIOBase):
    """A terminal on which the line stands below whatever is written."""

    def __init__(self, line: StatusLine, stream: TextIO) -> None:
        self._line, self._terminal = line, stream

    def write(self, text: str) -> int:
        with self._line.above():
            written = self._terminal.write(text)
            self._terminal.flush()
            return written

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()


def status_line(*, plain: bool = False) -> StatusLine:
    """Return the line of standard error; `plain` = none is to be drawn, as where programs read what is printed."""
    return StatusLine(sys.stderr, drawn=not plain and wanted(sys.stderr, os.environ), columns=_columns)


def _columns() -> int:
    return shutil.get_terminal_size().columns


@contextmanager
def waiting(text: str, *, plain: bool = False) -> Iterator[StatusLine]:
    """While entered, standard error has a line that says what is waited for, and for how long."""
    line = status_line(plain=plain)
    line.show(text)
    line.keep_time()
    try:
        yield line
    finally:
        line.close()
