"""Agents on a hub that limits their messages: streams say the same in fewer of them, and nothing is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from orchestrator import StreamTask, Task, Workers, agent, task
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
coordinators:
  desk: {handler: app:Desk, workers: [teller]}
workers:
  teller: {handler: app:Teller, replicas: 2, concurrency: 8}
"""
TOKENS = 2_000


class Tell(StreamTask[str]):
    tokens: int


class Items(StreamTask[Literal["a", "b"]]):
    """Text of which each chunk means something."""

    count: int


class Note(Task[int]):
    number: int


class Many(Task[int]):
    count: int


@agent
class Teller:
    @task
    async def tell(self, ask: Tell) -> AsyncIterator[str]:
        for number in range(ask.tokens):
            yield f"{number} "

    @task
    async def items(self, ask: Items) -> AsyncIterator[Literal["a", "b"]]:
        for _ in range(ask.count):
            yield "a"

    @task
    async def note(self, job: Note) -> int:
        return job.number


@agent
class Desk:
    workers: Workers

    @task
    async def many(self, job: Many) -> int:
        return sum([reply async for reply in self.workers.map([Note(number=1) for _ in range(job.count)])])


def everything(rate: tuple[float, int] | None) -> TestHub:
    return TestHub(TOPOLOGY, handlers={"desk": Desk, "teller": Teller}, rate=rate)


def cuts(hub: TestHub) -> list[str]:
    return [record["event"] for record in hub.log if record["event"] == "connection lost"]


@virtual
async def test_many_tokens_share_a_message_when_the_budget_is_short_and_the_first_waits_for_nothing() -> None:
    async with everything((100, 200)) as hub:
        began = hub.now
        chunks = hub.stream("teller.1", Tell(tokens=TOKENS))
        got = [await anext(chunks)]
        assert hub.now - began < 0.01
        got += [chunk async for chunk in chunks]
        assert got == [f"{number} " for number in range(TOKENS)]
        assert hub.now - began < 5
        assert cuts(hub) == []


@virtual
async def test_text_stays_in_the_chunks_it_was_yielded_in_as_long_as_there_is_no_need() -> None:
    async with everything(None) as hub:
        got = [chunk async for chunk in hub.stream("teller.1", Tell(tokens=TOKENS))]
        assert got == [f"{number} " for number in range(TOKENS)]


@virtual
async def test_chunks_that_are_no_free_text_are_never_merged() -> None:
    async with everything((100, 200)) as hub:
        began = hub.now
        assert [chunk async for chunk in hub.stream("teller.1", Items(count=1_000))] == ["a"] * 1_000
        assert hub.now - began < 5
        assert cuts(hub) == []


@virtual
async def test_streams_beside_each_other_share_the_budget_of_their_connection() -> None:
    async with everything((100, 200)) as hub:

        async def told() -> str:
            return "".join([chunk async for chunk in hub.stream("teller.1", Tell(tokens=500))])

        assert set(await asyncio.gather(*(told() for _ in range(6)))) == {"".join(f"{n} " for n in range(500))}
        assert cuts(hub) == []


@pytest.mark.parametrize("rate", [(100.0, 200), (20.0, 20), (5.0, 3)])
def test_many_tasks_are_all_done_within_the_budget_of_their_coordinator(rate: tuple[float, int]) -> None:
    @virtual
    async def run() -> None:
        async with everything(rate) as hub:
            assert await hub.run("desk", Many(count=300)) == 300
            assert cuts(hub) == []

    run()
