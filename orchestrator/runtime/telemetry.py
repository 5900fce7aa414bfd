"""Spans as OpenTelemetry has them. Imported only once something else in the process has imported its API."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel
from opentelemetry import trace

from orchestrator.runtime.tracing import Ids, Kind, Span, Value, handed_on, read_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "orchestrator"
_KINDS: Final[dict[Kind, trace.SpanKind]] = {
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
    "internal": trace.SpanKind.INTERNAL,
}
_CALLING: Final = ("client", "producer")


class OtelSpan(Span):
    """A span of the program's tracer provider."""

    def __init__(self, span: trace.Span) -> None:
        self._span, self.recorded = span, span.is_recording()
        self._ids = _ids_of(span.get_span_context())
        super().__init__(f"00-{self._ids.trace_id}-{self._ids.span_id}-{self._ids.flags}")

    @property
    def logged(self) -> dict[str, str]:
        return {"trace_id": self._ids.trace_id, "span_id": self._ids.span_id}

    @contextmanager
    def current(self) -> Iterator[None]:
        token = otel.attach(trace.set_span_in_context(self._span))
        try:
            yield
        finally:
            otel.detach(token)

    def add(self, event: str, **attributes: Value) -> None:
        self._span.add_event(event, _named(attributes))

    def describe(self, **attributes: Value) -> None:
        self._span.set_attributes(_named(attributes))

    def end(self, error: str | None = None) -> None:
        if not self._span.is_recording():
            return
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR, error)
        self._span.end()


class OtelTracer:
    """Tells one tracer provider."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.provider: Final = provider
        self._tracer = provider.get_tracer(NAME)

    def begin(self, name: str, kind: Kind, parent: str | None, attributes: dict[str, Value]) -> Span:
        current = otel.get_current()
        if kind not in _CALLING or not trace.get_current_span(current).get_span_context().is_valid:
            current = _context_of(parent)
        span = self._tracer.start_span(name, current, _KINDS[kind], _named(attributes))
        if span.get_span_context() == trace.get_current_span(current).get_span_context():  # it makes none
            return handed_on(parent)
        return OtelSpan(span)


_tracer: OtelTracer | None = None


def tracer() -> OtelTracer | None:
    """Return what tells the provider that the program has set; `None` = it has set none."""
    global _tracer
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    if _tracer is None or _tracer.provider is not provider:
        _tracer = OtelTracer(provider)
    return _tracer


def _named(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"{NAME}.{name}": value for name, value in attributes.items()}


def _ids_of(context: trace.SpanContext) -> Ids:
    trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return Ids(trace_id, span_id, f"{context.trace_flags:02x}")


def _context_of(traceparent: str | None) -> otel.Context:
    ids = read_traceparent(traceparent)
    if ids is None:
        return otel.Context()
    flags = trace.TraceFlags(int(ids.flags, 16))
    parent = trace.SpanContext(int(ids.trace_id, 16), int(ids.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), otel.Context())
