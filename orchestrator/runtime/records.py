"""Log records: what a child's lines mean, read without a clock or a pipe.

A child that logs in our format writes one JSON object a line to its standard error. Everything else that it prints
is a raw line, kept as it is; the lines of a traceback become one record, so that nothing comes between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MAX_TRACEBACK: Final = 500
"""Lines after which a traceback is passed on, whether it has ended or not."""

_TRACEBACK: Final = (
    "Traceback (most recent call last):",
    "  + Exception Group Traceback (most recent call last):",
    "Fatal Python error: ",  # with where each thread stands
)


@dataclass(frozen=True, slots=True)
class Source:
    """Who said it. The hub, the store and the run itself are no peers; `agent` and `replica` are those of a replica."""

    name: str
    agent: str | None = None
    replica: int | None = None


RUN: Final = Source("run")
HUB: Final = Source("hub")
STORE: Final = Source("store")


@dataclass(frozen=True, slots=True)
class Record:
    time: float
    """Unix seconds."""
    level: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    exception: str = ""
    """A formatted traceback."""
    stream: Literal["stdout", "stderr"] | None = None
    """Of a raw line, where it was printed."""


class _Line(msgspec.Struct):
    time: datetime
    level: str
    event: str


_head: Final = msgspec.json.Decoder(_Line).decode
_whole: Final = msgspec.json.Decoder(dict[str, Any]).decode
_IDENTITY: Final = frozenset({"time", "level", "event", "exception", "peer", "agent", "replica", "process"})


def read_record(line: bytes) -> Record | None:
    """Return the record that a line of a child holds, or `None` for a line that is none.

    Who wrote it is known from the pipe that it came by, so what the record itself says about that is left out.
    """
    if not line.startswith(b"{"):
        return None
    try:
        head, whole = _head(line), _whole(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if head.level not in LEVELS:
        return None
    fields = {name: value for name, value in whole.items() if name not in _IDENTITY}
    return Record(head.time.timestamp(), head.level, head.event, fields, str(whole.get("exception") or ""))


class Assembler:
    """Makes records of the lines of one stream of one child."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        self._stream = stream
        self._open: list[str] = []
        self._since = 0.0

    @property
    def pending(self) -> bool:
        """A traceback is being read: call `flush` when nothing more has come for a moment."""
        return bool(self._open)

    def feed(self, line: bytes, now: float) -> list[Record]:
        """Return the records that this line, which came at `now`, completes."""
        record = read_record(line) if self._stream == "stderr" else None
        if record is not None:
            return [*self.flush(), record]
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if self._open:
            self._open.append(text)
            return self.flush() if len(self._open) >= MAX_TRACEBACK else []
        if text.startswith(_TRACEBACK):
            self._open, self._since = [text], now
            return []
        return [Record(now, "info", text, stream=self._stream)]

    def flush(self) -> list[Record]:
        """Return what is held back as a record, if anything is."""
        if not self._open:
            return []
        record = Record(self._since, "error", "\n".join(self._open).rstrip("\n"), stream=self._stream)
        self._open = []
        return [record]
