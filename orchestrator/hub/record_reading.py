"""Reading a recording, from its beginning or from a place that was noted, a block of whole lines at a time.

What a crash has torn is passed over and counted; it ends no reading.
"""

from __future__ import annotations

import zlib
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.hub.record_details import LONGEST
from orchestrator.hub.record_lines import FORMAT, Heading, Line, decode_heading, decode_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK: Final = 256 * 1024
_MEMBER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
"""How each compressed member of ours begins."""
_TAIL: Final = 4 * BLOCK


class NoRecording(OrchestratorError):
    """A file is no recording that can be read."""

    exit_code = ExitCode.FAILED


class Block(NamedTuple):
    lines: list[bytes]
    end: int | None
    """From where reading can go on behind it; `None` = not from there."""


class Recording:
    """One file. Raises `NoRecording`, here and wherever it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        """Lines that could not be read."""
        first = next(self.blocks(), Block([], None)).lines
        try:
            self.heading: Heading = decode_heading(first[0])
        except (IndexError, ValueError, RecursionError):
            raise NoRecording(
                f"{path} is no recording: it does not begin with what `orchestrator run --record` writes"
            ) from None
        if self.heading.format != FORMAT:
            raise NoRecording(
                f"{path} is a recording of format {self.heading.format}; this version of orchestrator reads {FORMAT}"
            )

    def lines(self, start: int = 0) -> Iterator[Line]:
        """Yield every line but the first, from a place on that was the end of a block."""
        for block in self.blocks(start):
            yield from self.read(block)

    def read(self, block: Block) -> Iterator[Line]:
        for text in block.lines:
            line = self.line(text)
            if line is not None:
                yield line

    def line(self, text: bytes) -> Line | None:
        """Return what a line says; `None` for the first, and for what cannot be read."""
        try:
            return decode_line(text)
        except ValueError:
            if text and not text.startswith(b'{"k":"recording"'):
                self.torn += 1
            return None

    def last(self) -> Line | None:
        """Return the last line that tells a time, without reading what comes before the end of the file."""
        with self._open() as file:
            size = file.seek(0, 2)
            start = max(0, size - _TAIL)
            file.seek(start)
            tail = file.read()
        if tail[:2] == _MEMBER[:2] or self._is_packed():
            at = tail.rfind(_MEMBER)
            while at >= 0:
                lines = _unpacked(tail[at:]).split(b"\n")
                if (found := self._last_of(lines)) is not None:
                    return found
                at = tail.rfind(_MEMBER, 0, at)
            found = None
            for line in self.lines():  # somebody else has packed it
                found = line if line.t else found
            return found
        return self._last_of(tail.split(b"\n"))

    def _last_of(self, lines: list[bytes]) -> Line | None:
        for text in reversed(lines):
            try:
                line = decode_line(text)
            except ValueError:
                continue
            if line.t:
                return line
        return None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        with self._open() as file:
            if self._is_packed():
                yield from _packed_blocks(file, start)
            else:
                yield from _plain_blocks(file, start)

    def _open(self) -> IO[bytes]:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise NoRecording(f"{self.path} cannot be read: {(error.strerror or str(error)).lower()}") from None

    def _is_packed(self) -> bool:
        with self._open() as file:
            return file.read(2) == _MEMBER[:2]


def _plain_blocks(file: IO[bytes], start: int) -> Iterator[Block]:
    file.seek(start)
    rest = b""
    while data := file.read(BLOCK):
        rest += data
        whole = rest.rfind(b"\n") + 1
        if whole:
            start += whole
            yield Block(rest[: whole - 1].split(b"\n"), start)
            rest = rest[whole:]
        elif len(rest) > LONGEST:
            raise NoRecording("this is no recording: one of its lines does not end")


def _packed_blocks(file: IO[bytes], start: int) -> Iterator[Block]:
    """Unpack member by member; from one that is torn, go on with the next."""
    at: int | None = start
    while at is not None:
        file.seek(at)
        unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
        rest, read = b"", 0
        try:
            while not unpacking.eof:
                data = unpacking.unconsumed_tail
                if not data:
                    data = file.read(BLOCK)
                    read += len(data)
                    if not data:
                        break
                rest += unpacking.decompress(data, 4 * BLOCK)  # a member of ours is less
                whole = rest.rfind(b"\n") + 1
                if whole and not unpacking.eof:
                    yield Block(rest[: whole - 1].split(b"\n"), None)
                    rest = rest[whole:]
                elif len(rest) > LONGEST:
                    raise NoRecording("this is no recording: one of its lines does not end")
        except zlib.error:
            pass
        if unpacking.eof:
            at += read - len(unpacking.unused_data)
            whole = rest.rfind(b"\n") + 1
            yield Block(rest[: max(0, whole - 1)].split(b"\n"), at)
            at = at if _has_more(file, at) else None
        else:
            at = _next_member(file, at + 1)


def _has_more(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    return bool(file.read(1))


def _next_member(file: IO[bytes], at: int) -> int | None:
    file.seek(at)
    kept = b""
    while data := file.read(BLOCK):
        kept += data
        found = kept.find(_MEMBER)
        if found >= 0:
            return at + found
        at += max(0, len(kept) - len(_MEMBER) + 1)
        kept = kept[-len(_MEMBER) + 1 :]
    return None


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, LONGEST)
    except zlib.error:
        return b""
