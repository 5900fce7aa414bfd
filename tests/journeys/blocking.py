"""Agents that take their time in each of the ways in which one can."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from orchestrator import Context, StreamTask, Task, Workers, agent, every, task
from orchestrator.errors import DispatchError

GATE: Final = "GATE"
"""The variable that names the pipe which lets go on who waits, when it is written to."""
LONGER_THAN_ANY_TEST: Final = 1000.0


class Ask(StreamTask[str]):
    prompt: str


class Wait(Task[str]):
    """Ends when the gate is opened."""

    how: str = ""


class Count(StreamTask[str]):
    """Waits at the gate in its middle."""


class Block(Task[str]):
    seconds: float


class Quick(Task[str]):
    pass


@agent
class Boss:
    workers: Workers

    @task
    async def ask(self, ask: Ask, ctx: Context) -> AsyncIterator[str]:
        kind, _, more = ask.prompt.partition(" ")
        try:
            if kind == "count":
                async for part in self.workers.stream(Count()):
                    yield part
            elif kind == "block":
                yield await self.workers.run(Block(seconds=float(more)))
            elif kind == "quick":
                yield await self.workers.run(Quick())
            else:
                yield await self.workers.run(Wait(how=more))
        except DispatchError as error:
            yield f"{type(error).__name__}: {error}"


async def wait_at_gate(ctx: Context) -> None:
    ctx.log.info("waits", pid=os.getpid())
    await asyncio.to_thread(Path(os.environ[GATE]).read_bytes)


@agent
class Waiter:
    @task
    async def wait(self, job: Wait, ctx: Context) -> str:
        if job.how != "deaf":
            await wait_at_gate(ctx)
            return "waited to the end"
        ctx.log.info("waits", pid=os.getpid())
        while True:
            try:
                await asyncio.sleep(LONGER_THAN_ANY_TEST)
            except asyncio.CancelledError:
                ctx.log.info("does not care")

    @task
    async def count(self, job: Count, ctx: Context) -> AsyncIterator[str]:
        yield "one "
        await wait_at_gate(ctx)
        for number in ("two ", "three ", "end"):
            yield number


@agent
class SlowComer:
    """Is long in setting up."""

    async def setup(self) -> None:
        print("sets up", flush=True)
        await asyncio.sleep(LONGER_THAN_ANY_TEST)


@agent
class LateComer:
    """Blocks its event loop while it sets up, for longer than a watchdog would stand."""

    async def setup(self) -> None:
        time.sleep(1.8)  # noqa: ASYNC251 - that is what it is for


@agent
class Blocker:
    """Blocks its event loop at the first attempt."""

    @task
    async def block(self, job: Block, ctx: Context) -> str:
        ctx.log.info("blocks", pid=os.getpid(), attempt=ctx.attempt)
        if ctx.attempt == 1:
            time.sleep(job.seconds)  # noqa: ASYNC251 - that is what it is for
        return f"done at attempt {ctx.attempt}"


@agent
class Sleeper:
    """Blocks its event loop once, of itself."""

    slept: bool = False

    @every("50ms")
    async def sleep(self, ctx: Context) -> None:
        if not self.slept:
            self.slept, began = True, time.monotonic()
            time.sleep(2.2)  # noqa: ASYNC251 - that is what it is for
            ctx.log.info("has blocked", seconds=time.monotonic() - began)


@agent
class Threaded:
    """Blocks a thread, as a handler that is no coroutine may."""

    @task
    def block(self, job: Block, ctx: Context) -> str:
        time.sleep(job.seconds)
        return f"done at attempt {ctx.attempt}"


@agent
class Pacer:
    """Asks for something quick, again and again, and says how long that took."""

    workers: Workers

    @every("50ms")
    async def pace(self, ctx: Context) -> None:
        began = time.monotonic()
        await self.workers.run(Quick())
        ctx.log.info("paced", seconds=time.monotonic() - began)


@agent
class Quickly:
    @task
    async def quick(self, job: Quick) -> str:
        return "quick"


@agent
class Stubborn:
    """Takes longer to leave than anybody waits."""

    async def teardown(self) -> None:
        while True:
            try:
                await asyncio.sleep(LONGER_THAN_ANY_TEST)
            except asyncio.CancelledError:
                continue
