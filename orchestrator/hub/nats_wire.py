"""What a NATS server says, read from its bytes; no socket in it.

The hot path: a hub hears every message of its cluster here, so what is not needed of a message is not looked at. All
subscriptions lead to the same listener, hence neither its subject nor the number of its subscription matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_END: Final = b"\r\n"
_LONGEST_LINE: Final = 64 * 1024
"""Bytes; the longest that a server says is what it tells of itself and of the others of its cluster."""


class NotNats(Exception):
    """Something said what no NATS server says."""


class Told(Protocol):
    def pong(self) -> None: ...

    def ping(self) -> None: ...

    def status(self, subject: bytes) -> None:
        """Be told that nobody listens, on the subject on which that was to be said."""

    def error(self, text: str) -> None: ...

    def info(self, line: bytes) -> None: ...


class NatsReader:
    """Feed it bytes as they come; what they say is told before it returns, in their order."""

    def __init__(self, heard: Callable[[bytes], None], told: Told) -> None:
        self._heard = heard
        self._told = told
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0
        """Bytes below which there is nothing whole in `_parts`."""

    def feed(self, data: bytes) -> None:
        """Raises `NotNats`."""
        if self._parts:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at = self._read(data)
        if at < len(data):
            self._parts.append(data[at:] if at else data)
            self._size = len(data) - at
            self._needed -= at

    def _read(self, data: bytes) -> int:
        """Return how much was whole; `_needed` is then where in `data` more of it begins to be."""
        heard, find, rfind, size = self._heard, data.find, data.rfind, len(data)
        at = 0
        while True:
            end = find(_END, at)
            if end < 0:
                if size - at > _LONGEST_LINE:
                    raise NotNats("a line without an end")
                self._needed = 0
                return at
            first = end + 2
            if data.startswith(b"MSG ", at):
                last = first + int(data[rfind(b" ", at, end) : end])
                if last + 2 > size:
                    self._needed = last + 2
                    return at
                heard(data[first:last])
                at = last + 2
            elif data.startswith(b"HMSG ", at):
                last = first + int(data[rfind(b" ", at, end) : end])
                if last + 2 > size:
                    self._needed = last + 2
                    return at
                self._headed(data[at:end].split(), data[first:last])
                at = last + 2
            else:
                self._line(data[at:end])
                at = first

    def _headed(self, line: list[bytes], content: bytes) -> None:
        if content.startswith(b"NATS/1.0 503"):
            self._told.status(line[1])
        else:  # of nobody of ours
            self._heard(content[int(line[-2]) :])

    def _line(self, line: bytes) -> None:
        word = line[:5].upper().rstrip()
        if word == b"PONG":
            self._told.pong()
        elif word == b"PING":
            self._told.ping()
        elif word == b"-ERR":
            self._told.error(line[4:].strip().strip(b"'").decode("utf-8", "replace"))
        elif word == b"INFO":
            self._told.info(line[5:])
        elif word != b"+OK":
            raise NotNats("it does not speak as a NATS server does")
