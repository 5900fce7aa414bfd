"""How log records look: for people, or for programs. Pure text: no clock, no terminal, no file."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.runtime.records import Record, Source

MAX_VALUE: Final = 200
"""Characters of one value that people are shown; programs are given all of it."""

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_RED, _YELLOW = "\x1b[31m", "\x1b[33m"
_PALETTE: Final = tuple(f"\x1b[{code}m" for code in (36, 35, 32, 34, 96, 95, 92, 94))
"""No red and no yellow: those say that something is wrong."""
_MARKS: Final = {
    "debug": (" ", _DIM),
    "info": (" ", ""),
    "warning": ("!", _YELLOW),
    "error": ("✗", _RED),
    "critical": ("✗", _RED),
}
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PLAIN: Final = re.compile(r"[^\s\"'=]+")


class Rendering(Protocol):
    def __call__(self, source: Source, record: Record) -> str:
        """Return the text of a record, without a newline at its end."""


class Console:
    """For people: the time, who speaks, what happened, and the details dimmed.

    `names` are all that may speak, to align what they say; `zone` is where the reader's clock is, `None` = here.
    """

    def __init__(self, names: Iterable[str], *, colours: bool, zone: tzinfo | None = None) -> None:
        self._width = max((len(name) for name in names), default=0)
        self._colours, self._zone = colours, zone
        self._agents: dict[str, str] = {}

    def __call__(self, source: Source, record: Record) -> str:
        moment = datetime.fromtimestamp(record.time, UTC).astimezone(self._zone)
        clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        mark, colour = _MARKS.get(record.level, _MARKS["info"])
        who = self._paint(f"{source.name:<{self._width}}", self._colour(source))
        first, *more = self._body(record).split("\n")
        painted = self._paint(first, colour) if record.stream is None or colour else self._printed(first)
        lines = [f"{self._paint(clock, _DIM)} {self._paint(mark, colour)} {who}  {painted}{self._details(record)}"]
        blank = f"{' ' * (len(clock) + 3)}{who}  {self._paint('│', _DIM)} "
        lines += [f"{blank}{self._printed(line)}" for line in more]
        lines += [f"{blank}{self._printed(line)}" for line in record.exception.rstrip("\n").split("\n") if line]
        return "\n".join(lines)

    def _body(self, record: Record) -> str:
        return record.event if record.stream is not None else visible(record.event)

    def _details(self, record: Record) -> str:
        if not record.fields:
            return ""
        pairs = " ".join(f"{name}={shown(name, value)}" for name, value in record.fields.items())
        return self._paint(f"  {pairs}", _DIM)

    def _printed(self, line: str) -> str:
        """Return what a child printed: its colours are its own affair, but it moves no cursor of ours."""
        if not self._colours:
            return visible(_COLOUR.sub("", line))
        if not _COLOUR.search(line):
            return visible(line)
        parts = _COLOUR.split(line)
        marks = [*_COLOUR.findall(line), _RESET]
        return "".join(visible(part) + mark for part, mark in zip(parts, marks, strict=True))

    def _colour(self, source: Source) -> str:
        """Return one colour for all replicas of an agent, in the order in which agents first speak."""
        if source.agent is None:
            return _BOLD
        return self._agents.setdefault(source.agent, _PALETTE[len(self._agents) % len(_PALETTE)])

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours and colour and text else text


def visible(text: str) -> str:
    """Return `text` with its control characters spelled out, newlines and tabs aside."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(name: str, value: Any) -> str:
    """Return one value as people are shown it."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        text = visible(value) if _PLAIN.fullmatch(value) else json.dumps(visible(value), ensure_ascii=False)
        if name == "task_id" and _PLAIN.fullmatch(value):
            return text[:8]
    else:
        text = visible(json.dumps(value, ensure_ascii=False, default=repr, separators=(",", ":")))
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def render_json(source: Source, record: Record) -> str:
    """For programs: one JSON object; raw lines become records whose `stream` tells where they were printed."""
    moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    whole: dict[str, Any] = {"time": moment, "level": record.level}
    if source.agent is None:
        whole["process"] = source.name
    else:
        whole |= {"peer": source.name, "agent": source.agent}
        if source.replica is not None:
            whole["replica"] = source.replica
    whole["event"] = record.event
    if record.stream is not None:
        whole["stream"] = record.stream
    whole |= {name: value for name, value in record.fields.items() if name not in whole}
    if record.exception:
        whole["exception"] = record.exception
    return json.dumps(whole, ensure_ascii=False, default=repr)
