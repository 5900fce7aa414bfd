"""`--log-dir`: a file of JSON lines for each source, whatever the console shows, rotated before it grows too large.

They are written by a thread of their own, so that a slow disk holds up nobody. What a disk that is full, or gone, does not
take is counted and said once; it is tried again with each record, and said when it works again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.backlog import Backlog
from orchestrator.runtime.console import render_json

if TYPE_CHECKING:
    from orchestrator.runtime.records import Record, Source

MAX_SIZE: Final = 10_485_760
"""Bytes of one file, after which the next one is begun."""
KEPT: Final = 5
"""Files of one source that are kept besides the one that is written: ``hub.log.1`` is the last before it."""
MAX_OPEN: Final = 64
"""Files that are open at once."""
STEADY: Final = 1.0
"""Seconds without a failure after which the files are written again: a disk that is nearly full takes a line now and then."""
_OF_ALL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What is wrong with the disk, and not with one file."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._@+-]|^\.")


class NoLogFolder(OrchestratorError):
    """There is no folder that log files can be written to."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder, self.reason = folder, reason
        super().__init__(folder, reason)

    def __str__(self) -> str:
        return f"no log can be written to {self.folder}: {self.reason}"


class Complaint(Protocol):
    def __call__(self, level: str, event: str, /, **fields: Any) -> None:
        """Say something on the console."""


class LogFiles:
    """The log files of one run; for any thread."""

    def __init__(self, folder: Path, *, max_size: int = MAX_SIZE, kept: int = KEPT) -> None:
        """Make the folder, if there is none, for this user alone. Raises `NoLogFolder`."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise NoLogFolder(folder, (error.strerror or str(error)).lower()) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise NoLogFolder(folder, "this user may not write there")
        self.folder = folder
        self._max_size, self._kept = max_size, kept
        self._open: OrderedDict[str, LogFile] = OrderedDict()
        self._waiting = Backlog()
        self._changed = threading.Condition()
        self._closed = False
        self._complain: Complaint | None = None
        self._failing: dict[str, int | None] = {}  # what is wrong with the files of which sources
        self._told = False
        self._last_failure = 0.0
        self._lost = 0
        self._thread: threading.Thread | None = None

    def start(self, complain: Complaint) -> None:
        """Begin to write; `complain` is told of a disk that takes nothing."""
        self._complain = complain
        self._thread = threading.Thread(target=self._write_all, name="log files", daemon=True)
        self._thread.start()

    def put(self, source: Source, record: Record) -> None:
        """Have a record written, without waiting for that."""
        with self._changed:
            self._waiting.add(source, record)
            self._changed.notify()

    def close(self, patience: float = 2.0) -> None:
        """Write what waits, for `patience` seconds at most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience)

    def _write_all(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._write(*item)
        finally:
            for file in self._open.values():
                file.close()

    def _next(self) -> tuple[Source, Record] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.take(last=self._closed)

    def _write(self, source: Source, record: Record) -> None:
        line = f"{render_json(source, record)}\n".encode("utf-8", "backslashreplace")
        try:
            self._file(source.name).write(line)
        except OSError as error:
            self._failed(source.name, error)
        else:
            self._worked(source.name)

    def _file(self, name: str) -> LogFile:
        file = self._open.get(name)
        if file is None:
            file = LogFile(self.folder / file_name(name), self._max_size, self._kept)
            self._open[name] = file
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(name)
        return file

    def _failed(self, name: str, error: OSError) -> None:
        self._failing[name] = error.errno
        self._lost += 1
        self._last_failure = time.monotonic()
        if self._told or self._complain is None:
            return
        self._told = True
        reason = (error.strerror or str(error)).lower()
        self._complain("error", f"the log file {self.folder / file_name(name)} cannot be written: {reason}")

    def _worked(self, name: str) -> None:
        if not self._told:
            return
        self._failing.pop(name, None)
        if time.monotonic() - self._last_failure < STEADY:
            return
        self._failing = {other: number for other, number in self._failing.items() if number not in _OF_ALL}
        if not self._failing and self._complain is not None:
            self._told = False
            lost, self._lost = self._lost, 0
            self._complain("warning", "the log files are written again; some lines are missing in them", count=lost)


class LogFile:
    """One file, and those before it. Other processes may write to it as well: it is found anew when one has rotated it."""

    def __init__(self, path: Path, max_size: int = MAX_SIZE, kept: int = KEPT) -> None:
        self._path, self._max_size, self._kept = path, max_size, kept
        self._descriptor: int | None = None

    def write(self, line: bytes) -> None:
        """Append a line, all of it or nothing. Raises `OSError`."""
        descriptor, size = self._opened()
        if size and size + len(line) > self._max_size:
            self._rotate()
            descriptor, size = self._opened()
        try:
            written = os.write(descriptor, line)
            while written < len(line):  # a disk that is full took a part, and then refuses the rest
                written += os.write(descriptor, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            self.close()
            raise

    def close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _opened(self) -> tuple[int, int]:
        """Return the descriptor of the file that has the name now, and the file's size."""
        if self._descriptor is not None:
            held = os.fstat(self._descriptor)
            try:
                if os.path.samestat(held, os.lstat(self._path)):
                    return self._descriptor, held.st_size
            except FileNotFoundError:
                pass
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags, 0o600)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise OSError(f"{self._path} is no file")
        return self._descriptor, found.st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).rename(self._numbered(number + 1))
        self._path.rename(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def file_name(source: str) -> str:
    """Return how the file of a source is called; what could mean something else in a path is spelled out."""
    plain = _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), source)
    return f"{plain}.log"
