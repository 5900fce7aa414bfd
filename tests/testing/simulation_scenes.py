"""The topology that our own simulations run: dispatch, streams, a team, a lobby and users, and a workload for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import Any

from orchestrator import Context, Event, Presence, StreamTask, Task, Team, Workers, agent, on_event, task
from orchestrator.errors import ConnectionProblem, DispatchError, OrchestratorError
from orchestrator.testing.simulation import Simulated, Simulation
from orchestrator.testing.simulation_faults import KINDS, HalfOpen, Lossy, Mishap, NoStore, Parted, Schedule
from orchestrator.testing.simulation_hub import World
from tests.testing.simulation_desks import BEST_EFFORT, STRONG, Clerk, divide, nothing_written_is_lost
from tests.testing.simulation_kept import (
    KEPT,
    Mill,
    Miller,
    all_that_was_stored_is_done,
    harvest,
    nothing_is_in_two_hands,
)

TOPOLOGY = """
version: 1
hub: {token_ttl: "${TTL:-15m}"}
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 3, concurrency: 2, tasks: {timeout: 150s}}
agents:
  checker: {handler: app:Checker, replicas: 2}
  porter: {handler: app:Porter}
teams:
  desk: {members: [checker, boss]}
presence:
  hall: {members: [boss, helper, checker], watchers: [porter, reader]}
users:
  reader: {asks: [boss, helper, checker]}
"""


class Shout(Task[str]):
    """May be done twice."""

    word: str
    seconds: float


class Pay(Task[str]):
    """Must not be done twice."""

    word: str
    seconds: float


class Count(StreamTask[int]):
    upto: int
    pause: float


class Say(StreamTask[str]):
    prompt: str


class Order(Task[list[str]]):
    """The boss has all of it done, and tells what became of each part."""

    words: list[str]
    once: bool


class Opened(Event):
    number: int


@agent
class Boss:
    workers: Workers
    desk: Team

    @task
    async def order(self, job: Order) -> list[str]:
        return list(await asyncio.gather(*(self._one(word, once=job.once) for word in job.words)))

    async def _one(self, word: str, *, once: bool) -> str:
        wanted: Task[str] = Pay(word=word, seconds=1) if once else Shout(word=word, seconds=1)
        try:
            return await self.workers.run(wanted)
        except DispatchError as error:
            return type(error).__name__

    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        for number, word in enumerate(ask.prompt.split()):
            with suppress(ConnectionProblem):
                await self.desk.publish(Opened(number=number))
            yield f"{word} "
            await asyncio.sleep(0.3)

    @task
    async def relay(self, ask: Count) -> AsyncIterator[int]:
        async for number in self.workers.stream(ask):
            yield number


@agent
class Helper:
    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        await asyncio.sleep(job.seconds)
        return job.word.upper()

    @task
    async def pay(self, job: Pay, ctx: Context) -> str:
        ctx.progress(0.5, "half of it")
        await asyncio.sleep(job.seconds)
        return f"paid {job.word}"

    @task
    async def count(self, ask: Count) -> AsyncIterator[int]:
        for number in range(ask.upto):
            yield number
            await asyncio.sleep(ask.pause)


@agent
class Checker:
    desk: Team
    heard: list[int] = field(default_factory=list)

    @on_event
    async def opened(self, event: Opened) -> None:
        self.heard.append(event.number)

    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        return job.word


@agent
class Porter:
    hall: Presence


HANDLERS: dict[str, type] = {"boss": Boss, "helper": Helper, "checker": Checker, "porter": Porter}


async def workload(world: World) -> None:
    """Ask for all kinds of things for half a minute."""
    dice = random.Random(world.seed)
    async with world.user("reader", "alice") as alice, world.user("reader", "bob") as bob:
        asked = [_asked(dice.choice((alice, bob)), dice) for _ in range(dice.randint(6, 13))]
        await asyncio.gather(*asked)


async def _asked(user: Any, dice: random.Random) -> None:
    kind, number = dice.randrange(7), dice.randrange(100)
    seconds, pause, few = dice.uniform(0, 3), dice.choice((0.0, 0.1, 0.5, 1.0)), dice.randint(1, 25)
    leaves = dice.random() < 0.1
    seconds = 60.0 if leaves else seconds
    await asyncio.sleep(dice.uniform(0, 30))
    try:
        async with asyncio.timeout(dice.uniform(0, 3) if leaves else None):
            if kind == 0:
                await user.run("helper", Pay(word=str(number), seconds=seconds), timeout=150)
            elif kind == 1:
                await user.ask("boss", "one two three", timeout=150)
            elif kind == 2:
                async for _ in user.stream("helper", Count(upto=few, pause=pause), timeout=150, wait=number % 3):
                    pass
            elif kind in (3, 6):
                async for _ in user.stream("boss", Count(upto=few, pause=pause), timeout=150):
                    pass
            else:
                words = [f"{number}-{part}" for part in range(few % 8)]
                await user.run("boss", Order(words=words, once=kind == 4), timeout=200)
    except (OrchestratorError, TimeoutError):
        pass


class Scenes:
    """Some topologies with their workloads, one of them for each seed, in turn."""

    def __init__(self, *names: str, **options: Any) -> None:
        """`names` are keys of `SCENES`; none = all."""
        self._scenes = [SCENES[name](**options) for name in names or SCENES]

    def run(self, seed: int, schedule: Schedule | None = None, *, shrinks: bool = True) -> Simulated:
        return self._scenes[seed % len(self._scenes)].run(seed, schedule, shrinks=shrinks)


def newsroom(**options: Any) -> Simulation:
    return Simulation(TOPOLOGY, workload, handlers=HANDLERS, **options)


def renewing(**options: Any) -> Simulation:
    """With tokens that are renewed within a minute: each renewal also heals what was missed."""
    return newsroom(environ={"TTL": "1m"}, **options)


def desk(topology: str, *more: type[Mishap], **options: Any) -> Simulation:
    """`more` are the kinds of mishaps that matter most to claims of that kind."""
    at_rest = [nothing_written_is_lost]
    kinds = (*KINDS, *more)
    return Simulation(topology, divide, handlers={"clerk": Clerk}, at_rest=at_rest, kinds=kinds, **options)


def kept(**options: Any) -> Simulation:
    return Simulation(
        KEPT,
        harvest,
        handlers={"miller": Miller, "mill": Mill},
        always=[nothing_is_in_two_hands],
        at_rest=[all_that_was_stored_is_done],
        kinds=(*KINDS, NoStore, NoStore),
        **options,
    )


SCENES: dict[str, Callable[..., Simulation]] = {
    "newsroom": newsroom,
    "best-effort": partial(desk, BEST_EFFORT, Parted, Parted, Lossy, HalfOpen),
    "renewing": renewing,
    "kept": kept,
    "strong": partial(desk, STRONG, NoStore, NoStore, NoStore, NoStore, NoStore),
}
