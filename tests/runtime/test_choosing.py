"""What callers may say of who takes a task and how far it is, from the public names to the hub and back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import field

import pytest

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import NoWorkerAvailable, TaskCancelled, TaskFailed, TaskTimeout
from orchestrator.patterns.workforce import LEAST_APPETITE
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
coordinators:
  desk: {handler: app:Desk, workers: [clerk], concurrency: 100}
workers:
  clerk: {handler: app:Clerk, replicas: 4}
users:
  reader: {asks: [desk, clerk]}
"""


class Serve(Task[str]):
    customer: str
    seconds: float = 1.0


class Count(Task[int]):
    upto: int


class Tell(StreamTask[str]):
    customer: str


class Sort(Task[dict[str, set[str]]]):
    """Which clerks served each customer."""

    customers: list[str]


class Watch(Task[list[tuple[float | None, str | None]]]):
    upto: int


class Hurry(Task[str]):
    wait: float


@agent
class Clerk:
    served: list[str] = field(default_factory=list)

    @task
    async def serve(self, job: Serve, ctx: Context) -> str:
        await asyncio.sleep(job.seconds)
        self.served.append(job.customer)
        return ctx.log.bind()._context["peer"]  # type: ignore[no-any-return]

    @task
    async def count(self, job: Count, ctx: Context) -> int:
        for number in range(job.upto):
            ctx.progress(number / job.upto, f"at {number}")
            await asyncio.sleep(1)
        return job.upto

    @task
    async def tell(self, ask: Tell) -> AsyncIterator[str]:
        self.served.append(ask.customer)
        yield ask.customer


@agent
class Desk:
    workers: Workers

    @task
    async def sort(self, job: Sort) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        tasks = [Serve(customer=name) for name in job.customers]
        replies = self.workers.map(tasks, key=lambda task: task.model_dump()["customer"], ordered=True)
        async for name in _enumerated(replies):
            found.setdefault(job.customers[name[0]], set()).add(name[1])
        return found

    @task
    async def watch(self, job: Watch) -> list[tuple[float | None, str | None]]:
        handle = self.workers.submit(Count(upto=job.upto))
        seen: list[tuple[float | None, str | None]] = []
        for _ in range(job.upto + 1):
            progress = handle.progress
            seen.append((None, None) if progress is None else (progress.fraction, progress.message))
            await asyncio.sleep(1)
        assert await handle.result() == job.upto
        return seen

    @task
    async def hurry(self, job: Hurry) -> str:
        return await self.workers.run(Serve(customer="x"), wait=job.wait, timeout=60)


async def _enumerated(replies: AsyncIterator[str]) -> AsyncIterator[tuple[int, str]]:
    number = 0
    async for reply in replies:
        yield number, reply
        number += 1


HANDLERS = {"desk": Desk, "clerk": Clerk}


def everything(only: list[str] | None = None) -> TestHub:
    return TestHub(TOPOLOGY, handlers=HANDLERS, only=only)


@virtual
async def test_tasks_with_one_key_meet_one_worker_and_all_keys_together_all_of_them() -> None:
    async with everything() as hub:
        customers = [f"customer {number}" for number in range(40)]
        found = await hub.run("desk", Sort(customers=customers * 3))
        assert {len(clerks) for clerks in found.values()} == {1}
        shares = Counter(clerk for (clerk,) in found.values())
        assert set(shares) == {"clerk.1", "clerk.2", "clerk.3", "clerk.4"}


@virtual
async def test_a_worker_that_joins_takes_over_its_share_of_the_keys() -> None:
    async with everything(only=["desk", "clerk.1", "clerk.2", "clerk.3"]) as hub:
        customers = [f"customer {number}" for number in range(40)]
        before = await hub.run("desk", Sort(customers=customers))
        await hub.start("clerk.4")
        after = await hub.run("desk", Sort(customers=customers))
        moved = {name for name in customers if before[name] != after[name]}
        assert moved
        assert {clerk for name in moved for clerk in after[name]} == {"clerk.4"}


@virtual
async def test_a_users_tasks_and_streams_with_one_key_meet_one_replica() -> None:
    async with everything() as hub, hub.user("reader", "ann") as ann:
        replies = [await ann.run("clerk", Serve(customer="c"), key="c") for _ in range(8)]
        assert len(set(replies)) == 1
        assert [chunk async for chunk in ann.stream("clerk", Tell(customer="streamed"), key="c")] == ["streamed"]
        assert hub.agent(replies[0]).served == ["c"] * 8 + ["streamed"]
        spread = {await ann.run("clerk", Serve(customer="c"), key=str(number)) for number in range(30)}
        assert len(spread) == 4


@virtual
async def test_a_handle_tells_how_far_its_worker_says_it_is() -> None:
    async with everything() as hub:
        assert await hub.run("desk", Watch(upto=3)) == [
            (None, None),
            (0.0, "at 0"),
            (1 / 3, "at 1"),
            (2 / 3, "at 2"),
        ]


@virtual
async def test_a_users_handle_has_an_id_progress_and_an_end() -> None:
    async with everything() as hub, hub.user("reader", "ann") as ann:
        counting, dropped = ann.submit("clerk", Count(upto=4)), ann.submit("clerk", Count(upto=4))
        assert counting.id != dropped.id
        await hub.advance(2.5)
        assert counting.progress is not None
        assert counting.progress.message == "at 2"
        dropped.cancel()
        with pytest.raises(TaskCancelled):
            await dropped.result()
        assert await counting.result() == await counting.result() == 4


@virtual
async def test_nobody_there_is_said_at_once_or_after_the_wait() -> None:
    async with everything(only=["desk"]) as hub, hub.user("reader", "ann") as ann:
        await hub.advance(10)
        began = hub.now
        with pytest.raises(NoWorkerAvailable):
            await ann.run("clerk", Serve(customer="x"))
        with pytest.raises(TaskFailed, match="NoWorkerAvailable"):
            await hub.run("desk", Hurry(wait=0.0))
        assert hub.now - began < 0.1
        for waiting in (ann.run("clerk", Serve(customer="x"), wait=7.0), hub.run("desk", Hurry(wait=7.0))):
            began = hub.now
            with pytest.raises((NoWorkerAvailable, TaskFailed), match="no worker is online"):
                await waiting
            assert 6.99 <= hub.now - began < 7.5
        with pytest.raises(TaskTimeout):
            await ann.run("clerk", Serve(customer="x"), wait=60.0, timeout=5.0)


@virtual
async def test_who_tries_again_and_again_lets_the_others_have_their_turns() -> None:
    async with everything(only=["desk"]) as hub:
        await hub.advance(10)  # from then on the hub knows that nobody is there
        turns, workers = 0, hub.agent("desk").workers

        async def others() -> None:
            nonlocal turns
            for turns in range(500):  # noqa: B007 - it is read outside
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        for _ in range(100):
            with pytest.raises(NoWorkerAvailable):
                await workers.run(Serve(customer="x"))
            with pytest.raises(NoWorkerAvailable):
                await anext(aiter(workers.stream(Tell(customer="x"))))
        assert turns >= 190
        await beside


@virtual
async def test_a_map_has_twice_as_much_under_way_as_its_workers_take_and_more_when_more_come() -> None:
    async with everything(only=["desk", "clerk.1"]) as hub:
        made: list[int] = []

        def jobs() -> Iterator[Serve]:
            for number in range(200):
                made.append(number)
                yield Serve(customer=str(number))

        replies = hub.agent("desk").workers.map(jobs())
        await anext(replies)
        assert len(made) == LEAST_APPETITE
        await hub.start("clerk")
        for _ in range(20):
            await anext(replies)
        assert len(made) <= 21 + LEAST_APPETITE
        assert len([reply async for reply in replies]) == 179


@virtual
async def test_who_comes_within_the_wait_gets_the_task() -> None:
    async with everything(only=["desk"]) as hub, hub.user("reader", "ann") as ann:
        await hub.advance(10)
        asked = [asyncio.create_task(ann.run("clerk", Serve(customer="x"), wait=30.0))]
        asked.append(asyncio.create_task(hub.run("desk", Hurry(wait=30.0))))
        await hub.advance(12)
        await hub.start("clerk.2")
        assert await asyncio.gather(*asked) == ["clerk.2", "clerk.2"]


@virtual
async def test_a_user_finds_agents_that_come_back_with_it_after_the_hub_was_gone() -> None:
    async with everything() as hub, hub.user("reader", "ann") as ann:
        assert await ann.run("clerk", Serve(customer="x"))
        hub.drop("clerk")
        hub.drop("reader/ann")
        await hub.advance(0.05)
        while ann.state != "connected":  # noqa: ASYNC110 - of virtual time, looking takes none
            await asyncio.sleep(0.01)
        assert (await ann.run("clerk", Serve(customer="x"))).startswith("clerk.")
