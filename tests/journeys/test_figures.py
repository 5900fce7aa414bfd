"""What `ps` and `top` say of a run whose replicas work, fail and die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.runtime.operator_wire import ReplicaView
from tests.journeys.operating import command, view
from tests.journeys.running import running, who

pytestmark = pytest.mark.journey

HANDLERS = """
import asyncio
from collections.abc import AsyncIterator

from orchestrator import StreamTask, Task, Workers, agent, every, task
from orchestrator.errors import TaskFailed


class Divide(Task[int]):
    by: int


class Sit(Task[int]):
    pass


class Count(StreamTask[int]):
    upto: int


@agent
class Boss:
    workers: Workers

    async def setup(self):
        self.sitting = [self.workers.submit(Sit(), timeout=600)]

    @every("50ms")
    async def work(self, _) -> None:
        await self.workers.run(Divide(by=3))
        async for _number in self.workers.stream(Count(upto=5)):
            pass
        try:
            await self.workers.run(Divide(by=0))
        except TaskFailed:
            pass


@agent
class Helper:
    @task
    async def divide(self, job: Divide) -> int:
        return 100 // job.by

    @task
    async def sit(self, job: Sit) -> int:
        await asyncio.Event().wait()

    @task
    async def count(self, job: Count) -> AsyncIterator[int]:
        for number in range(job.upto):
            yield number
"""
TOPOLOGY = """
version: 1
name: farm
defaults: {restart: {delay: 50ms}}
coordinators:
  boss: {handler: "figure_handlers:Boss", workers: [helper]}
workers:
  helper: {handler: "figure_handlers:Helper", concurrency: 4}
"""
SECONDS = 20.0
"""A safety net alone."""


async def until(file: Path, fits: Callable[[ReplicaView], bool]) -> ReplicaView:
    """Look until the helper fits."""
    async with asyncio.timeout(SECONDS):
        while True:
            [helper] = [row for row in (await view(file)).replicas if row.peer == "helper"]
            if fits(helper):
                return helper
            await asyncio.sleep(0.05)  # nobody tells commands of figures


async def test_what_replicas_do_is_shown(tmp_path: Path) -> None:
    (tmp_path / "figure_handlers.py").write_text(HANDLERS)
    file = tmp_path / "farm.yaml"
    file.write_text(TOPOLOGY)
    async with running("farm.yaml", directory=tmp_path) as run:
        await run.ready()
        helper = await until(file, lambda row: row.done > 3 and row.failed > 1)
        assert helper.inflight >= 1, "the one that sits"
        assert (helper.capacity, helper.last_error, helper.restarts) == (4, "", 0)
        assert helper.ready_since is not None
        assert helper.since is not None
        assert helper.ready_since > helper.since
        assert helper.memory > 1_000_000
        code, told = await command("top", "farm.yaml", "--json", "--once", "--interval", "1.2", folder=tmp_path)
        assert code == 0, told
        rows = {row["name"]: row for row in json.loads(told)["rows"]}
        assert [*rows] == ["(run)", "(hub)", "boss", "helper"]
        for figure in ("done", "failed", "chunks", "cpu", "p95", "memory"):
            assert rows["helper"][figure] > 0, f"{figure} of {rows['helper']}"
        assert helper.pid is not None
        number = len(run.records)
        os.kill(helper.pid, signal.SIGKILL)
        await run.until(lambda record: record["event"] == "ready" and who(record) == "helper", after=number)
        again = await until(file, lambda row: row.state == "ready" and row.done > 0)
        assert (again.restarts, again.last_error) == (1, "killed by SIGKILL")
        code, shown = await command("ps", "farm.yaml", folder=tmp_path)
        assert code == 0, shown
        [line] = [line for line in shown.splitlines() if line.startswith("helper")]
        assert line.endswith("last: killed by SIGKILL")
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0, run.said()
