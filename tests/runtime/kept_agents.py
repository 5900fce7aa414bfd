"""Agents whose tasks are kept in a store, for tests that disturb them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from orchestrator import Context, Handle, StreamTask, Task, Workers, agent, task
from orchestrator.testing import TestHub

TOPOLOGY = """
version: 1
name: kept
store: 'memory:'
coordinators:
  boss: {handler: "kept:Boss", workers: [worker]}
workers:
  worker:
    handler: "kept:Worker"
    replicas: %(replicas)d
    concurrency: %(concurrency)d
    tasks: {delivery: at-least-once, timeout: 2m, max_attempts: %(attempts)d, backoff: {delay: 1s, max_delay: 4s}}
"""


class Work(Task[int]):
    number: int
    seconds: float = 1.0
    fails: int = 0
    """Attempts that fail before one does not."""


class Lines(StreamTask[str]):
    count: int
    seconds: float = 0.1
    fails: int = 0
    """Attempts that fail after a line, before one does not."""


class Blocking(Task[int]):
    """Done by a plain function, in a thread."""


class Idle(Task[None]):
    """Nothing to do: the test calls the coordinator itself."""


class Effects:
    """What workers have done, as a sink sees it."""

    begun: ClassVar[list[tuple[str, int, int]]] = []
    """Worker, number and attempt."""
    ended: ClassVar[Counter[int]] = Counter()
    had: ClassVar[Counter[int]] = Counter()
    """Effects, of which each is to be had once."""
    stopped: ClassVar[list[int]] = []

    @classmethod
    def clear(cls) -> None:
        cls.begun.clear()
        cls.ended.clear()
        cls.had.clear()
        cls.stopped.clear()


@agent
class Worker:
    @task
    async def work(self, message: Work, context: Context) -> int:
        Effects.begun.append((str(context.log._context["peer"]), message.number, context.attempt))
        if context.attempt <= message.fails:
            raise ValueError(f"attempt {context.attempt} of {message.number}")
        if (await context.once(f"effect {message.number}")).first:
            Effects.had[message.number] += 1
        try:
            await asyncio.sleep(message.seconds)
        except asyncio.CancelledError:
            Effects.stopped.append(message.number)
            raise
        Effects.ended[message.number] += 1
        return 2 * message.number

    @task
    def blocking(self, _message: Blocking, context: Context) -> int:
        context.once("nobody awaits this")
        return 1

    @task
    async def lines(self, message: Lines, context: Context) -> AsyncIterator[str]:
        for number in range(message.count):
            if number == 1 and context.attempt <= message.fails:
                raise ValueError("torn")
            yield f"{context.attempt}/{number}"
            await asyncio.sleep(message.seconds)


@agent
class Boss:
    workers: Workers

    @task
    async def idle(self, _message: Idle) -> None: ...

    async def put(self, message: Work, **options: Any) -> Handle[int]:
        return await self.workers.submit(message, **options)


def hub(*, replicas: int = 2, concurrency: int = 2, attempts: int = 5, seed: int = 0) -> TestHub:
    Effects.clear()
    text = TOPOLOGY % {"replicas": replicas, "concurrency": concurrency, "attempts": attempts}
    return TestHub(text, handlers={"boss": Boss, "worker": Worker}, seed=seed)
