"""How a child process logs: structlog and the standard library's `logging`, as JSON lines on standard error.

Each record carries `time`, `level`, `event`, who speaks, and whatever is bound to the logger or to the context.
"""

from __future__ import annotations

import faulthandler
import io
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec
import structlog

from orchestrator.runtime.records import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

MAX_VALUE: Final = 8_192
"""Characters of one value in a record."""
NOISY: Final = ("asyncio", "websockets", "httpx", "httpcore", "urllib3")
"""Libraries whose debug and info records tell about themselves, not about the agent."""


def configure_child(identity: Mapping[str, str | int], level: str) -> None:
    """Make everything that this process logs, warns of or prints arrive in its parent line by line.

    `identity` goes into each record; `level` is one of `records.LEVELS`. A crash of the interpreter itself leaves
    its stack on standard error as well.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a print is heard when it is made, not when a buffer is full
    faulthandler.enable()
    configure_logging(identity, level, sys.stderr)


def configure_logging(identity: Mapping[str, str | int], level: str, file: TextIO) -> None:
    """Make structlog and `logging` write JSON lines to `file`, for the whole process."""
    handler = configure_structlog(identity, level, file)
    logging.basicConfig(handlers=[handler], level=LEVELS[level], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)


def configure_structlog(identity: Mapping[str, str | int], level: str, file: TextIO) -> logging.Handler:
    """Make structlog write JSON lines to `file`, and return a handler with which `logging` would do the same."""
    lines = Lines(file)
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _Identity(identity),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*chain, to_line],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*chain[:2], structlog.stdlib.ExtraAdder(), *chain[2:]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, to_line],
        )
    )
    return handler


def to_line(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """Render one record as one line of JSON. Whatever a value is, it does not raise: a log call never breaks a task."""
    event["event"] = str(event.get("event", "")).rstrip("\n")
    event = {name: _cut(value) for name, value in event.items()}
    try:
        return msgspec.json.encode(event, enc_hook=_plain).decode()
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, lone surrogates, a value in itself
        return json.dumps({name: _plain(value) for name, value in event.items()})


def _cut(value: Any) -> Any:
    """Shorten what is too long to be read: a record has to fit on one line."""
    if isinstance(value, str) and len(value) > MAX_VALUE:
        return f"{value[:MAX_VALUE]}… ({len(value):,} characters)"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int | float | bool) or value is None:
        return value
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's __repr__ raises is told in its place
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


class Lines:
    """A logger in structlog's sense: writes whole lines, from any thread, to a file that may have lost its reader."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._turn = threading.Lock()

    def write(self, line: str) -> None:
        with self._turn:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except (OSError, ValueError):  # the parent is gone: nobody is left to tell
                return

    msg = debug = info = warning = error = critical = exception = write


class _Handler(logging.Handler):
    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record))
        except Exception:  # noqa: BLE001 - as in every handler: arguments that do not fit are told on standard error
            self.handleError(record)


class _Identity:
    """A processor that says who speaks."""

    def __init__(self, identity: Mapping[str, str | int]) -> None:
        self._identity = dict(identity)

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event.update(self._identity)
        return event
