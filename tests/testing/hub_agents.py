"""A coordinator and workers whose progress their tests can see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from orchestrator import Context, Event, StreamTask, Task, Team, Workers, agent, on_event, task

TOPOLOGY = """
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 3, tasks: {timeout: 30s}}
users:
  reader: {asks: [boss]}
"""


class Shout(Task[str]):
    word: str


class Slow(Task[str]):
    """Takes `seconds`; may be done twice."""

    seconds: float


class Once(Task[str]):
    """Takes `seconds`; must not be done twice."""

    seconds: float


class Count(StreamTask[int]):
    upto: int
    pause: float = 0.0


class Say(StreamTask[str]):
    prompt: str


class Threaded(Task[int]):
    real_seconds: float


class Delegate(Task[str]):
    """The boss has it done by a helper."""

    seconds: float
    once: bool = False


@agent
class Boss:
    workers: Workers

    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        async for loud in self.workers.map([Shout(word=word) for word in ask.prompt.split()], ordered=True):
            yield f"{loud} "

    @task
    async def delegate(self, job: Delegate) -> str:
        wanted: Task[str] = Once(seconds=job.seconds) if job.once else Slow(seconds=job.seconds)
        return await self.workers.run(wanted)


@agent
class Helper:
    begun: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    async def teardown(self) -> None:
        self.ended.append("teardown")

    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        return job.word.upper()

    @task(idempotent=True)
    async def slow(self, job: Slow, ctx: Context) -> str:
        return await self._work(ctx.task_id, job.seconds)

    @task
    async def once(self, job: Once, ctx: Context) -> str:
        return await self._work(ctx.task_id, job.seconds)

    async def _work(self, task_id: str, seconds: float) -> str:
        self.begun.append(task_id)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(task_id)
            raise
        return "done"

    @task
    async def count(self, ask: Count) -> AsyncIterator[int]:
        for number in range(ask.upto):
            await asyncio.sleep(ask.pause)
            yield number

    @task
    def threaded(self, job: Threaded, ctx: Context) -> int:
        time.sleep(job.real_seconds)
        ctx.log.info("slept")
        return 7


HANDLERS = {"boss": Boss, "helper": Helper}

DESK = """
version: 1
agents:
  caller: {handler: app:Caller}
  listener: {handler: app:Listener, replicas: 2}
teams:
  desk: {members: [caller, listener]}
"""


class Opened(Event):
    number: int
    padding: str = ""


class Open(Task[int]):
    upto: int
    padding: int = 0
    """Bytes."""


@agent
class Caller:
    desk: Team

    @task
    async def open(self, job: Open) -> int:
        for number in range(job.upto):
            await self.desk.publish(Opened(number=number, padding="-" * job.padding))
        return job.upto


@agent
class Listener:
    desk: Team
    heard: list[int] = field(default_factory=list)

    @on_event
    async def opened(self, event: Opened) -> None:
        self.heard.append(event.number)


DESK_HANDLERS = {"caller": Caller, "listener": Listener}


@dataclass
class Unused:
    """A class that is no agent."""
