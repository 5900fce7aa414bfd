"""What a handler's own tasks inherit from the task that it works on."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, NamedTuple


class Trace(NamedTuple):
    """The task that is worked on, as far as it concerns those that are given out for it."""

    deadline: float | None = None
    """In seconds of the loop's clock."""
    traceparent: str | None = None


NO_TRACE: Final = Trace()
current_trace: ContextVar[Trace] = ContextVar("orchestrator_trace", default=NO_TRACE)
