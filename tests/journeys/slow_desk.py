"""Agents that hold a task for as long as a file is missing, so that a test decides when something happens to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import DispatchError


class Once(Task[str]):
    name: str


class Safe(Task[str]):
    name: str


class Ask(StreamTask[str]):
    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def ask(self, ask: Ask, ctx: Context) -> AsyncIterator[str]:
        kind, _, name = ask.prompt.partition(" ")
        if kind == "count":
            for number in range(int(name)):
                yield f"{number} "
            return
        yield f"{kind} "
        try:
            yield await self.workers.run(Once(name=name) if kind == "once" else Safe(name=name))
        except DispatchError as error:
            yield f"{type(error).__name__}: {error}"


@agent
class Holder:
    @task
    async def once(self, job: Once, ctx: Context) -> str:
        return await self._hold(job.name, ctx)

    @task(idempotent=True)
    async def safe(self, job: Safe, ctx: Context) -> str:
        return await self._hold(job.name, ctx)

    async def _hold(self, name: str, ctx: Context) -> str:
        """Only the first attempt waits: the file says that it may go on."""
        ctx.log.info("holding", pid=os.getpid(), attempt=ctx.attempt)
        while ctx.attempt == 1 and not Path(name).exists():
            await asyncio.sleep(0.02)
        return f"{name} done at attempt {ctx.attempt}"
