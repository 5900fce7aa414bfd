"""Agents whose tasks leave a trace on disk, so that it can be known what was begun, by which process, and how often."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import DispatchError, WorkerLost

AT_ONCE = 10
"""Tasks of each kind that the boss has under way."""
LONGEST = 0.4
"""Seconds that a task takes at most."""


class Once(Task[int]):
    """Must not be done twice."""

    number: int
    seconds: float


class Safe(Task[int]):
    number: int
    seconds: float


class End(BaseModel):
    """What one call came to."""

    kind: Literal["once", "safe"]
    number: int
    outcome: str
    """``done``, or the name of the error."""
    worker: str = ""
    """Who was lost with it."""
    at: float
    """Seconds of the machine's monotonic clock."""


class Drive(StreamTask[End]):
    """Hand out tasks of both kinds until there is a file of this name; each end is told as it comes."""

    seed: int
    until: str


@agent
class Boss:
    workers: Workers

    @task
    async def drive(self, asked: Drive) -> AsyncIterator[End]:
        ends: asyncio.Queue[End] = asyncio.Queue()
        numbers = iter(range(1_000_000))
        chance = random.Random(asked.seed)
        over = Path(asked.until)

        async def call(kind: Literal["once", "safe"]) -> None:
            while not over.exists():  # noqa: ASYNC240 - it takes microseconds
                number, seconds = next(numbers), chance.uniform(0.0, LONGEST)
                wanted: Task[int] = (Once if kind == "once" else Safe)(number=number, seconds=seconds)
                outcome, worker = "done", ""
                try:
                    if await self.workers.run(wanted, timeout=60, wait=30) != number:
                        outcome = "another answer"
                except WorkerLost as lost:
                    outcome, worker = "WorkerLost", lost.worker
                except DispatchError as error:
                    outcome = f"{type(error).__name__}: {error}"
                ends.put_nowait(End(kind=kind, number=number, outcome=outcome, worker=worker, at=time.monotonic()))

        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(kind)) for kind in ("once", "safe") for _ in range(AT_ONCE)]
            while not ends.empty() or not all(each.done() for each in calls):
                next_end = asyncio.ensure_future(ends.get())
                await asyncio.wait(
                    [next_end, *(each for each in calls if not each.done())], return_when="FIRST_COMPLETED"
                )
                if next_end.done():
                    yield next_end.result()
                else:
                    next_end.cancel()


@agent
class Holder:
    @task
    async def once(self, job: Once, ctx: Context) -> int:
        return await self._hold("once", job.number, job.seconds, ctx)

    @task(idempotent=True)
    async def safe(self, job: Safe, ctx: Context) -> int:
        return await self._hold("safe", job.number, job.seconds, ctx)

    async def _hold(self, kind: str, number: int, seconds: float, ctx: Context) -> int:
        trace(f"begun {kind} {number} {os.getpid()} {ctx.attempt}")
        await asyncio.sleep(seconds)
        trace(f"done {kind} {number} {os.getpid()} {ctx.attempt}")
        return number


def trace(line: str) -> None:
    """Add a line to the journal in one write, which a SIGKILL cannot divide."""
    descriptor = os.open(os.environ["DESK_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
