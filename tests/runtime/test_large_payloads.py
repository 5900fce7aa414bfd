"""What is larger than a message goes in parts between agents of this package, and anywhere else is refused by its size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import field
from typing import Any

import pytest

from orchestrator import StreamTask, Task, User, Workers, agent, task
from orchestrator.errors import PayloadTooLarge, TaskFailed
from orchestrator.patterns.stream import ACK_BYTES, REPLAY_BYTES
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
coordinators:
  desk: {handler: app:Desk, workers: [mirror, program], concurrency: 8}
workers:
  mirror: {handler: app:Mirror, replicas: 2, concurrency: 4}
  program: {command: [elsewhere], handles: [Foreign]}
users:
  reader: {asks: [desk, mirror, program]}
"""
MIB = 1_048_576


class Mirrored(Task[str]):
    text: str
    times: int = 1


class Foreign(Task[str]):
    text: str


class Pages(StreamTask[str]):
    sizes: list[int]


class Through(Task[int]):
    """The desk has texts of these sizes mirrored."""

    sizes: list[int]


class Abroad(Task[str]):
    size: int


@agent
class Mirror:
    made: list[int] = field(default_factory=list)

    @task
    async def mirror(self, job: Mirrored) -> str:
        return job.text * job.times

    @task
    async def pages(self, job: Pages) -> AsyncIterator[str]:
        for number, size in enumerate(job.sizes):
            yield str(number % 10) * size
            self.made.append(size)


@agent
class Desk:
    workers: Workers

    @task
    async def through(self, job: Through) -> int:
        texts = [str(number % 10) * size for number, size in enumerate(job.sizes)]
        found = [text async for text in self.workers.map([Mirrored(text=text) for text in texts], ordered=True)]
        assert found == texts
        return len(found)

    @task
    async def abroad(self, job: Abroad) -> str:
        return await self.workers.run(Foreign(text="x" * job.size))


async def program(user: User, inbox: AsyncIterator[Any]) -> None:
    async for message in inbox:
        await user.send(message.sender, {"type": "task-result", "taskId": message.data["taskId"], "result": "small"})


def everything() -> TestHub:
    return TestHub(TOPOLOGY, handlers={"desk": Desk, "mirror": Mirror}, stand_ins={"program": program})


@virtual
async def test_tasks_and_replies_of_several_mebibytes_arrive_whole() -> None:
    async with everything() as hub:
        text = "wörld \\ \n" * (3 * MIB // 10)
        assert await hub.run("mirror", Mirrored(text=text)) == text
        assert await hub.run("desk", Through(sizes=[70_000, 10, 3 * MIB, 65_000, 66_000, 500_000, 0, 2 * MIB])) == 8


@virtual
async def test_large_chunks_arrive_whole_in_order_and_without_filling_memory() -> None:
    async with everything() as hub:
        sizes = [100_000, 5, 3 * MIB, 5, *[300_000] * 40]
        pages = [page async for page in hub.stream("mirror.1", Pages(sizes=sizes))]
        assert pages == [str(number % 10) * size for number, size in enumerate(sizes)]


@virtual
async def test_a_reader_who_dawdles_over_large_chunks_holds_up_their_producer() -> None:
    async with everything() as hub:
        pages = hub.stream("mirror.1", Pages(sizes=[300_000] * 60))
        first = [await anext(pages) for _ in range(3)]
        await hub.advance(30)
        assert sum(hub.agent("mirror.1").made) < REPLAY_BYTES + ACK_BYTES + 5 * 300_000
        rest = [page async for page in pages]
        assert len(first + rest) == 60


@virtual
async def test_large_things_survive_that_connections_end_on_their_way() -> None:
    async with everything() as hub:
        text = "x" * (2 * MIB)
        for name in ("mirror.1", "mirror.2", "mirror"):
            found = hub.stream("mirror.1", Pages(sizes=[MIB] * 6))
            pages = [await anext(found)]
            hub.drop(name)
            pages += [page async for page in found]
            assert [len(page) for page in pages] == [MIB] * 6
        assert await hub.run("mirror", Mirrored(text=text)) == text


@virtual
async def test_more_than_eight_mebibytes_are_refused_with_both_sizes() -> None:
    async with everything() as hub:
        with pytest.raises(PayloadTooLarge, match="at most 8388608 can be sent"):
            await hub.run("mirror", Mirrored(text="x" * (9 * MIB)))
        with pytest.raises(TaskFailed, match=r"PayloadTooLarge.*at most 8388608 can be sent"):
            await hub.run("mirror", Mirrored(text="x" * MIB, times=9))


@virtual
async def test_a_program_of_another_kind_gets_whole_messages_or_none() -> None:
    async with everything() as hub:
        assert await hub.run("desk", Abroad(size=60_000)) == "small"
        with pytest.raises(TaskFailed, match=r"PayloadTooLarge.*at most 65536 can be sent"):
            await hub.run("desk", Abroad(size=70_000))
        async with hub.user("reader", "ann") as ann:
            with pytest.raises(PayloadTooLarge):
                await ann.run("program", Foreign(text="x" * 70_000))
