"""Thousands of tasks of uneven length over a few workers, and workers that are not there; in virtual time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from orchestrator import Task, Workers, agent, task
from orchestrator.errors import DispatchError, NoWorkerAvailable, TaskTimeout, WorkerLost
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 4, tasks: {timeout: 2h}}
"""
FEW, MANY = 800, 3_000
FIRST_THREE = ("boss", "helper.1", "helper.2", "helper.3")
SEEDS = ((1, FEW), *(pytest.param(seed, MANY, marks=pytest.mark.bars) for seed in range(1, 12)))


class Piece(Task[int]):
    """A piece of work that must not be done twice."""

    number: int
    seconds: float


class Safe(Task[int]):
    """The same where doing it twice is harmless."""

    number: int
    seconds: float


@agent
class Boss:
    workers: Workers


@agent
class Helper:
    begun: list[float] = field(default_factory=list)
    """When each piece was begun, by the loop's clock."""
    done: list[int] = field(default_factory=list)

    @task
    async def piece(self, job: Piece) -> int:
        return await self._work(job.number, job.seconds)

    @task(idempotent=True)
    async def safe(self, job: Safe) -> int:
        return await self._work(job.number, job.seconds)

    async def _work(self, number: int, seconds: float) -> int:
        self.begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        self.done.append(number)
        return number


def four_helpers(*only: str) -> TestHub:
    return TestHub(TOPOLOGY, handlers={"boss": Boss, "helper": Helper}, only=only or None)


def uneven(seed: int, count: int) -> list[float]:
    """Return seconds of work: most take less than two, and one in a thousand more than fifty."""
    chance = random.Random(seed)
    return [min(chance.paretovariate(1.5), 100.0) for _ in range(count)]


def ideal(lengths: list[float], workers: int) -> float:
    """Return the seconds that nobody can do it in less of."""
    return max(sum(lengths) / workers, max(lengths))


@dataclass
class Run:
    """What a run of many pieces came to; times are seconds from its start."""

    numbers: list[int]
    took: float


async def hand_out(hub: TestHub, lengths: list[float], limit: int | None = None) -> Run:
    began = hub.now
    workers: Workers = hub.agent("boss").workers
    pieces = [Piece(number=number, seconds=seconds) for number, seconds in enumerate(lengths)]
    return Run([number async for number in workers.map(pieces, limit=limit)], hub.now - began)


# -- many


@virtual
@pytest.mark.parametrize(("seed", "tasks"), SEEDS)
async def test_three_workers_share_uneven_tasks_as_well_as_can_be(seed: int, tasks: int) -> None:
    lengths = uneven(seed, tasks)
    async with four_helpers(*FIRST_THREE) as hub:
        run = await hand_out(hub, lengths, limit=100)
        done = [number for peer in FIRST_THREE[1:] for number in hub.agent(peer).done]
    assert sorted(done) == list(range(tasks)), "each was done exactly once"
    assert sorted(run.numbers) == list(range(tasks)), "and answered once"
    assert run.took <= 1.1 * ideal(lengths, 3)


@virtual
async def test_the_same_where_the_caller_names_no_limit() -> None:
    lengths = uneven(12, 1_200)
    async with four_helpers(*FIRST_THREE) as hub:
        run = await hand_out(hub, lengths)
    assert sorted(run.numbers) == list(range(1_200))
    assert run.took <= 1.1 * ideal(lengths, 3)


@virtual
@pytest.mark.parametrize(("seed", "tasks"), SEEDS)
async def test_a_worker_that_comes_in_the_middle_takes_its_share(seed: int, tasks: int) -> None:
    lengths = uneven(seed, tasks)
    async with four_helpers(*FIRST_THREE) as hub:
        running = asyncio.create_task(hand_out(hub, lengths, limit=100))
        began = hub.now
        await hub.advance(sum(lengths) / 6)
        await hub.start("helper.4")
        joined = hub.now - began
        left = sum(lengths) - 3 * joined  # nobody has been idle so far
        run = await running
        by_peer = {peer: hub.agent(peer).done for peer in (*FIRST_THREE[1:], "helper.4")}
    assert sorted(number for numbers in by_peer.values() for number in numbers) == list(range(tasks))
    share = sum(lengths[number] for number in by_peer["helper.4"])
    assert share == pytest.approx(left / 4, rel=0.15)
    assert run.took <= 1.1 * max(joined + left / 4, max(lengths))


@virtual
async def test_a_worker_that_is_killed_in_the_middle_leaves_its_share_to_the_others() -> None:
    """Its pieces may be done twice, and all are answered; the others take over what is left of the work."""
    lengths = uneven(5, 600)
    async with four_helpers() as hub:
        workers: Workers = hub.agent("boss").workers
        pieces = [Safe(number=number, seconds=seconds) for number, seconds in enumerate(lengths)]

        async def all_of_them() -> list[int]:
            return [number async for number in workers.map(pieces, limit=100)]

        began = hub.now
        running = asyncio.create_task(all_of_them())
        await hub.advance(sum(lengths) / 8)
        killed = hub.now - began
        await hub.kill("helper.2")
        assert sorted(await running) == list(range(600))
        took = hub.now - began
    left = sum(lengths) - 4 * killed
    assert took <= 1.1 * (killed + left / 3) + max(lengths)


@virtual
async def test_who_hands_out_many_learns_of_each_failure_and_nothing_is_left_behind() -> None:
    """All workers go: each of the pieces ends, in its answer or in the error that says why it has none."""
    lengths = uneven(6, 300)
    async with four_helpers() as hub:
        workers: Workers = hub.agent("boss").workers
        handles = [workers.submit(Piece(number=number, seconds=seconds)) for number, seconds in enumerate(lengths)]
        await hub.advance(60)
        done = {number for n in (1, 2, 3, 4) for number in hub.agent(f"helper.{n}").done}
        await hub.kill("helper")
        killed = hub.now
        ends = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        assert hub.now - killed < 5.0
        lost = [end for end in ends if isinstance(end, WorkerLost)]
        nobody = [end for end in ends if isinstance(end, NoWorkerAvailable)]
        answered = [end for end in ends if isinstance(end, int)]
        assert sorted({one.worker for one in lost}) == ["helper.1", "helper.2", "helper.3", "helper.4"]
        assert len(lost) == 4, "each held one"
        assert set(answered) == done
        assert len(lost) + len(nobody) + len(answered) == len(ends)


# -- nobody there


@virtual
async def test_an_absent_worker_is_an_error_at_once_when_the_hub_knows() -> None:
    async with four_helpers("boss") as hub:
        await hub.advance(5)  # who has just connected may not have heard of everybody
        before = hub.now
        with pytest.raises(NoWorkerAvailable, match="Piece"):
            await hub.agent("boss").workers.run(Piece(number=1, seconds=1))
        assert hub.now == before
        with pytest.raises(NoWorkerAvailable):
            await hub.run("helper", Piece(number=1, seconds=1))
        assert hub.now - before < 0.1


@virtual
async def test_workers_that_may_still_be_coming_are_waited_for_and_no_longer() -> None:
    """The boss has just connected: that nobody is there yet proves nothing, for a few seconds."""
    async with four_helpers("boss") as hub:
        before = hub.now
        with pytest.raises(NoWorkerAvailable):
            await hub.agent("boss").workers.run(Piece(number=1, seconds=1), timeout=60)
        assert hub.now - before < 4.0
        before = hub.now
        hub.drop("boss")
        await hub.advance(2)
        with pytest.raises(DispatchError) as ended:
            await hub.agent("boss").workers.run(Piece(number=1, seconds=1), timeout=0.5)
        assert isinstance(ended.value, TaskTimeout | NoWorkerAvailable)
        assert hub.now - before < 2.6


@virtual
@pytest.mark.parametrize("parted", ["boss", "hub"])
async def test_a_worker_that_the_hub_takes_for_present_is_an_error_within_the_deadline(parted: str) -> None:
    """The task is lost on its way, and nothing says so: the hub has a connection, and takes the message."""
    async with four_helpers("boss", "helper.1") as hub:
        await hub.advance(5)
        hub.partition(parted, "helper.1")
        before = hub.now
        with pytest.raises((TaskTimeout, WorkerLost)):
            await hub.agent("boss").workers.run(Piece(number=1, seconds=1), timeout=8)
        assert hub.now - before <= 8.0


@virtual
async def test_a_worker_that_is_lost_with_an_at_most_once_task_is_named_at_once() -> None:
    async with four_helpers("boss", "helper.1") as hub:
        running = asyncio.create_task(hub.agent("boss").workers.run(Piece(number=1, seconds=3_600)))
        await hub.advance(10)
        await hub.kill("helper.1")
        killed = hub.now
        with pytest.raises(WorkerLost, match=r"helper\.1"):
            await running
        assert hub.now - killed <= 2.0
