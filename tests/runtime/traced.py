"""A tracer provider for as long as a test wants one: OpenTelemetry itself lets a process have one only, and for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Spans:
    """What has ended so far, in that order."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def tree(self) -> set[tuple[str, str | None]]:
        """Each span by its name, with the name of its parent, as far as that has ended, too."""
        names = {id_of(span): span.name for span in self.all}
        return {(span.name, names.get(span.parent.span_id) if span.parent else None) for span in self.all}

    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self.all if span.context is not None}


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.span_id
    return found


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def said(span: ReadableSpan) -> dict[str, object]:
    """Its attributes, without what their names begin with."""
    return {name.removeprefix("orchestrator."): value for name, value in (span.attributes or {}).items()}


@contextmanager
def forgotten() -> Iterator[None]:
    """While entered, a provider may be set, which the process forgets then."""
    try:
        yield
    finally:
        if isinstance(provider := trace.get_tracer_provider(), TracerProvider):
            provider.shutdown()
        trace._TRACER_PROVIDER = None
        trace._TRACER_PROVIDER_SET_ONCE = type(trace._TRACER_PROVIDER_SET_ONCE)()


@contextmanager
def tracing() -> Iterator[Spans]:
    """While entered, the program has set up OpenTelemetry."""
    spans, provider = Spans(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    with forgotten():
        trace.set_tracer_provider(provider)
        yield spans
