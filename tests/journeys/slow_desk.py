"""Agents that hold a task until a named pipe is written to, so that a test decides when something happens to them."""

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
        """Only the first attempt waits, until somebody writes into the pipe of that name."""
        ctx.log.info("holding", pid=os.getpid(), attempt=ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.to_thread(Path(name).read_bytes)
        return f"{name} done at attempt {ctx.attempt}"
