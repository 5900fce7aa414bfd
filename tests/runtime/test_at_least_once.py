"""Tasks that are kept in a store, over a whole topology in virtual time: whoever dies, each ends, and ends once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from orchestrator import Handle
from orchestrator.errors import (
    HandlerError,
    NoWorkerAvailable,
    StoreUnavailable,
    StreamBroken,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
)
from orchestrator.runtime.leasing import LEASE_SECONDS
from orchestrator.store.errors import UnknownTask
from orchestrator.testing import FakeClock, TestHub
from orchestrator.testing.lives import AgentLife
from tests.runtime.kept_agents import Blocking, Boss, Effects, Lines, Work, hub


def boss_of(world: TestHub) -> Boss:
    boss = world.agent("boss")
    assert isinstance(boss, Boss)
    return boss


async def begun(world: TestHub, count: int = 1) -> None:
    while len(Effects.begun) < count:
        await world.advance(0.01)


async def stored(boss: Boss, lines: Lines) -> Handle[object]:
    """Put a stream task into the store, and read none of it."""
    chunks = boss.workers.stream(lines, idempotency_key="unread")
    reading = asyncio.create_task(collected(chunks, []))
    await asyncio.sleep(1)  # of virtual time: it streams by now
    (task_id,) = boss.workers._kept._desk._waiters  # type: ignore[attr-defined]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return boss.workers.attach(task_id)


async def collected(chunks: AsyncIterator[str], into: list[str]) -> None:
    async for chunk in chunks:
        into.append(chunk)


def test_a_task_is_taken_within_a_round_trip_of_its_being_stored() -> None:
    async def play() -> None:
        async with hub() as world:
            await world.advance(60)  # everybody is idle, and nobody looks soon
            began = world.now
            handle = await boss_of(world).put(Work(number=1))
            await begun(world)
            assert world.now - began < 0.05
            assert await handle.result() == 2

    FakeClock.run(play())


def test_a_killed_worker_s_task_is_done_by_another_when_its_lease_ends() -> None:
    async def play() -> None:
        async with hub(concurrency=1) as world:
            handle = await boss_of(world).put(Work(number=1, seconds=5))
            await begun(world)
            at = world.now
            await world.kill(Effects.begun[0][0])
            assert await handle.result() == 2
            assert Effects.begun[1][0] != Effects.begun[0][0]
            assert Effects.begun[1][2] == 2, "the attempt that was lost counts"
            assert world.now - at <= LEASE_SECONDS + 1 + 5
            assert Effects.had == {1: 1}

    FakeClock.run(play())


def test_a_worker_that_is_started_again_takes_up_at_once_what_it_had() -> None:
    async def play() -> None:
        async with hub(replicas=1) as world:
            handle = await boss_of(world).put(Work(number=1, seconds=5))
            await begun(world)
            await world.kill("worker.1")
            at = world.now
            await world.start("worker.1")
            assert await handle.result() == 2
            assert world.now - at < 6, "nobody waits for the lease of a process that is gone"

    FakeClock.run(play())


def test_an_outcome_outlives_the_coordinator() -> None:
    async def play() -> None:
        async with hub() as world:
            handle = await boss_of(world).put(Work(number=4))
            await world.kill("boss")
            await world.advance(5)
            await world.start("boss")
            again = boss_of(world).workers.attach(handle.id, Work)
            assert await again.result() == 8
            assert Effects.ended == {4: 1}

    FakeClock.run(play())


def test_a_task_that_still_runs_can_be_attached_to_and_its_end_is_heard_at_once() -> None:
    async def play() -> None:
        async with hub() as world:
            handle = await boss_of(world).put(Work(number=4, seconds=3))
            await begun(world)
            at = world.now
            await world.kill("boss")
            await world.start("boss")
            assert await boss_of(world).workers.attach(handle.id).result() == 8
            assert world.now - at < 3.5

    FakeClock.run(play())


def test_an_unknown_id_is_said_to_be_unknown() -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises(UnknownTask, match="nothing-like-it"):
                await boss_of(world).workers.attach("nothing-like-it").result()

    FakeClock.run(play())


def test_messages_that_are_lost_cost_time_and_no_task() -> None:
    async def play() -> None:
        async with hub(concurrency=4) as world:
            world.partition("boss", "worker")  # neither wake-ups nor outcomes arrive
            handles = [await boss_of(world).put(Work(number=number)) for number in range(8)]
            at = world.now
            assert [await handle.result() for handle in handles] == [2 * number for number in range(8)]
            assert world.now - at < 25
            assert Effects.ended == dict.fromkeys(range(8), 1)

    FakeClock.run(play())


def test_a_coordinator_that_was_cut_off_hears_what_ended_meanwhile() -> None:
    async def play() -> None:
        async with hub() as world:
            handles = [await boss_of(world).put(Work(number=number, seconds=0.2)) for number in range(3)]
            for _ in range(2):
                world.drop("boss")
                world.drop("worker")
                await world.advance(4)
            assert sorted([await handle.result() for handle in handles]) == [0, 2, 4]
            assert Effects.ended == dict.fromkeys(range(3), 1)

    FakeClock.run(play())


def test_a_worker_that_reaches_no_store_stops_before_somebody_else_begins() -> None:
    async def play() -> None:
        async with hub(concurrency=1) as world:
            handle = await boss_of(world).put(Work(number=1, seconds=100))
            await begun(world)
            world.partition(Effects.begun[0][0], "store")
            while not Effects.stopped:
                await world.advance(0.1)
            assert len(Effects.begun) == 1, "the second began while the first was at it"
            assert await handle.result() == 2
            assert Effects.ended == {1: 1}
            assert Effects.had == {1: 1}

    FakeClock.run(play())


def test_a_store_that_is_away_for_a_moment_stops_nobody() -> None:
    async def play() -> None:
        async with hub(replicas=1) as world:
            handle = await boss_of(world).put(Work(number=1, seconds=15))
            await begun(world)
            world.partition("worker", "store")
            await world.advance(17)  # its end falls into it
            world.heal()
            assert await handle.result() == 2
            assert (Effects.ended, len(Effects.begun)) == ({1: 1}, 1)

    FakeClock.run(play())


def test_what_fails_is_tried_again_and_dies_after_its_last_attempt() -> None:
    async def play() -> None:
        async with hub(attempts=3) as world:
            assert await boss_of(world).workers.run(Work(number=1, fails=2)) == 2
            assert [attempt for _, _, attempt in Effects.begun] == [1, 2, 3]
            with pytest.raises(TaskFailed, match=r"attempt 3\): ValueError: attempt 3 of 7") as caught:
                await boss_of(world).workers.run(Work(number=7, fails=9))
            assert (caught.value.attempt, caught.value.error_type) == (3, "ValueError")

    FakeClock.run(play())


def test_cancelling_ends_a_task_in_the_store_and_at_its_worker() -> None:
    async def play() -> None:
        async with hub(concurrency=1) as world:
            running = await boss_of(world).put(Work(number=1, seconds=50))
            await begun(world)
            at = world.now
            running.cancel()
            with pytest.raises(TaskCancelled):
                await running.result()
            while not Effects.stopped:
                await world.advance(0.01)
            assert world.now - at < 0.5
            with pytest.raises(TaskCancelled):
                await boss_of(world).workers.attach(running.id).result()

    FakeClock.run(play())


def test_a_task_that_is_cancelled_before_it_is_stored_is_never_begun() -> None:
    async def play() -> None:
        async with hub() as world:
            handle = boss_of(world).workers.submit(Work(number=1))
            handle.cancel()
            await world.advance(60)
            assert Effects.ended == {}
            with pytest.raises(TaskCancelled):
                await handle.result()

    FakeClock.run(play())


def test_whoever_stops_waiting_leaves_the_task_to_be_done() -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await boss_of(world).workers.run(Work(number=1))
            await world.advance(5)
            assert Effects.ended == {1: 1}

    FakeClock.run(play())


def test_a_timeout_is_the_caller_s_and_nobody_begins_after_it() -> None:
    async def play() -> None:
        async with hub(replicas=1, concurrency=1) as world:
            boss = boss_of(world)
            first = await boss.put(Work(number=1, seconds=10))
            with pytest.raises(TaskTimeout):
                await boss.workers.run(Work(number=2), timeout=5)
            assert await first.result() == 2
            await world.advance(30)
            assert Effects.ended == {1: 1}

    FakeClock.run(play())


def test_an_attempt_that_takes_too_long_fails_and_is_tried_again() -> None:
    async def play() -> None:
        async with hub(attempts=2) as world:
            with pytest.raises(TaskFailed, match=r"TaskTimeout: it did not end within 120 s"):
                await boss_of(world).workers.run(Work(number=1, seconds=500))
            assert [attempt for _, _, attempt in Effects.begun] == [1, 2]

    FakeClock.run(play())


def test_of_one_key_the_first_is_done() -> None:
    async def play() -> None:
        async with hub() as world:
            first = await boss_of(world).put(Work(number=1), idempotency_key="order 66")
            second = boss_of(world).workers.submit(Work(number=2), idempotency_key="order 66")
            assert (await second).id == first.id
            assert (await first.result(), await second.result()) == (2, 2)
            assert await boss_of(world).workers.run(Work(number=3), idempotency_key="order 66") == 2
            assert Effects.ended == {1: 1}

    FakeClock.run(play())


def test_the_urgent_goes_first_and_the_delayed_later() -> None:
    async def play() -> None:
        async with hub(replicas=1, concurrency=1) as world:
            boss = boss_of(world)
            handles = [await boss.put(Work(number=0))]
            await begun(world)
            at = world.now
            handles.append(await boss.put(Work(number=1)))
            handles.append(await boss.put(Work(number=2), priority=5))
            handles.append(await boss.put(Work(number=3), delay=20, priority=9))
            for handle in handles:
                await handle.result()
            assert [number for _, number, _ in Effects.begun] == [0, 2, 1, 3]
            assert 20 <= world.now - at < 22, "it is taken when it falls due, not at the next look"

    FakeClock.run(play())


def test_a_worker_that_drains_gives_back_what_it_has_not_begun() -> None:
    async def play() -> None:
        async with hub(replicas=2, concurrency=1) as world:
            handles: list[Handle[int]] = [
                await boss_of(world).put(Work(number=number, seconds=3)) for number in range(6)
            ]
            await begun(world, 2)
            life = world._lives["worker.1"]
            assert isinstance(life, AgentLife)
            draining = asyncio.create_task(life.replica.drain(30))
            at = world.now
            assert [await handle.result() for handle in handles] == [2 * number for number in range(6)]
            assert await draining
            assert Effects.ended == dict.fromkeys(range(6), 1)
            assert world.now - at < 20, "what was given back was taken without a lease's having to end"
            assert all(attempt == 1 for _, _, attempt in Effects.begun)

    FakeClock.run(play())


def test_a_stream_comes_live_and_its_end_is_kept() -> None:
    async def play() -> None:
        async with hub() as world:
            workers = boss_of(world).workers
            began, times = world.now, []
            async for _ in workers.stream(Lines(count=5), idempotency_key="poem"):
                times.append(world.now - began)
            assert times[0] < 0.1
            assert len(times) == 5
            again = [line async for line in workers.stream(Lines(count=5), idempotency_key="poem")]
            assert again == [f"1/{number}" for number in range(5)]

    FakeClock.run(play())


def test_a_stream_s_chunks_are_found_by_a_coordinator_that_was_started_again() -> None:
    async def play() -> None:
        async with hub() as world:
            seen: list[str] = []
            stream = asyncio.create_task(
                collected(boss_of(world).workers.stream(Lines(count=40), idempotency_key="long"), seen)
            )
            while len(seen) < 3:
                await world.advance(0.05)
            await world.kill("boss")
            await asyncio.gather(stream, return_exceptions=True)  # it ended with its process
            await world.start("boss")
            whole = [line async for line in boss_of(world).workers.stream(Lines(count=40), idempotency_key="long")]
            assert whole == [f"1/{number}" for number in range(40)]

    FakeClock.run(play())


def test_a_stream_that_breaks_before_its_first_chunk_is_begun_anew_unnoticed() -> None:
    async def play() -> None:
        async with hub() as world:
            boss = boss_of(world)
            with pytest.raises(StreamBroken, match=r"after 1 chunk: ValueError: torn; the task itself is in the store"):
                _ = [line async for line in boss.workers.stream(Lines(count=3, fails=1), idempotency_key="torn")]
            lines = [line async for line in boss.workers.stream(Lines(count=3, fails=1), idempotency_key="torn")]
            assert lines == [f"2/{number}" for number in range(3)], "the second attempt went on in the store"

    FakeClock.run(play())


def test_two_attempts_never_make_one_stream() -> None:
    async def play() -> None:
        async with hub(replicas=1) as world:
            seen: list[str] = []
            reading = asyncio.create_task(collected(boss_of(world).workers.stream(Lines(count=30)), seen))
            while len(seen) < 5:
                await world.advance(0.05)
            await world.kill("worker.1")
            await world.start("worker.1")
            with pytest.raises(StreamBroken, match="begun it anew"):
                await reading
            assert seen == [f"1/{number}" for number in range(len(seen))]

    FakeClock.run(play())


def test_a_store_that_gives_no_answer_is_said_to_the_caller() -> None:
    async def play() -> None:
        async with hub() as world:
            world.partition("boss", "store")
            with pytest.raises(StoreUnavailable):
                await boss_of(world).put(Work(number=1))
            lonely = boss_of(world).workers.submit(Work(number=2))
            await world.advance(1)
            assert any(record["event"] == "a task is not in the store" for record in world.log)
            with pytest.raises(StoreUnavailable):
                await lonely.result()
            world.heal()
            assert await boss_of(world).workers.run(Work(number=3)) == 6

    FakeClock.run(play())


def test_a_thousand_tasks_survive_whoever_dies() -> None:
    async def play() -> None:
        async with hub(replicas=4, concurrency=8, attempts=50, seed=3) as world:
            handles = [boss_of(world).workers.submit(Work(number=number, seconds=0.5)) for number in range(1_000)]
            for handle in handles:
                await handle
            for turn in range(20):
                victim = f"worker.{turn % 4 + 1}"
                await world.kill(victim)
                await world.advance(0.3)
                await world.start(victim)
            assert sorted([await handle.result() for handle in handles]) == [2 * number for number in range(1_000)]
            assert Effects.had == dict.fromkeys(range(1_000), 1)

    FakeClock.run(play())


def test_a_long_stream_that_somebody_attaches_to_goes_on_to_its_end() -> None:
    async def play() -> None:
        async with hub(attempts=1) as world:
            boss = boss_of(world)
            unread = await stored(boss, Lines(count=2_000, seconds=0.01))
            handle: Handle[list[str]] = boss.workers.attach(unread.id, Lines)
            whole = await handle.result()
            assert [len(whole), whole[-1]] == [2_000, "1/1999"]

    FakeClock.run(play())


def test_each_reader_of_one_stream_gets_all_of_it() -> None:
    async def play() -> None:
        async with hub() as world:
            workers, first, second = boss_of(world).workers, list[str](), list[str]()
            reading = asyncio.create_task(collected(workers.stream(Lines(count=20), idempotency_key="k"), first))
            while len(first) < 5:
                await world.advance(0.05)
            await asyncio.gather(reading, collected(workers.stream(Lines(count=20), idempotency_key="k"), second))
            assert first == second == [f"1/{number}" for number in range(20)]

    FakeClock.run(play())


def test_a_reader_that_leaves_holds_up_no_other() -> None:
    async def play() -> None:
        async with hub(attempts=1) as world:
            workers, second = boss_of(world).workers, list[str]()
            lines = Lines(count=1_500, seconds=0.01)
            async with aclosing(workers.stream(lines, idempotency_key="k")) as first:  # type: ignore[type-var]
                await anext(first)
                reading = asyncio.create_task(collected(workers.stream(lines, idempotency_key="k"), second))
                await world.advance(0.5)
            await reading
            assert len(second) == 1_500

    FakeClock.run(play())


def test_each_caller_of_one_task_is_as_patient_as_it_says() -> None:
    async def play() -> None:
        async with hub() as world:
            boss = boss_of(world)
            patient = await boss.put(Work(number=1, seconds=20), idempotency_key="k")
            at = world.now
            with pytest.raises(TaskTimeout):
                await boss.workers.run(Work(number=1), idempotency_key="k", timeout=5)
            assert 5 <= world.now - at < 5.1
            assert await patient.result() == 2

    FakeClock.run(play())


def test_a_stream_task_is_streamed() -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises(TypeError, match="Lines is a stream task: its chunks come from stream"):
                boss_of(world).workers.submit(Lines(count=1))  # type: ignore[arg-type]

    FakeClock.run(play())


def test_what_nobody_is_able_to_do_is_said_at_once() -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises(NoWorkerAvailable, match="no worker with 'gpu' is online for Work"):
                await boss_of(world).put(Work(number=1), requires=["gpu"])
            assert not world._store.tasks._kept  # type: ignore[union-attr]

    FakeClock.run(play())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priority": 1.5}, "priority is a whole number, not 1.5"),
        ({"priority": "high"}, "priority is a whole number, not 'high'"),
        ({"requires": [7]}, "requires is a list of capabilities, which are texts, unlike 7"),
        ({"idempotency_key": "\ud800"}, "half a surrogate pair"),
        ({"idempotency_key": 7}, "idempotency_key is a text, not 7"),
        ({"delay": -1}, "delay is a number of seconds of at least 0, not -1"),
        ({"delay": 1e18}, "delay is a number of seconds from 0"),
        ({"key": "x"}, "key chooses one worker"),
        ({"wait": 3}, "wait is not needed"),
        ({"retries": 3}, "'retries' is no option of a task"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_before_anything_is_stored(
    options: dict[str, Any], said: str
) -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises((TypeError, ValueError), match=said):
                boss_of(world).workers.submit(Work(number=1), **options)

    FakeClock.run(play())


def test_what_is_submitted_and_not_awaited_is_stored_before_a_drained_agent_ends() -> None:
    async def play() -> None:
        async with hub(replicas=1, concurrency=1) as world:
            boss, life = boss_of(world), world._lives["boss"]
            assert isinstance(life, AgentLife)
            for number in range(3_000):
                boss.workers.submit(Work(number=number, seconds=1_000))
            assert await life.replica.drain(30)
            assert len(world._store.tasks._kept) == 3_000  # type: ignore[union-attr]

    FakeClock.run(play())


def test_what_was_not_stored_when_its_agent_ended_is_in_the_log() -> None:
    async def play() -> None:
        async with hub() as world:
            boss, life = boss_of(world), world._lives["boss"]
            assert isinstance(life, AgentLife)
            world.partition("boss", "store")
            handle = boss.workers.submit(Work(number=1))
            await life.replica.close()
            with pytest.raises(StoreUnavailable):
                await handle
            assert any(record["event"] == "a task is not in the store" for record in world.log)

    FakeClock.run(play())


@pytest.mark.parametrize("task_id", ["", "nothing-like-it", "x" * 10_000])
def test_any_id_is_unknown_or_refused(task_id: str) -> None:
    async def play() -> None:
        async with hub() as world:
            with pytest.raises(UnknownTask):
                await boss_of(world).workers.attach(task_id).result()
            with pytest.raises(TypeError, match="the id of a task is a text, not None"):
                boss_of(world).workers.attach(None)  # type: ignore[arg-type]

    FakeClock.run(play())


def test_once_in_a_thread_is_refused_instead_of_forgotten() -> None:
    async def play() -> None:
        async with hub(attempts=1) as world:
            with pytest.raises(TaskFailed, match="is awaited, so the handler has to be an 'async def'"):
                await boss_of(world).workers.run(Blocking())

    FakeClock.run(play())


def test_once_is_for_tasks_of_a_store() -> None:
    text = """
version: 1
coordinators: {boss: {handler: "kept:Boss", workers: [worker]}}
workers: {worker: {handler: "kept:Worker"}}
"""

    async def play() -> None:
        from tests.runtime.kept_agents import Worker

        async with TestHub(text, handlers={"boss": Boss, "worker": Worker}) as world:
            with pytest.raises(
                TaskFailed, match=r"HandlerError: once.'effect 1'. is for tasks that are kept in a store"
            ):
                await boss_of(world).workers.run(Work(number=1))
            with pytest.raises(ValueError, match="'idempotency_key' needs a store"):
                await boss_of(world).put(Work(number=1), idempotency_key="x")
            with pytest.raises(HandlerError, match="no worker of this agent has its tasks in a store"):
                boss_of(world).workers.attach("x")

    FakeClock.run(play())


def test_a_stop_in_the_middle_of_a_task_is_no_failure_of_the_task() -> None:
    async def play() -> None:
        async with hub(replicas=1, attempts=1) as world:
            handle = await boss_of(world).put(Work(number=1, seconds=60))
            for turn in range(3):
                await begun(world, turn + 1)
                life = world._lives["worker.1"]
                assert isinstance(life, AgentLife)
                assert not await life.replica.drain(1), "it cannot be done within the grace"
                await life.close()
                del world._lives["worker.1"]
                await world.start("worker.1")
            assert await handle.result() == 2
            assert [attempt for _, _, attempt in Effects.begun] == [1, 2, 3, 4]

    FakeClock.run(play())
