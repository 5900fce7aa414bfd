"""What becomes of the tasks that one agent is given, whatever its handlers, its callers and its connection do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec import Raw
from pydantic import BaseModel

from orchestrator import Context, StreamTask, Task, agent, task
from orchestrator.errors import NotAuthorized
from orchestrator.patterns.intake import CALLER_GRACE, DRAIN_PATIENCE
from orchestrator.protocol.payloads import (
    Ask,
    StreamAck,
    StreamResume,
    TaskCancel,
    TaskOffer,
)
from orchestrator.runtime.invocation import MAX_MESSAGE
from tests.runtime.in_memory import MemoryHub, MemoryLink, Neighbourhood, Running, skipping

ALONE = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", concurrency: 1}
"""


class Work(Task[int]):
    number: int = 0


class Wait(Task[int]):
    pass


class Fail(Task[int]):
    pass


class Count(StreamTask[int]):
    upto: int


class Say(StreamTask[str]):
    prompt: str


class Stop(Task[int]):
    pass


class Quit(Task[int]):
    pass


class Shout(Task[int]):
    pass


class Repeat(Task[int]):
    pass


@agent
class Boss:
    pass


@agent
class Helper:
    """`gate` holds up what waits; `begun` and `ended` say how often a handler began, and how it ended."""

    def __post_init__(self) -> None:
        self.gate, self.begun, self.ended = asyncio.Event(), asyncio.Event(), list[str]()

    @task
    async def work(self, job: Work, ctx: Context) -> int:
        return job.number + 1

    @task
    async def wait(self, job: Wait) -> int:
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return 1

    @task
    async def fail(self, job: Fail) -> int:
        raise OSError("no such file: \udcff")

    @task
    def quit(self, job: Quit) -> int:
        raise SystemExit(3)

    @task
    async def shout(self, job: Shout) -> int:
        raise ValueError("x" * 1_000_000)

    @task(idempotent=True)
    async def repeat(self, job: Repeat) -> int:
        return 2

    @task
    async def stop(self, job: Stop) -> int:
        raise asyncio.CancelledError

    @task
    async def count(self, job: Count) -> AsyncIterator[int]:
        self.begun.set()
        for number in range(job.upto):
            yield number

    @task
    async def say(self, job: Say) -> AsyncIterator[str]:
        for word in job.prompt.split():
            await self.gate.wait()
            yield word


async def one(handler: type = Helper) -> tuple[Neighbourhood, Running, MemoryLink]:
    """One worker, and a caller of it who is a program of the test's own."""
    around = Neighbourhood(ALONE, Boss=Boss, Helper=handler)
    [helper] = await around.start("helper")
    return around, helper, around.hub.link("boss")


def offer(task_id: str, message: BaseModel, attempt: int = 1) -> TaskOffer:
    payload = Raw(message.model_dump_json().encode())
    return TaskOffer(task_id, "boss", type(message).__name__, payload, attempt=attempt)


@skipping
async def test_a_task_that_is_done_at_once_is_answered_in_one_message() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Work(number=4)))
    assert (await around.hub.heard("task-result")).data == {
        "type": "task-result",
        "taskId": "t1",
        "attempt": 1,
        "result": 5,
        "load": {"inflight": 0, "capacity": 1},
    }
    assert [message.data["type"] for message in around.hub.log] == ["task", "task-result"]
    assert helper.replica.workload.completed == 1
    await around.close()


@skipping
async def test_a_task_that_takes_a_while_is_said_to_be_taken_first() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await around.hub.heard("task-accepted")
    helper.replica.workload.target.gate.set()
    assert "load" not in (await around.hub.heard("task-result")).data
    assert [message.data["type"] for message in around.hub.log] == ["task", "task-accepted", "task-result"]
    await around.close()


@skipping
async def test_that_a_task_may_be_done_twice_is_said_before_its_handler_begins() -> None:
    """A caller that does not know the plan has to know it if the worker dies in the first step of its handler."""
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Repeat()))
    assert (await around.hub.heard("task-accepted")).data["idempotent"] is True
    await around.hub.heard("task-result")
    assert [message.data["type"] for message in around.hub.log] == ["task", "task-accepted", "task-result"]
    await around.close()


@skipping
async def test_a_caller_that_counts_no_attempts_is_told_that_its_task_was_taken_in_any_case() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Work(number=4), attempt=0))
    assert "load" not in (await around.hub.heard("task-result")).data
    assert [message.data["type"] for message in around.hub.log] == ["task", "task-accepted", "task-result"]
    assert helper.replica.workload.completed == 1
    await around.close()


@skipping
async def test_what_a_handler_raises_reaches_its_caller_even_if_json_cannot_carry_its_words() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Fail()))
    told = await around.hub.heard("task-error")
    assert told.data["error"] == {
        "type": "OSError",
        "message": "no such file: \\udcff",
        "retryable": False,
    }
    await around.close()


@skipping
async def test_what_a_handler_raises_is_shortened_to_what_a_message_can_carry() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Shout()))
    told = (await around.hub.heard("task-error")).data["error"]
    assert told["type"] == "ValueError"
    assert told["message"] == "x" * MAX_MESSAGE + "… (1,000,000 characters)"
    await around.close()


@skipping
async def test_a_handler_that_wants_to_end_its_process_is_a_failed_task() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Quit()))
    assert (await around.hub.heard("task-error")).data["error"] == {
        "type": "SystemExit",
        "message": "3",
        "retryable": False,
    }
    await boss.publish("tasks/helper", offer("t2", Work()))
    await around.hub.heard("task-result", taskId="t2")
    assert await helper.replica.drain(1.0)
    await around.close()


@skipping
async def test_a_drain_does_not_wait_long_for_a_caller_that_went_before() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await helper.agent.begun.wait()
    boss.end()
    helper.agent.gate.set()
    began = asyncio.get_running_loop().time()
    assert await helper.replica.drain(10.0)
    assert asyncio.get_running_loop().time() - began <= 2 * DRAIN_PATIENCE
    await around.close()


@skipping
async def test_a_handler_that_cancels_itself_is_a_failed_task() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Stop()))
    assert (await around.hub.heard("task-error")).data["error"]["type"] == "CancelledError"
    await around.close()


@skipping
async def test_a_task_that_is_cancelled_in_the_same_breath_frees_its_place() -> None:
    around, helper, boss = await one()
    await asyncio.gather(boss.publish("tasks/helper", offer("t1", Wait())), boss.send("helper", TaskCancel("t1")))
    await boss.publish("tasks/helper", offer("t2", Work()))
    await around.hub.heard("task-result", taskId="t2")
    assert await helper.replica.drain(1.0)
    await around.close()


@skipping
async def test_a_cancelled_task_is_stopped_and_has_no_outcome() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await helper.agent.begun.wait()
    await boss.send("helper", TaskCancel("t1"))
    assert await helper.replica.drain(1.0)
    assert helper.agent.ended == ["cancelled"]
    assert not around.hub.said("task-error")
    await around.close()


@skipping
async def test_a_drain_waits_for_what_runs_and_refuses_what_is_new() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await helper.agent.begun.wait()
    draining = asyncio.create_task(helper.replica.drain(10.0))
    await boss.send("helper", offer("t2", Work()))
    assert (await around.hub.heard("task-refused")).data["reason"] == "draining"
    helper.agent.gate.set()
    assert await draining
    assert around.hub.said("task-result", taskId="t1")
    await around.close()


@skipping
async def test_at_the_end_of_the_grace_what_runs_is_told_stopped_and_what_waits_is_handed_back() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await boss.publish("tasks/helper", offer("t2", Wait()))
    await helper.agent.begun.wait()
    assert not await helper.replica.drain(1.0)
    await helper.close()
    assert around.hub.said("task-refused", taskId="t2", reason="draining")
    assert around.hub.said("task-error", taskId="t1")[0].data["error"]["type"] == "TaskCancelled"
    assert helper.agent.ended == ["cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@skipping
async def test_an_outcome_waits_for_the_connection_to_come_back() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Wait()))
    await helper.agent.begun.wait()
    helper.link.cut()
    helper.agent.gate.set()
    await asyncio.sleep(2 * CALLER_GRACE)
    helper.link.restore()
    assert (await around.hub.heard("task-result")).data["taskId"] == "t1"
    await around.close()


@skipping
async def test_the_chunks_of_a_stream_are_numbered_to_the_last() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Count(upto=2)))
    await around.hub.heard("completion-chunk", done=True)
    chunks = [(message.data["seq"], message.data["content"]) for message in around.hub.said("completion-chunk")]
    assert chunks == [(0, 0), (1, 1), (2, "")]
    await around.close()


@skipping
async def test_an_ended_stream_is_sent_again_from_where_its_reader_asks() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Count(upto=3)))
    await around.hub.heard("completion-chunk", done=True)
    await boss.send("helper", StreamResume("t1", 2))
    await around.hub.heard("completion-chunk", 2, done=True)
    assert [message.data["seq"] for message in around.hub.said("completion-chunk")] == [0, 1, 2, 3, 2, 3]
    await around.close()


@skipping
async def test_a_reader_that_acknowledges_holds_up_the_producer_from_the_start() -> None:
    """A reader says that it does so before it has used anything."""
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Count(upto=10_000)))
    await helper.agent.begun.wait()
    await boss.send("helper", StreamAck("t1", -1))
    await asyncio.sleep(60.0)
    assert len(around.hub.said("completion-chunk")) < 1_000
    await around.close()


@skipping
async def test_a_reader_that_stays_away_from_an_ended_stream_is_given_up() -> None:
    around, helper, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Count(upto=3)))
    boss.cut()
    await asyncio.sleep(CALLER_GRACE + 2.0)
    sent = len(around.hub.log)
    await asyncio.sleep(60.0)
    assert len(around.hub.log) == sent
    assert await helper.replica.drain(1.0)
    await around.close()


@skipping
async def test_the_reader_of_a_stream_that_the_hub_refuses_is_told_so() -> None:
    around, _, boss = await one()
    around.hub.rule = lambda message: (
        NotAuthorized("action_not_permitted", "", "boss")
        if message.data.get("seq") == 1 and "error" not in message.data
        else "carried"
    )
    await boss.publish("tasks/helper", offer("t1", Count(upto=3)))
    last = await around.hub.heard("completion-chunk", seq=1, done=True)
    assert last.data["error"]["type"] == "NotAuthorized"
    await around.close()


@skipping
async def test_a_stream_that_is_no_longer_kept_is_said_to_be_broken() -> None:
    around, _, boss = await one()
    await boss.publish("tasks/helper", offer("t1", Count(upto=3)))
    await around.hub.heard("completion-chunk", done=True)
    await asyncio.sleep(300.0)
    await boss.send("helper", StreamResume("t1", 1))
    assert (await around.hub.heard("task-error")).data["error"]["type"] == "StreamBroken"
    await boss.publish("tasks/helper", offer("t1", Count(upto=3)))
    assert (await around.hub.heard("completion-chunk", 2, done=True)).data["error"]["type"] == "StreamBroken"
    await around.close()


@skipping
async def test_a_question_in_words_is_answered_by_chunks() -> None:
    around, helper, boss = await one()
    helper.agent.gate.set()
    await boss.send("helper", Ask("so be it", "q1"))
    await around.hub.heard("completion-chunk", done=True)
    assert [message.data["content"] for message in around.hub.said("completion-chunk")] == ["so", "be", "it", ""]
    await around.close()


@skipping
async def test_a_question_that_is_not_taken_is_answered_by_a_last_chunk() -> None:
    around, helper, boss = await one()
    helper.replica.workload.intake.drain()
    await boss.send("helper", Ask("why", "q1"))
    refusal = await around.hub.heard("completion-chunk")
    assert (refusal.data["done"], refusal.data["error"]["message"]) == (True, "draining")
    await around.close()


@skipping
async def test_questions_leave_nothing_behind() -> None:
    around, helper, boss = await one()
    await boss.send("helper", Ask("wait here", "q0"))
    for number in range(1, 50):
        await boss.send("helper", Ask("why", f"q{number}"))
        await boss.send("helper", TaskCancel(f"q{number}"))
    assert len(helper.replica.workload._asked) <= 1
    helper.agent.gate.set()
    assert await helper.replica.drain(1.0)
    assert not helper.replica.workload._asked
    await around.close()


# -- handlers in threads: real time, for nothing may skip while a thread works


class Next(Task[int]):
    pass


class Lines(StreamTask[int]):
    pass


@agent
class Threaded:
    def __post_init__(self) -> None:
        self.closed_in: list[threading.Thread] = []
        self.closed = threading.Event()

    @task
    def next(self, job: Next) -> int:
        return next(iter(list[int]()))

    @task
    def lines(self, job: Lines) -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            self.closed_in.append(threading.current_thread())
            self.closed.set()


async def test_a_plain_handler_that_raises_stop_iteration_is_a_failed_task() -> None:
    async with asyncio.timeout(5):
        around, _, boss = await one(Threaded)
        await boss.publish("tasks/helper", offer("t1", Next()))
        assert (await around.hub.heard("task-error")).data["error"]["type"] == "RuntimeError"
        await around.close()


async def test_a_plain_generator_that_is_cancelled_is_closed_in_a_thread() -> None:
    async with asyncio.timeout(5):
        around, helper, boss = await one(Threaded)
        await boss.publish("tasks/helper", offer("t1", Lines()))
        await boss.send("helper", StreamAck("t1", -1))
        await around.hub.heard("completion-chunk", 500)
        await boss.send("helper", TaskCancel("t1"))
        await asyncio.to_thread(helper.agent.closed.wait, 4)
        assert [thread is threading.main_thread() for thread in helper.agent.closed_in] == [False]
        await around.close()


@pytest.mark.parametrize("attempt", [0, 1])
def test_two_callers_with_one_id_each_get_their_own_answer(attempt: int) -> None:
    """Programs that count their tasks from 1 all begin alike."""

    @skipping
    async def check() -> None:
        around, _, boss = await one()
        chief = around.hub.link("chief")
        await boss.publish("tasks/helper", offer("1", Work(number=1), attempt))
        await around.hub.heard("task-result")
        await chief.publish("tasks/helper", offer("1", Work(number=2), attempt))
        second = await around.hub.heard("task-result", 2)
        assert (second.target, second.data["result"]) == ("chief", 3)
        await around.close()

    check()


def test_the_hub_of_these_tests_counts_receivers() -> None:
    @skipping
    async def check() -> None:
        hub = MemoryHub()
        one, other = hub.link("one"), hub.link("other")
        await other.subscribe("x")
        assert await one.publish("x", 1) == 1
        assert await other.publish("x", 1) == 0

    check()
