"""Agents that keep a run busy while others change it: their callers note in a file how each task ended."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator import Context, Task, Workers, agent, every, task
from tests.journeys.ledger import COUNT, NOTES, Notes
from tests.journeys.sink import Till

PERIOD: Final = 0.02
"""Seconds between two tasks of one kind."""


class Kept(Task[str]):
    """Is kept in the store until it is done."""

    number: int


class Sent(Task[str]):
    """Goes in a message, and is not done again."""

    number: int


@agent
class Caller:
    """Hands out so many tasks of both kinds, at a steady pace, and goes on asking until told otherwise by a file."""

    workers: Workers
    begun: bool = field(default=False, init=False)

    @every("20ms")
    async def call(self, ctx: Context) -> None:
        if self.begun:
            return
        self.begun = True
        end = Path(os.environ[NOTES]).with_name("enough")
        loop = asyncio.get_running_loop()
        least, number, due = int(os.environ[COUNT]), 0, loop.time()
        with Notes.writing(Path(os.environ[NOTES])) as notes:
            async with asyncio.TaskGroup() as group:
                while number < least or not end.exists():
                    for kind in (Kept, Sent):
                        group.create_task(self._one(kind, number, notes))
                        number += 1
                    due += 2 * PERIOD
                    await asyncio.sleep(due - loop.time())
        ctx.log.info("all is called", count=number)

    async def _one(self, kind: type[Kept] | type[Sent], number: int, notes: Notes) -> None:
        began = time.monotonic()
        try:
            notes.say("done", number, await self.workers.run(kind(number=number)))
        except Exception as error:  # noqa: BLE001 - whatever a caller sees is what the test looks for
            notes.say("failed", number, f"{type(error).__name__}: {error} after {time.monotonic() - began:.2f} s")


@agent
@dataclass
class Keeper:
    """Books each task with the sink once."""

    async def setup(self) -> None:
        self.till = await Till.reached()

    async def teardown(self) -> None:
        self.till.close()

    @task
    async def keep(self, job: Kept, ctx: Context) -> str:
        once = await ctx.once(f"task {job.number}")
        await asyncio.sleep(0.03)
        await self.till.book(f"task {job.number}", once.task_id, once.fence)
        return f"{job.number} is kept"


@agent
@dataclass
class Sender:
    """Books each task with the sink, without looking whether it is done already."""

    async def setup(self) -> None:
        self.till = await Till.reached()

    async def teardown(self) -> None:
        self.till.close()

    @task
    async def sent(self, job: Sent, ctx: Context) -> str:
        await asyncio.sleep(0.03)
        await self.till.book(f"task {job.number}", ctx.task_id, 1)
        return f"{job.number} is sent"
