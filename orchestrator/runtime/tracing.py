"""What a handler's own tasks inherit from the task that it works on, and the spans that are told to whoever traces.

Nobody need: as long as no program has set up OpenTelemetry, a span here is nothing but the `traceparent` that came in,
which is handed on as it is, and nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

MAX_TRACEPARENT: Final = 256
"""Characters; those of today have 55, and later versions may add something."""

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Kind: TypeAlias = Literal["client", "server", "producer", "consumer", "internal"]
"""OpenTelemetry's: who waits for an answer is a client of a server; a producer does not wait for its consumer."""
Value: TypeAlias = str | bool | int | float


class Trace(NamedTuple):
    """The task that is worked on, as far as it concerns those that are given out for it."""

    deadline: float | None = None
    """In seconds of the loop's clock."""
    traceparent: str | None = None


NO_TRACE: Final = Trace()
current_trace: ContextVar[Trace] = ContextVar("orchestrator_trace", default=NO_TRACE)


class Ids(NamedTuple):
    """What a `traceparent` says (W3C Trace Context), in hexadecimal digits: 32, 16 and 2."""

    trace_id: str
    span_id: str
    flags: str


def read_traceparent(traceparent: str | None) -> Ids | None:
    """Return what a `traceparent` says; `None` for one that says nothing, whatever it is instead."""
    if not traceparent or len(traceparent) > MAX_TRACEPARENT:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[4] is not None and traceparent.startswith("00")):
        return None
    if not found[1].strip("0") or not found[2].strip("0"):
        return None
    return Ids(found[1], found[2], found[3])


class Span:
    """A piece of work while it lasts, as far as others are told of it. This one is told to nobody."""

    recorded: bool = False
    """Whether anybody is told."""

    def __init__(self, traceparent: str | None = None) -> None:
        self.traceparent: Final = traceparent
        """What goes along with whatever is begun for it."""

    @property
    def logged(self) -> dict[str, str]:
        """What the log records of it say of their trace."""
        ids = None if self.traceparent is None else read_traceparent(self.traceparent)
        return {} if ids is None else {"trace_id": ids.trace_id}

    def current(self) -> AbstractContextManager[object]:
        """While entered, what begins in this context is part of it; also what a handler's own code traces."""
        return _NOWHERE

    def add(self, event: str, **attributes: Value) -> None:
        """Note that something happened, now."""

    def describe(self, **attributes: Value) -> None:
        """Say more of it than was known at its beginning."""

    def end(self, error: str | None = None) -> None:
        """It is over; `error` is the type of what it failed with. Only the first call counts."""


NO_SPAN: Final = Span()
_NOWHERE: Final = nullcontext()


class Tracer(Protocol):
    """Whoever is told of spans."""

    def begin(self, name: str, kind: Kind, parent: str | None, attributes: dict[str, Value]) -> Span:
        """Begin a span. `parent` is a `traceparent`, of whatever worth; without one it may be the first of its trace.

        A client and a producer have the span that is current in the program for their parent, if there is one.
        """
        ...


def begin(name: str, kind: Kind, parent: str | None = None, **attributes: Value) -> Span:
    """Begin a span if anybody traces, and hand on its parent's `traceparent` otherwise. See `Tracer.begin`."""
    if _API in sys.modules and (tracer := _tracer()) is not None:
        return tracer.begin(name, kind, parent, attributes)
    return handed_on(parent)


def handed_on(parent: str | None) -> Span:
    """Return what stands for a span that is told to nobody."""
    return NO_SPAN if parent is None or read_traceparent(parent) is None else Span(parent)


def configured() -> bool:
    """Tell whether the program has set up OpenTelemetry by now."""
    return _API in sys.modules and _tracer() is not None


@contextmanager
def untraced() -> Iterator[None]:
    """While entered, nobody is told of what this context begins, nor of what the tasks do that it starts."""
    token = _untraced.set(True)
    try:
        yield
    finally:
        _untraced.reset(token)


_API: Final = "opentelemetry.trace"
_untraced: ContextVar[bool] = ContextVar("orchestrator_untraced", default=False)


def _tracer() -> Tracer | None:
    """Return what tells a program's own OpenTelemetry of spans; `None` as long as the program has not set that up."""
    if _untraced.get():
        return None
    from orchestrator.runtime.telemetry import tracer

    return tracer()
