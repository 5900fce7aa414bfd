"""The file of a recording, written by a thread of its own: a hub hands over what it tells, and never waits.

Every write ends with a whole line, and in a compressed file with a whole member, so that what a crash leaves is readable up
to the last of them. A hub that is started again goes on in the same file.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import time
import zlib
from collections import deque
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.hub.record_lines import FORMAT, Heading, Line, Spelling, encode_line

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.hub.recording import Event

ROOM: Final = 64 * 1024 * 1024
"""Bytes of frames that may wait to be written."""
MOST: Final = 200_000
"""What may wait beside that, in number."""
GATHERED: Final = 0.05
"""Seconds for which what is told is gathered before it is written."""
_BLOCK: Final = 256 * 1024
"""Bytes that are written, or compressed, at once."""
_SLICE: Final = 32
"""Events after which the thread lets go of the interpreter, which it would otherwise keep from the hub for 5 ms at a time."""
_LET_GO: Final = 0.00005
"""Seconds."""
_CLOSING: Final = 10.0
"""Seconds that the rest may take to be written in the end."""
_log: Final = logging.getLogger("orchestrator.hub")


class CannotRecord(OrchestratorError):
    """A recording cannot be begun."""

    exit_code = ExitCode.USAGE


def create(path: Path, outline: bytes | None = None) -> None:
    """Begin a recording: make the file, for its owner alone; `outline` is the JSON of what is recorded.

    Raises `CannotRecord` where there is such a file already, and where none can be made.
    """
    versions = {"orchestrator": version("topology-orchestrator"), "python": ".".join(map(str, sys.version_info[:3]))}
    heading = Heading(FORMAT, time.time(), versions, Raw(outline or b"null"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        raise CannotRecord(
            f"{path} is there already, and a recording replaces nothing: name another file, or remove it first"
        ) from None
    except OSError as error:
        raise CannotRecord(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(_packed(encode_line(heading) + b"\n", path))


class Recorder:
    """Appends to a file that was created. `tell` is for one thread; it returns at once, whatever becomes of the file."""

    def __init__(self, path: Path, *, room: int = ROOM, most: int = MOST) -> None:
        """Raises `CannotRecord`."""
        self.path = path
        self.broken = False
        """Nothing more is written: the file could not be."""
        self.missing = 0
        """What was told and is not in the file."""
        self._room, self._most = room, most
        self._waiting: deque[Event] = deque()
        self._given = self._taken = 0
        """Bytes; each belongs to one side alone."""
        self._gap = 0
        """What is missing since there was room last."""
        self._gap_began = 0.0
        self._last: object = None
        self._awake = False
        self._closing = False
        self._wake = threading.Event()
        self._spelling = Spelling()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise CannotRecord(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        detail = event[3]
        if self.broken:
            return
        if len(self._waiting) >= self._most or self._given - self._taken > self._room:
            self._miss(event)
            return
        if self._gap:
            self._end_gap(event[1])
        if type(detail) is bytes and detail is not self._last:  # what goes to many is there once
            self._given += len(detail)
            self._last = detail
        self._waiting.append(event)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self) -> None:
        """Write what is left, within 10 s, and close the file."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSING)
        if self._gap:
            self.missing += self._gap
        if self.missing:
            _log.error("%s: %d events of the hub are missing from the recording", self.path, self.missing)

    def _miss(self, event: Event) -> None:
        if not self._gap:
            self._gap_began = event[1]
            _log.error("%s: the recording cannot be written as fast as the hub works: frames are missing", self.path)
        self._gap += 1

    def _end_gap(self, now: float) -> None:
        self.missing += self._gap
        _log.error("%s: %d events are missing from the recording", self.path, self._gap)
        self._waiting.append(("gap", now, 0, {"missing": self._gap, "since": self._gap_began}))
        self._gap = 0

    # -- the thread

    def _run(self) -> None:
        try:
            self._mend()
            while not self._closing:
                self._wake.wait()
                if not self._closing:
                    time.sleep(GATHERED)  # many at once cost less
                self._wake.clear()
                self._awake = False
                self._write_all()
            self._write_all()
            self._write([encode_line(Line("closed-file", 0.0))])
        except OSError as error:
            self.broken = True
            self.missing += len(self._waiting)
            self._waiting.clear()
            _log.error(
                "%s: the recording ends here, and the hub goes on without it: %s",
                self.path,
                (error.strerror or str(error)).lower(),
            )
        except Exception:  # noqa: BLE001  # a fault of ours ends the recording, loudly, and not the hub
            self.broken = True
            _log.exception("%s: the recording ends here, and the hub goes on without it", self.path)
        finally:
            os.close(self._file)

    def _mend(self) -> None:
        """Have what follows begin on a line of its own, whatever an earlier hub left."""
        size = os.fstat(self._file).st_size
        if not _is_packed(self.path) and size and os.pread(self._file, 1, size - 1) != b"\n":
            self._put(b"\n")

    def _write_all(self) -> None:
        waiting, lines, size = self._waiting, [], 0
        last: object = None
        turn = 0
        while waiting:
            event = waiting.popleft()
            detail = event[3]
            for line in self._spelling.lines(event):
                text = encode_line(line)
                lines.append(text)
                size += len(text)
            turn += 1
            if turn % _SLICE == 0 and not self._closing:
                time.sleep(_LET_GO)
            if size >= _BLOCK:
                self._write(lines)
                lines, size = [], 0
            if type(detail) is bytes and detail is not last:
                self._taken += len(detail)
                last = detail
        self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        if lines:
            self._put(_packed(b"\n".join((*lines, b"")), self.path))

    def _put(self, data: bytes) -> None:
        """Write all of it, or nothing."""
        whole = os.fstat(self._file).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, whole)
            raise


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"


def _packed(data: bytes, path: Path) -> bytes:
    """Return what stands in the file for some lines: in a compressed one a member of their own."""
    if not _is_packed(path):
        return data
    packing = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()
