"""Which lines of a log are meant: since when, and with what in them."""

from __future__ import annotations

import argparse
import re
import time
from collections import deque
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.runtime.operator_wire import AnyAnswer, LogLine

MAX_TEXT: Final = 16_384
"""Characters of one line that a pattern is looked for in: what takes too long in them, ctrl-c ends."""
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_DAYS: Final = re.compile(r"(\d{1,4})d", re.ASCII)


def since(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return the Unix seconds of a moment that is given as ``5m``, ``2d``, ``14:30``, or in ISO 8601.

    A clock time is the last one that there was. `zone` is where the clock is, `None` = here. Raises `ValueError` with a
    sentence.
    """
    from orchestrator.topology.values import read_duration

    if days := _DAYS.fullmatch(text):
        return now - int(days[1]) * 86_400.0
    if clock := _CLOCK.fullmatch(text):
        today = datetime.fromtimestamp(now, zone).replace(tzinfo=None, microsecond=0)
        moment = today.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0))
        found = _stamp(moment, zone)
        return found if found <= now else _stamp(moment - timedelta(days=1), zone)
    try:
        return now - read_duration(text)
    except ValueError:
        pass
    try:
        found = _stamp(datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no time such as 5m, 14:30 or 2026-01-31T14:30") from None
    if found > now:
        raise ValueError(f"{text!r} is still to come")
    return found


def _stamp(moment: datetime, zone: tzinfo | None) -> float:
    return (moment if moment.tzinfo is not None or zone is None else moment.replace(tzinfo=zone)).timestamp()


def since_now(text: str) -> float:
    """Read the value of an option."""
    try:
        return since(text, time.time())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pattern(text: str) -> re.Pattern[str]:
    """Read the value of an option: a regular expression."""
    try:
        return re.compile(text, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        where = f" at character {error.pos + 1}" if isinstance(error, re.error) and error.pos is not None else ""
        said = error.msg if isinstance(error, re.error) else "it is too large"
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {said}{where}") from None


class Sieve:
    """Lets what one run says through where a pattern is found in it.

    What was said before is kept until it has all been heard, and then the last lines of it are let through.
    """

    def __init__(self, wanted: re.Pattern[str] | None, lines: int) -> None:
        """`wanted`: `None` = everything passes, at once."""
        self._wanted = wanted
        self._before: deque[LogLine] | None = None if wanted is None else deque(maxlen=lines)

    def passed(self, answer: AnyAnswer) -> Iterator[AnyAnswer]:
        from orchestrator.runtime.operator_wire import LogLine, UpToNow

        if isinstance(answer, UpToNow):
            yield from self.last()
        elif not isinstance(answer, LogLine):
            yield answer
        elif self._wanted is None or self._wanted.search(searched(answer)):
            if self._before is None:
                yield answer
            else:
                self._before.append(answer)

    def last(self) -> Iterator[AnyAnswer]:
        """Yield what is still kept: nothing more of what was said before will come."""
        before, self._before = self._before, None
        yield from before or ()


def searched(line: LogLine) -> str:
    """Return what a pattern is looked for in: the event, ``name=value`` of each field, and the traceback, each on a line of
    its own."""
    fields = (f"{name}={_text(value)}" for name, value in line.fields.items())
    return "\n".join((line.event, *fields, line.exception))[:MAX_TEXT]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value, ensure_ascii=False, default=repr)
