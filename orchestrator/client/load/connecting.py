"""Connections, as many as are wanted, so many at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.client.load.figures import Latency
from orchestrator.client.load.run import Span
from orchestrator.errors import ConnectionProblem

if TYPE_CHECKING:
    from orchestrator.client.load.dialling import Dialler
    from orchestrator.client.load.run import LoadRun


@dataclass(frozen=True, slots=True)
class Connected:
    span: Span
    """An operation is a connection that was let in."""
    latency: Latency
    """From the first packet to the welcome."""
    refused: ConnectionProblem | None
    """Why it ended before all were there; `None` = all are there, or it was stopped."""


async def connect(
    dialler: Dialler, run: LoadRun, *, connections: int, together: int = 64, seconds: float | None = None
) -> Connected:
    """Open connections, and leave them open. It ends with the first that fails, or after `seconds`; `None` = no limit."""
    dialler.lost = run.lost
    names = iter([f"load-{number}" for number in range(connections)])
    times: list[int] = []
    refused: ConnectionProblem | None = None

    async def work() -> None:
        nonlocal refused
        for name in names:
            began = time.monotonic_ns()
            try:
                await dialler.open(name)
            except ConnectionProblem as problem:
                refused = refused or problem
                return
            times.append(time.monotonic_ns() - began)
            if run.stopped or refused:
                return

    workers = [asyncio.create_task(work(), name="connecting") for _ in range(min(together, connections))]
    own, server, at = time.process_time(), run.server_cpu(), time.perf_counter()
    try:
        await asyncio.wait(workers, timeout=seconds)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    elapsed, own, after = time.perf_counter() - at, time.process_time() - own, run.server_cpu()
    spent = None if server is None or after is None else after - server
    return Connected(Span(elapsed, len(times), own, spent), Latency.of(times), refused or run.problem)
