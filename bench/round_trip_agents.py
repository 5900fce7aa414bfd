"""The agents of `bench/round_trip.py`: one that hands out, one that does next to nothing; and how their time is taken."""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import field

from pydantic import BaseModel

from bench.verdict import percentile
from orchestrator import StreamTask, Task, Workers, agent, task

TOPOLOGY = """\
version: 1
hub: {key: "${BENCH_KEY}"}
defaults: {restart: {condition: never}}
coordinators:
  boss: {handler: bench.round_trip_agents:Boss, workers: [worker]}
workers:
  worker: {handler: bench.round_trip_agents:Worker, concurrency: 64}
"""
SHOWN = 30
"""Lines of a profile."""


class Timing(BaseModel):
    """What one turn took, in the process of whoever waited."""

    seconds: float
    p50_ms: float
    """Of single tasks, or until the first token of each stream; 0 where none was timed."""
    p99_ms: float
    wrong: int
    """Answers that were not those expected."""


def timing(began: float, times: list[float], wrong: int) -> Timing:
    """Return what took from `began` until now, with single `times` in seconds."""
    p50, p99 = (percentile(times, share) * 1e3 for share in (0.5, 0.99))
    return Timing(seconds=time.perf_counter() - began, p50_ms=p50, p99_ms=p99, wrong=wrong)


async def ask_many(ask: Callable[[int], Awaitable[object]], count: int, window: int) -> Timing:
    """Ask with the numbers below `count`, of which each is the answer, `window` at a time."""
    numbers, wrong = iter(range(count)), 0
    times: list[float] = []

    async def one_after_another() -> None:
        nonlocal wrong
        for number in numbers:
            asked = time.perf_counter()
            wrong += await ask(number) != number
            times.append(time.perf_counter() - asked)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(window)))
    return timing(began, times, wrong)


async def read_many(stream: Callable[[], AsyncIterator[str]], count: int, tokens: int) -> Timing:
    """Read `count` streams of `tokens` words, one after the other."""
    times: list[float] = []
    wrong = 0
    expected = words(tokens)
    began = time.perf_counter()
    for _ in range(count):
        asked = time.perf_counter()
        read: list[str] = []
        async for token in stream():
            if not read:
                times.append(time.perf_counter() - asked)
            read.append(token)
        wrong += read != expected
    return timing(began, times, wrong)


def words(tokens: int) -> list[str]:
    """Return what a language model might say."""
    return [f"token{number} " for number in range(tokens)]


class Echo(Task[int]):
    number: int


class Tell(StreamTask[str]):
    tokens: int


class HandOut(Task[Timing]):
    """The boss gives so many tasks to the worker."""

    count: int
    window: int


class ReadOut(Task[Timing]):
    """The boss reads so many streams of the worker."""

    count: int
    tokens: int


class Record(Task[str]):
    """Begin a profile of the agent's process, or end it and return where its processor time went."""

    begin: bool


class Recorded:
    """A profile of the thread in which handlers run, the runtime around them included."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile(time.process_time)

    def record(self, asked: Record) -> str:
        if asked.begin:
            self._profile = cProfile.Profile(time.process_time)
            self._profile.enable()
            return ""
        self._profile.disable()
        table = io.StringIO()
        pstats.Stats(self._profile, stream=table).sort_stats("tottime").print_stats(SHOWN)
        return table.getvalue()


@agent
class Boss:
    workers: Workers
    recorded: Recorded = field(default_factory=Recorded)

    @task
    async def record(self, asked: Record) -> str:
        return self.recorded.record(asked)

    @task
    async def hand_out(self, asked: HandOut) -> Timing:
        if asked.window == 1:
            return await ask_many(lambda number: self.workers.run(Echo(number=number)), asked.count, 1)
        began = time.perf_counter()
        tasks = (Echo(number=number) for number in range(asked.count))
        seen = [number async for number in self.workers.map(tasks, limit=asked.window)]
        return timing(began, [], int(sorted(seen) != list(range(asked.count))))

    @task
    async def read_out(self, asked: ReadOut) -> Timing:
        return await read_many(lambda: self.workers.stream(Tell(tokens=asked.tokens)), asked.count, asked.tokens)


@agent
class Worker:
    recorded: Recorded = field(default_factory=Recorded)

    @task
    async def record(self, asked: Record) -> str:
        return self.recorded.record(asked)

    @task
    async def echo(self, asked: Echo) -> int:
        return asked.number

    @task
    async def tell(self, asked: Tell) -> AsyncIterator[str]:
        for word in words(asked.tokens):
            yield word
