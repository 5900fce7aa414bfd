"""One trace over several processes: a user's program, a coordinator and a worker, each of which tells its own spans."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.running import ROOT, running, who

pytestmark = pytest.mark.journey

TOPOLOGY = """\
version: 1
name: squares
hub:
  key: ${DESK_KEY:-}
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper"}
"""
AGENTS = """
import logging
from collections.abc import AsyncIterator

from orchestrator import Context, StreamTask, Task, Workers, agent, task


class Square(Task[int]):
    number: int


class Squares(StreamTask[str]):
    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def squares(self, job: Squares, ctx: Context) -> AsyncIterator[str]:
        ctx.log.info("asked")
        for number in range(3):
            yield f"{await self.workers.run(Square(number=number))} "

    def teardown(self) -> None:
        keep("boss")


@agent
class Helper:
    @task
    def square(self, job: Square) -> int:
        logging.getLogger("squares").warning("squaring")
        return job.number**2

    def teardown(self) -> None:
        keep("helper")


def keep(agent: str) -> None:
    pass
"""
IN_MEMORY = """
import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)


def keep(name: str) -> None:
    told = "".join(span.to_json(indent=None) + "\\n" for span in exporter.get_finished_spans())
    Path(os.environ["SPANS"], f"{name}.{os.getpid()}").write_text(told)
"""
USER = f"""
import asyncio
import sys

from orchestrator import connect
{IN_MEMORY}

async def main() -> None:
    url, token = sys.stdin.read().split()
    async with connect(url, token=token) as user:
        async for text in user.stream("boss", "three"):
            print(text, end="", flush=True)
    keep("user")

asyncio.run(main())
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    (tmp_path / "spans").mkdir()
    file = tmp_path / "squares.yaml"
    file.write_text(TOPOLOGY)
    return file


def spans_in(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What was kept, by the pid of each process."""
    files = sorted(folder.iterdir())
    return {int(file.suffix[1:]): [json.loads(line) for line in file.read_text().splitlines()] for file in files}


def tree(spans: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Each span by its name, with that of its parent, sorted."""
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    assert {span["parent_id"] for span in spans} <= {None, *names}
    return sorted((span["name"], names.get(span["parent_id"])) for span in spans)


ONE_QUESTION = [
    ("ask boss", None),
    *[("dispatch Square", "handle Squares")] * 3,
    *[("handle Square", "dispatch Square")] * 3,
    ("handle Squares", "ask boss"),
    ("stream Squares", "handle Squares"),
]


async def test_a_user_s_question_is_one_trace_over_three_processes(topology: Path) -> None:
    folder = topology.parent / "spans"
    (topology.parent / "app.py").write_text(AGENTS + IN_MEMORY)
    key = SecretKey("sk_id_traces", f"sk_secret_{secrets.token_hex(32)}")
    environ = {"DESK_KEY": f"{key.id}:{key.secret}", "SPANS": str(folder)}
    async with running(topology.name, directory=topology.parent, environ=environ) as run:
        await run.ready()
        url = next(record for record in run.with_event("ready") if who(record) == "hub")["url"]
        plan = make_plan(load_topology(topology, environ), None)
        token = mint(key, plan.user("cli").claims("journey", int(time.time()) + 60))
        user = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", USER),
            env={**os.environ, "PYTHONPATH": str(ROOT), "SPANS": str(folder)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        answer, _ = await asyncio.wait_for(user.communicate(f"{url}\n{token}\n".encode()), 30)
        assert (user.returncode, answer) == (0, b"0 1 4 ")
        pids = run.pids()
        run.process.terminate()
        assert await run.ended() == 0, run.said()

    kept = spans_in(folder)
    assert set(kept) == {user.pid, pids["boss"], pids["helper"]}
    assert tree([span for told in kept.values() for span in told]) == ONE_QUESTION
    assert {span["name"] for span in kept[user.pid]} == {"ask boss"}
    assert {span["name"] for span in kept[pids["boss"]]} == {"handle Squares", "stream Squares", "dispatch Square"}
    assert {span["name"] for span in kept[pids["helper"]]} == {"handle Square"}
    [asked] = kept[user.pid]
    trace_id = asked["context"]["trace_id"]
    assert {span["context"]["trace_id"] for told in kept.values() for span in told} == {trace_id}

    assert [event["name"] for event in asked["events"]] == ["offered", "first chunk", "last chunk"]
    streamed = next(span for span in kept[pids["boss"]] if span["name"] == "stream Squares")
    assert streamed["attributes"]["orchestrator.chunks"] == asked["attributes"]["orchestrator.chunks"] == 3
    handled = next(span for span in kept[pids["boss"]] if span["name"] == "handle Squares")
    assert asked["start_time"] <= handled["start_time"] <= handled["end_time"] <= asked["end_time"]

    [record] = run.with_event("asked")
    assert (f"0x{record['trace_id']}", f"0x{record['span_id']}") == (trace_id, handled["context"]["span_id"])
    squaring = run.with_event("squaring")
    assert {f"0x{record['trace_id']}" for record in squaring} == {trace_id}
    assert {f"0x{record['span_id']}" for record in squaring} == {
        span["context"]["span_id"] for span in kept[pids["helper"]]
    }


@pytest.mark.bars
async def test_a_run_in_one_process_is_traced_alike(topology: Path) -> None:
    folder = topology.parent / "spans"
    (topology.parent / "app.py").write_text(AGENTS + IN_MEMORY)
    environ = {"SPANS": str(folder)}
    arguments = (topology.name, "--inline", "--ask", "boss", "three")
    async with running(*arguments, directory=topology.parent, environ=environ) as run:
        assert await run.ended() == 0, run.said()
    assert run.answer == "0 1 4 \n"
    [(pid, spans), *others] = spans_in(folder).items()
    assert (pid, others) == (run.pid, [])
    assert tree(spans) == ONE_QUESTION
    assert len({span["context"]["trace_id"] for span in spans}) == 1


# -- as the environment says


class Collector(ThreadingHTTPServer):
    """Takes what exporters send."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_variables_alone_have_every_process_of_a_run_export_what_it_does(
    topology: Path, collector: Collector
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    (topology.parent / "app.py").write_text(AGENTS)
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    async with running(topology.name, "--ask", "boss", "three", directory=topology.parent, environ=environ) as run:
        assert await run.ended() == 0, run.said()
    assert {path for path, _ in collector.bodies} == {"/v1/traces"}
    found: dict[str, list[Any]] = {}
    for _, body in collector.bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            said = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert said["service.name"] == "squares"
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            found.setdefault(f"{said['service.instance.id']} {said.get('orchestrator.agent', '')}", []).extend(spans)
    assert set(found) == {"cli ", "boss boss", "helper helper"}
    names = {who: sorted(span.name for span in spans) for who, spans in found.items()}
    assert names == {
        "cli ": ["ask boss"],
        "boss boss": [*["dispatch Square"] * 3, "handle Squares", "stream Squares"],
        "helper helper": ["handle Square"] * 3,
    }
    assert len({span.trace_id for spans in found.values() for span in spans}) == 1


@pytest.mark.bars
async def test_a_run_that_cannot_trace_says_so_once_and_goes_on(topology: Path) -> None:
    (topology.parent / "app.py").write_text(AGENTS)
    empty = topology.parent / "without" / "opentelemetry"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "PYTHONPATH": os.pathsep.join([str(empty.parent), str(ROOT)])}
    async with running(topology.name, "--ask", "boss", "three", directory=topology.parent, environ=environ) as run:
        assert await run.ended() == 0, run.said()
    assert run.answer == "0 1 4 \n"
    [warning] = [record for record in run.records if "OTEL" in record["event"]]
    assert (warning["level"], warning["process"]) == ("warning", "run")
    assert "pip install 'topology-orchestrator[otel]'" in warning["event"]
    assert [record for record in run.records if "trace_id" in record] == []
