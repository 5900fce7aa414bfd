"""What OpenTelemetry's variables ask for, and that nothing of it is there as long as nobody asks."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from opentelemetry import trace

from orchestrator.runtime.trace_export import exporters, exporting, flushed, lacking
from orchestrator.runtime.tracing import begin, configured
from tests.runtime.traced import forgotten, tracing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ()),
        ({"OTEL_SERVICE_NAME": "squares", "OTEL_TRACES_SAMPLER": "always_on"}, ()),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": " "}, ()),
        ({ENDPOINT: ""}, ()),
        ({ENDPOINT: "http://desk:4318"}, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://desk:4318"}, ("otlp_proto_http",)),
        ({ENDPOINT: "http://desk:4318", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({ENDPOINT: "http://desk:4318", "OTEL_SDK_DISABLED": "TRUE"}, ()),
        ({ENDPOINT: "http://desk:4318", "OTEL_SDK_DISABLED": "false"}, ("otlp_proto_http",)),
        ({"OTEL_TRACES_EXPORTER": "console, otlp,otlp"}, ("console", "otlp_proto_http")),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp_proto_grpc",)),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ("otlp_proto_http",),
        ),
    ],
)
def test_the_standard_variables_say_where_spans_go(environ: dict[str, str], found: tuple[str, ...]) -> None:
    assert exporters(environ) == found


def test_what_is_not_installed_is_named_with_what_to_do() -> None:
    assert lacking({}) is None
    assert lacking({"OTEL_TRACES_EXPORTER": "console,otlp"}) is None
    grpc = lacking({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert grpc is not None
    assert "pip install opentelemetry-exporter-otlp-proto-grpc" in grpc
    assert lacking({"OTEL_TRACES_EXPORTER": "carrier-pigeon"}) == (
        "the OTEL_ variables ask for traces, but no package that is installed exports traces to 'carrier-pigeon'; "
        "there is 'console', 'otlp_proto_http' and 'none'. The run goes on without them"
    )


async def test_spans_leave_for_the_console_a_line_each_when_what_traces_them_ends() -> None:
    console, warned = io.StringIO(), list[str]()
    environ = {"OTEL_TRACES_EXPORTER": "console"}
    with forgotten():
        async with exporting(environ, "squares", {"service.instance.id": "boss"}, warned.append, console=console):
            begin("handle Square", "server", task="Square").end()
    [line] = console.getvalue().splitlines()
    told = json.loads(line)
    assert told["name"] == "handle Square"
    resource = told["resource"]["attributes"]
    assert (resource["service.name"], resource["service.instance.id"]) == ("squares", "boss")
    assert warned == []


async def test_a_program_that_has_set_up_tracing_itself_keeps_it() -> None:
    console = io.StringIO()
    with tracing() as spans:
        mine = trace.get_tracer_provider()
        async with exporting({"OTEL_TRACES_EXPORTER": "console"}, "squares", {}, print, console=console):
            begin("handle Square", "server").end()
        assert trace.get_tracer_provider() is mine
    assert (len(spans.all), console.getvalue()) == (1, "")


async def test_an_exporter_that_does_not_come_back_holds_up_nobody() -> None:
    released = threading.Event()
    warned: list[str] = []

    class Stuck:
        def write(self, _text: str) -> None:
            released.wait(30)

        def flush(self) -> None:
            """Nothing is held back."""

    with forgotten():
        async with asyncio.timeout(10):
            async with exporting({"OTEL_TRACES_EXPORTER": "console"}, "squares", {}, print, console=Stuck()):
                begin("handle Square", "server").end()
                await flushed(0.05, warned.append)
                released.set()
    assert warned == ["the last spans have not left within 0.1 s, and are lost"]


def test_a_faulty_setting_is_told_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []

    async def play() -> None:
        async with exporting({"OTEL_TRACES_EXPORTER": "console"}, "squares", {}, warned.append):
            assert not configured()

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with forgotten():
        asyncio.run(play())
    [warning] = warned
    assert warning.startswith("traces are not exported: ValueError: ")


OFF = """
import asyncio, sys

from orchestrator.testing import TestHub
import orchestrator.runtime.errand, orchestrator.runtime.host, orchestrator.runtime.runner
from tests.runtime.kept_agents import TOPOLOGY, Boss, Work, Worker

async def play():
    text = TOPOLOGY % {"replicas": 1, "concurrency": 1, "attempts": 1}
    async with TestHub(text, handlers={"boss": Boss, "worker": Worker}) as world:
        print(await (await world.agent("boss").put(Work(number=1))).result())

asyncio.run(play())
print([name for name in sys.modules if name.startswith("opentelemetry")])
print("orchestrator.runtime.telemetry" in sys.modules)
"""


def test_nothing_of_it_is_imported_as_long_as_nobody_traces() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", OFF], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["2", "[]", "False"]
