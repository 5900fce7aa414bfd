"""What opens something, found by its shape in whatever the suite prints, logs, raises or leaves in files.

No sentence that comes from here repeats what it is about.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY: Final = "Zq7canaryW3e9rT5yU1iO0pA"
"""A value without a shape, for tests that give it to the product as a password."""

LONGEST: Final = 16_384
"""Bytes of what may be cut in two by the pieces that a stream comes in."""
CHUNK: Final = 1_048_576
SHOWN: Final = 160
"""Characters of the line around a finding that are shown."""
_SHAPES: Final = (
    (b"sk_secret_", "the secret of a key", re.compile(rb"sk_secret_[\w-]{22,}")),
    (b".eyJ", "a signed token", re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")),
)
"""What every such text holds, which is quickly looked for; what it is; and its shape."""

_known: Final[dict[bytes, str]] = {CANARY.encode(): "the canary"}


def know(secret: str, what: str) -> None:
    """Have a secret looked for from now on that has no shape of its own."""
    _known[secret.encode()] = what


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    where: str
    line: str
    """Without the secret."""

    def __str__(self) -> str:
        return f"{self.what} is in {self.where}: {self.line!r}"


overheard: Final[list[Finding]] = []
"""What was found since the last report of a test, in what it has read from others."""


def found(data: bytes, where: str) -> list[Finding]:
    """Return the secrets in `data`; one for each kind that there is."""
    return [Finding(what, where, _line(data, span)) for what, span in _firsts(data)]


def found_in_text(text: str, where: str) -> list[Finding]:
    return found(text.encode("utf-8", "backslashreplace"), where)


def masked(text: str) -> str:
    """Return a text without the secrets in it."""
    return _masked(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _firsts(data: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    for part, what, shape in _SHAPES:
        if part in data and (match := shape.search(data)):
            yield what, match.span()
    for secret, what in _known.items():
        if (at := data.find(secret)) >= 0:
            yield what, (at, at + len(secret))


def _line(data: bytes, span: tuple[int, int]) -> str:
    start, end = data.rfind(b"\n", 0, span[0]) + 1, data.find(b"\n", span[1])
    before = _masked(data[max(start, span[0] - LONGEST) : span[0]]).decode("utf-8", "backslashreplace")
    after = _masked(data[span[1] : end if end >= 0 else None][:LONGEST]).decode("utf-8", "backslashreplace")
    return f"{before[-SHOWN:]}***{after[:SHOWN]}"


def _masked(data: bytes) -> bytes:
    for part, _, shape in _SHAPES:
        if part in data:
            data = shape.sub(b"***", data)
    for secret in _known:
        data = data.replace(secret, b"***")
    return data


class Ear:
    """Listens to a stream that comes in pieces."""

    def __init__(self, where: str) -> None:
        self._where, self._rest = where, b""

    def hear(self, data: bytes) -> list[Finding]:
        """Return what is found in a piece, or where it meets the one before."""
        heard = self._rest + data
        findings = found(heard, self._where)
        self._rest = b"" if findings else heard[-LONGEST:]
        return findings


class Folders:
    """Looks into files that others than their owner may read; one that has not changed since is not read again."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[int, int, int]] = {}
        self.spared: set[str] = set()
        """Paths of folders that are not looked into."""

    def found(self, folder: Path) -> list[Finding]:
        return [finding for file in self._files(str(folder)) for finding in self._in_file(file)]

    def _files(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = list(os.scandir(folder))
        except OSError:  # removed meanwhile, or none to be looked into
            return
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.is_dir(follow_symlinks=False) and entry.path not in self.spared:
                yield from self._files(entry.path)

    def _in_file(self, file: os.DirEntry[str]) -> list[Finding]:
        try:
            status = file.stat(follow_symlinks=False)
            state = (status.st_mtime_ns, status.st_size, status.st_mode)
            if is_private(status.st_mode) or self._read.get(file.path) == state:
                return []
            self._read[file.path] = state
            ear = Ear(f"the file {file.path}, whose mode is {stat.S_IMODE(status.st_mode):04o}")
            with open(file.path, "rb", buffering=0) as opened:  # noqa: PTH123 - as many as there are, so nothing more
                while data := opened.read(CHUNK):
                    if findings := ear.hear(data):
                        return findings
        except OSError:
            return []
        return []


def is_private(mode: int) -> bool:
    """Tell whether a file of this mode is its owner's alone, and no program."""
    return stat.S_IMODE(mode) & ~0o600 == 0
