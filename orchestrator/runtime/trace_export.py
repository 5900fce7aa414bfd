"""Where spans go if OpenTelemetry's standard variables say so, and the program itself has not said it before.

Nothing of OpenTelemetry is imported unless they do.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.errors import listed
from orchestrator.runtime.tracing import configured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

FLUSH_SECONDS: Final = 2.0
"""How long the end of a process waits at most for its last spans to leave."""
CONSOLE: Final = "console"
HTTP: Final = "otlp_proto_http"
_GROUP: Final = "opentelemetry_traces_exporter"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def exporters(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the exporters that these variables ask for, by the names under which packages register them."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    asked = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not asked and any(environ.get(name, "").strip() for name in _ENDPOINTS):
        asked = "otlp"
    protocol = next((environ[name].strip() for name in _PROTOCOLS if environ.get(name, "").strip()), "")
    otlp = "otlp_proto_grpc" if protocol == "grpc" else HTTP
    names = [word.strip() for word in asked.split(",")]
    return tuple(dict.fromkeys(otlp if name == "otlp" else name for name in names if name not in ("", "none")))


def lacking(environ: Mapping[str, str]) -> str | None:
    """Return what has to be installed before what these variables ask for can be had, as a sentence; `None` = nothing."""
    asked = exporters(environ)
    if not asked:
        return None
    given = _registered() if _has_sdk() else {}
    for name in asked:
        if name in given:
            continue
        if name in (CONSOLE, HTTP):
            why = "which needs a package that is not installed: pip install 'topology-orchestrator[otel]'"
        elif name.startswith("otlp_proto_"):
            why = f"which needs a package that is not installed: pip install opentelemetry-exporter-{name.replace('_', '-')}"
        else:
            why = f"but no package that is installed exports traces to {name!r}; there is {listed([*sorted(given), 'none'])}"
        return f"the OTEL_ variables ask for traces, {why}. The run goes on without them"
    return None


class Printed(Protocol):
    """What a console is to the exporter of that name."""

    def write(self, text: str) -> object: ...

    def flush(self) -> object: ...


@asynccontextmanager
async def exporting(
    environ: Mapping[str, str],
    topology: str,
    identity: Mapping[str, str | int],
    warn: Callable[[str], object],
    *,
    console: Printed | None = None,
) -> AsyncIterator[None]:
    """While entered, spans go where `set_up` has them go, and at its end all that are over have left."""
    set_up(environ, topology, identity, warn, console=console)
    try:
        yield
    finally:
        await flushed(FLUSH_SECONDS, warn)


def set_up(
    environ: Mapping[str, str],
    topology: str,
    identity: Mapping[str, str | int],
    warn: Callable[[str], object],
    *,
    console: Printed | None = None,
) -> None:
    """Have the spans of this process go where these variables say, unless the program has set up tracing by now.

    `identity` says what this process is, in attributes of its resource; `topology` is what it is part of. `console`:
    what the exporter of that name prints to; `None` = standard output. `warn` is told of a fault, and nothing is traced then.
    """
    asked = exporters(environ)
    if not asked or configured():
        return
    if lacking(environ) is not None:
        return  # the run has said so
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        attributes: dict[str, str | int] = dict(identity)
        own = Resource.create(attributes)
        if str(own.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
            own = own.merge(Resource({"service.name": topology}))
        provider = TracerProvider(resource=own, shutdown_on_exit=False)  # its last spans leave by `flushed`
        for name in asked:
            provider.add_span_processor(BatchSpanProcessor(_exporter(name, console or sys.stdout)))
        trace.set_tracer_provider(provider)
    except Exception as error:  # noqa: BLE001 - exporters are not ours, and a run does not depend on them
        warn(f"traces are not exported: {type(error).__name__}: {error}")


async def flushed(seconds: float, warn: Callable[[str], object]) -> None:
    """Have all spans of this process leave, whoever has set up where they go; wait for that for at most `seconds`."""
    if not configured():
        return
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is None:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def leave() -> None:
        try:
            flush()
        finally:
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=leave, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(min(seconds, FLUSH_SECONDS)):
            await done.wait()
    except TimeoutError:
        warn(f"the last spans have not left within {min(seconds, FLUSH_SECONDS):.1f} s, and are lost")


def _has_sdk() -> bool:
    from importlib.util import find_spec

    try:
        return find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


def _registered() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def _exporter(name: str, console: Any) -> Any:
    if name == CONSOLE:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=console, formatter=lambda span: span.to_json(indent=None) + "\n")
    return _registered()[name].load()()
