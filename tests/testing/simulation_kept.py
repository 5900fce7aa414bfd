"""The third topology that our own simulations run: tasks that are kept in a store, whoever dies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import OrchestratorError
from orchestrator.store.tasks import FINAL, State
from orchestrator.testing.simulation_hub import World

KEPT = """
version: 1
store: 'memory:'
coordinators:
  miller: {handler: app:Miller, workers: [mill], replicas: 2}
workers:
  mill:
    handler: app:Mill
    replicas: 3
    concurrency: 2
    tasks: {delivery: at-least-once, timeout: 60s, max_attempts: 60, backoff: {delay: 500ms, max_delay: 2s}}
users:
  guest: {asks: [miller]}
"""


class Grind(Task[int]):
    number: int
    seconds: float
    fails: int


class Pour(StreamTask[int]):
    upto: int


class Bring(Task[str]):
    """Have all of it ground, and tell what became of it; the ids are noted down once they are on disk."""

    numbers: list[int]
    seconds: float
    fails: int


class Stream(Task[list[int]]):
    upto: int


@dataclass
class Ledger:
    """What the world outside has seen, in one run of the simulation."""

    stored: dict[str, int] = field(default_factory=dict)
    """The number of each task of which the store has said that it is on disk."""
    at_work: Counter[str] = field(default_factory=Counter)
    twice: list[str] = field(default_factory=list)
    """Tasks that were in two hands at once."""
    wrong: list[str] = field(default_factory=list)
    first: Counter[int] = field(default_factory=Counter)
    """How often somebody was told to be the first with a number."""


LEDGER = Ledger()


@agent
class Mill:
    @task
    async def grind(self, job: Grind, ctx: Context) -> int:
        LEDGER.at_work[ctx.task_id] += 1
        if LEDGER.at_work[ctx.task_id] > 1:
            LEDGER.twice.append(ctx.task_id)
        try:
            if ctx.attempt <= job.fails:
                raise ValueError("a stone between the stones")
            if (await ctx.once(f"number {job.number}")).first:
                LEDGER.first[job.number] += 1
            await asyncio.sleep(job.seconds)
            return 2 * job.number
        finally:
            LEDGER.at_work[ctx.task_id] -= 1

    @task
    async def pour(self, job: Pour) -> AsyncIterator[int]:
        for number in range(job.upto):
            yield number
            await asyncio.sleep(0.2)


@agent
class Miller:
    workers: Workers

    @task(idempotent=True)
    async def bring(self, job: Bring) -> str:
        handles = []
        for number in job.numbers:
            grind = Grind(number=number, seconds=job.seconds, fails=job.fails)
            handle = await self.workers.submit(grind, idempotency_key=str(number))
            LEDGER.stored[handle.id] = number
            handles.append(handle)
        for number, handle in zip(job.numbers, handles, strict=True):
            if (result := await handle.result()) != 2 * number:
                LEDGER.wrong.append(f"{number} came back as {result}")
        return "all of it"

    @task(idempotent=True)
    async def stream(self, job: Stream) -> list[int]:
        return [number async for number in self.workers.stream(Pour(upto=job.upto))]


async def harvest(world: World) -> None:
    """Have things ground for half a minute."""
    global LEDGER
    LEDGER = Ledger()
    dice = random.Random(world.seed)
    async with world.user("guest", "dora") as dora:
        await asyncio.gather(*(_asked(dora, dice, number) for number in range(dice.randint(4, 12))))


async def _asked(user: Any, dice: random.Random, number: int) -> None:
    seconds, fails, many = dice.choice((0.0, 0.5, 4.0, 35.0)), dice.choice((0, 0, 1, 3)), dice.randint(1, 6)
    streams = dice.random() < 0.2
    await asyncio.sleep(dice.uniform(0, 28))
    with suppress(OrchestratorError):
        if streams:
            got = await user.run("miller", Stream(upto=many * 5), timeout=120)
            if got != list(range(many * 5)):
                LEDGER.wrong.append(f"a stream of {many * 5} came back as {got}")
        else:
            numbers = [100 * number + each for each in range(many)]
            await user.run("miller", Bring(numbers=numbers, seconds=seconds, fails=fails), timeout=150)


def nothing_is_in_two_hands(_world: World) -> str | None:
    """A task is in the hands of one worker at a time, and what it comes to is true."""
    if LEDGER.twice:
        return f"{LEDGER.twice[0]} was worked on twice at once"
    if LEDGER.wrong:
        return LEDGER.wrong[0]
    twice = [number for number, count in LEDGER.first.items() if count > 1]
    return f"two were told to be the first with {twice[0]}" if twice else None


def all_that_was_stored_is_done(world: World) -> str | None:
    """Each task of which somebody was told that it is on disk has ended well."""
    tasks = world.tasks
    for task_id, number in LEDGER.stored.items():
        info = tasks.get(task_id)
        if info is None:
            return f"{task_id}, with the number {number}, is not in the store"
        if info is not State.DONE:
            return f"{task_id}, with the number {number}, is {info.value}"
    left = [task_id for task_id, state in tasks.items() if state not in FINAL]
    return f"{left[0]} is {tasks[left[0]].value}" if left else None
