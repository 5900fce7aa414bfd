"""What a handler's own tasks inherit from the task that it works on."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Trace(NamedTuple):
    """The task that is worked on, as far as it concerns those that are given out for it."""

    deadline: float | None = None
    """In seconds of the loop's clock."""
    traceparent: str | None = None


NO_TRACE: Final = Trace()
current_trace: ContextVar[Trace] = ContextVar("orchestrator_trace", default=NO_TRACE)


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace that a task belongs to, as 32 hexadecimal digits; `None` for what names none (W3C Trace Context)."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return None if found is None or not found[1].strip("0") else found[1]
