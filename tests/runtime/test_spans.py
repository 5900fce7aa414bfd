"""The spans of questions, tasks, streams and events: who is whose child, and what each of them says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from orchestrator import Context, Event, StreamTask, Task, Team, Workers, agent, on_event, task
from orchestrator.errors import TaskFailed
from tests.runtime.in_memory import MemoryHub, Neighbourhood, quiet, skipping
from tests.runtime.test_workload import offer
from tests.runtime.traced import id_of, parent_of, said, tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
TOPOLOGY = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2, concurrency: 1}
teams:
  desk: {members: [boss, helper]}
"""


def own(name: str) -> Any:
    """Enter a span of a handler's own; a tracer is asked for each time, for it stays with the provider of its first use."""
    return trace.get_tracer("handlers").start_as_current_span(name)


class Square(Task[int]):
    number: int


class Spell(StreamTask[str]):
    word: str


class Fail(Task[int]):
    pass


class Hold(Task[int]):
    pass


class Tell(Task[str]):
    """What the worker's context and its log records say of its trace."""


class Answer(StreamTask[str]):
    prompt: str


class Blocked(StreamTask[str]):
    """Yielded by a plain function, in a thread."""


class Opened(Event):
    page: int


@agent
class Boss:
    workers: Workers
    desk: Team

    @task
    async def answer(self, job: Answer) -> AsyncIterator[str]:
        if job.prompt == "open":
            await self.desk.publish(Opened(page=1))
        elif job.prompt == "fail":
            await self.workers.run(Fail())
        elif job.prompt == "own":
            with own("own"):
                yield str(await self.workers.run(Square(number=2)))
        elif job.prompt == "tell":
            yield await self.workers.run(Tell())
        else:
            async for letter in self.workers.stream(Spell(word=job.prompt)):
                yield letter


@agent
class Helper:
    desk: Team

    def __post_init__(self) -> None:
        self.gate, self.begun = asyncio.Event(), asyncio.Event()

    @task
    def square(self, job: Square) -> int:  # in a thread, for which no loop waits whose time skips
        with own("in a thread"):
            return job.number**2

    @task
    async def spell(self, job: Spell) -> AsyncIterator[str]:
        with own("spelling"):
            for letter in job.word:
                yield letter

    @task
    def blocked(self, job: Blocked) -> Iterator[str]:
        with own("first"):
            yield "a"
        with own("over two steps"):
            yield "b"
            yield "c"

    @task
    async def fail(self, job: Fail) -> int:
        raise OSError("the secret of the payload")

    @task
    async def hold(self, job: Hold) -> int:
        self.begun.set()
        await self.gate.wait()
        return 1

    @task
    async def tell(self, job: Tell, ctx: Context) -> str:
        return f"{ctx.traceparent} {sorted(structlog.contextvars.get_contextvars().items())}"

    @on_event
    async def opened(self, event: Opened, ctx: Context) -> None:
        self.heard = (ctx.traceparent, structlog.contextvars.get_contextvars())
        await asyncio.sleep(0)
        if event.page == 13:
            raise OSError("no such page")


def desk() -> Any:
    return Neighbourhood.of(TOPOLOGY, Boss=Boss, Helper=Helper)


def traceparents(hub: MemoryHub) -> list[tuple[str, str | None]]:
    """The `traceparent` of each message of the kinds that carry one, in the order in which the hub took them."""
    kinds = ("ask", "task", "event", "completion-chunk")
    return [
        (message.data["type"], message.data.get("traceparent")) for message in hub.log if message.data["type"] in kinds
    ]


# -- who is whose child


@skipping
async def test_a_question_is_one_trace_from_its_asker_to_the_worker_and_back() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            assert await user.ask("boss", "abc") == "abc"
    assert spans.tree() == {
        ("ask boss", None),
        ("handle Answer", "ask boss"),
        ("stream Answer", "handle Answer"),
        ("dispatch Spell", "handle Answer"),
        ("handle Spell", "dispatch Spell"),
        ("stream Spell", "handle Spell"),
        ("spelling", "handle Spell"),
    }
    assert len(spans.traces()) == 1
    kinds = {span.name: span.kind for span in spans.all}
    assert (kinds["ask boss"], kinds["handle Answer"]) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert (kinds["dispatch Spell"], kinds["handle Spell"]) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.all)
    asked = spans.one("ask boss")
    assert [event.name for event in asked.events] == ["offered", "first chunk", "last chunk"]
    assert said(asked)["chunks"] == said(spans.one("stream Answer"))["chunks"] == 3


async def test_a_dispatch_says_what_went_to_whom_and_nothing_of_what_was_in_it() -> None:
    with tracing() as spans:
        async with desk() as around:
            assert await around.running["boss"].agent.workers.run(Square(number=4_711)) == 4_711**2
    given, handled = spans.one("dispatch Square"), spans.one("handle Square")
    assert said(given) == {
        "agent": "helper",
        "task": "Square",
        "task_id": said(handled)["task_id"],
        "delivery": "at-most-once",
        "peer": said(handled)["peer"],
        "attempt": 1,
        "outcome": "done",
    }
    assert said(handled) == {name: value for name, value in said(given).items() if name != "agent"} | {"sender": "boss"}
    assert "4711" not in "".join(span.to_json() for span in spans.all)


async def test_what_handlers_trace_themselves_is_a_part_of_it() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            assert await user.ask("boss", "own") == "4"
            boss = around.running["boss"].agent
            assert [chunk async for chunk in boss.workers.stream(Blocked())] == ["a", "b", "c"]
    tree = spans.tree()
    assert ("own", "handle Answer") in tree
    assert ("dispatch Square", "own") in tree
    assert ("stream Answer", "handle Answer") in tree, "a span that is open while a handler yields is not the stream's"
    assert ("in a thread", "handle Square") in tree
    assert ("first", "handle Blocked") in tree
    assert ("over two steps", "handle Blocked") in tree


@skipping
async def test_an_event_and_whoever_hears_it_are_parts_of_what_published_it() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            await user.ask("boss", "open")
            await quiet()
            heard = [around.running[peer].agent.heard for peer in ("helper.1", "helper.2")]
    published = spans.one("publish Opened")
    assert parent_of(published) == id_of(spans.one("handle Answer"))
    events = spans.named("event Opened")
    assert {parent_of(event) for event in events} == {id_of(published)}
    assert {said(event)["peer"] for event in events} == {"helper.1", "helper.2"}
    assert len(spans.traces()) == 1
    [(traceparent, logged), _] = heard
    assert traceparent.startswith(f"00-{logged['trace_id']}-{logged['span_id']}-")
    assert int(logged["span_id"], 16) in {id_of(event) for event in events}


@skipping
async def test_a_task_that_was_refused_or_lost_is_one_span_with_each_attempt_in_it() -> None:
    with tracing() as spans:
        async with desk() as around:
            boss = around.running["boss"].agent
            around.hub.rule = lambda message: "carried"
            first = boss.workers.submit(Hold())
            second = boss.workers.submit(Hold())
            for helper in ("helper.1", "helper.2"):
                await around.running[helper].agent.begun.wait()
            around.running["helper.1"].replica.workload.intake.drain()
            around.running["helper.1"].agent.gate.set()
            around.running["helper.2"].agent.gate.set()
            assert (await first.result(), await second.result()) == (1, 1)
            assert [await boss.workers.run(Hold()) for _ in range(3)] == [1, 1, 1]
    refused = [span for span in spans.named("dispatch Hold") if any(event.name == "refused" for event in span.events)]
    [span] = refused
    events = [(event.name, (event.attributes or {})["orchestrator.peer"]) for event in span.events]
    assert events == [("offered", "helper.1"), ("refused", "helper.1"), ("offered", "helper.2")]
    assert (said(span)["peer"], said(span)["attempt"], said(span)["outcome"]) == ("helper.2", 2, "done")


# -- how it ends


@skipping
async def test_a_failure_is_told_by_its_type_and_not_by_its_words() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            with pytest.raises(TaskFailed):
                await user.ask("boss", "fail")
            boss = around.running["boss"].agent
            await boss.desk.publish(Opened(page=13))
            await quiet()
    types = {span.name: (span.status.status_code, said(span).get("error.type")) for span in spans.all}
    assert types["handle Fail"] == types["dispatch Fail"] == (StatusCode.ERROR, "OSError")
    assert types["handle Answer"] == types["ask boss"] == (StatusCode.ERROR, "TaskFailed")
    assert types["event Opened"] == (StatusCode.ERROR, "OSError")
    assert types["publish Opened"] == (StatusCode.UNSET, None)
    assert "secret" not in "".join(span.to_json() for span in spans.all)


@skipping
async def test_a_stream_that_its_reader_leaves_is_cancelled_and_no_failure() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            chunks = user.stream("boss", "x" * 5_000)
            assert await anext(chunks) == "x"
            await chunks.aclose()
            await quiet()
    fates = {span.name: said(span).get("outcome") for span in spans.all if span.name != "spelling"}
    assert fates == dict.fromkeys(
        ["ask boss", "handle Answer", "stream Answer", "dispatch Spell", "handle Spell", "stream Spell"], "cancelled"
    )
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.all if span.name in fates)
    [stopped] = [event for event in spans.one("handle Answer").events if event.name == "stopped"]
    assert dict(stopped.attributes or {}) == {"orchestrator.reason": "cancelled by its caller"}


# -- what comes from outside


@skipping
async def test_a_task_is_a_part_of_what_its_message_says() -> None:
    with tracing() as spans:
        async with desk() as around:
            await around.hub.links["boss"].publish(
                "tasks/helper.1", replace(offer("t1", Tell()), traceparent=TRACEPARENT)
            )
            answer = (await around.hub.heard("task-result", taskId="t1")).data["result"]
    handled = spans.one("handle Tell")
    assert (handled.context.trace_id, parent_of(handled)) == (int(TRACE, 16), int(PARENT, 16))
    span_id = f"{id_of(handled):016x}"
    logged = [("span_id", span_id), ("task_id", "t1"), ("trace_id", TRACE)]
    assert answer == f"00-{TRACE}-{span_id}-01 {logged}"


HOSTILE = [
    "",
    "garbage",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-0",
    f"00-{TRACE}-{PARENT}-01\n",
    f" 00-{TRACE}-{PARENT}-01",
    f"cc-{TRACE}-{PARENT}-01-" + "x" * 10_240,
    "0" * 10_240,
    f"\u0660\u0660-{TRACE}-{PARENT}-01",  # digits, though not ours
]


@pytest.mark.parametrize("traceparent", HOSTILE, ids=lambda text: repr(text[:60]))
@pytest.mark.parametrize("traced", [True, False])
def test_what_is_no_traceparent_is_passed_over(traceparent: str, traced: bool) -> None:
    @skipping
    async def play() -> None:
        async with desk() as around:
            await around.hub.links["boss"].publish(
                "tasks/helper.1", replace(offer("t1", Tell()), traceparent=traceparent)
            )
            answers.append((await around.hub.heard("task-result", taskId="t1")).data["result"])

    answers: list[str] = []
    if traced:
        with tracing() as spans:
            play()
        assert spans.one("handle Tell").parent is None
        assert TRACE not in answers[0]
    else:
        play()
        assert answers == ["None [('task_id', 't1')]"]


@skipping
async def test_what_was_sampled_out_is_traced_by_nobody_further_down() -> None:
    with tracing() as spans:
        async with desk() as around:
            caller = around.hub.link("reader/bob")
            await caller.send(
                "boss", {"type": "ask", "prompt": "ab", "taskId": "q", "traceparent": f"00-{TRACE}-{PARENT}-00"}
            )
            await around.hub.heard("completion-chunk", streamId="q", done=True)
            told = traceparents(around.hub)
    assert [span for span in spans.all if span.context.trace_id == int(TRACE, 16)] == []
    carried = [traceparent for _, traceparent in told if traceparent is not None]
    assert {text.split("-")[1] for text in carried} == {TRACE}
    assert {text.split("-")[3] for text in carried} == {"00"}
    assert spans.named("spelling") == []


# -- without anybody who traces


@skipping
async def test_without_a_provider_what_came_in_is_handed_on_unchanged() -> None:
    given = f"cc-{TRACE}-{PARENT}-03-of a later version"
    async with desk() as around:
        caller = around.hub.link("reader/bob")
        await caller.send("boss", {"type": "ask", "prompt": "ab", "taskId": "q", "traceparent": given})
        await around.hub.heard("completion-chunk", streamId="q", done=True)
        await caller.send("boss", {"type": "ask", "prompt": "open", "taskId": "r", "traceparent": given})
        await around.hub.heard("event")
        told = traceparents(around.hub)
    assert {kind for kind, traceparent in told if traceparent == given} == {"ask", "task", "event", "completion-chunk"}
    assert {traceparent for _, traceparent in told} == {given, None}
    assert ("task", None) not in told


@skipping
async def test_without_a_provider_no_traceparent_is_made_up() -> None:
    async with desk() as around, around.user() as user:
        assert await user.ask("boss", "ab") == "ab"
        await user.ask("boss", "open")
        told = await user.ask("boss", "tell")
        assert told == f"None [('task_id', {around.hub.said('task')[-1].data['taskId']!r})]"
        assert {traceparent for _, traceparent in traceparents(around.hub)} == {None}


@skipping
async def test_the_first_chunk_of_a_stream_carries_who_produces_it_and_no_other_does() -> None:
    with tracing() as spans:
        async with desk() as around, around.user() as user:
            assert await user.ask("boss", "abc") == "abc"
            chunks = around.hub.said("completion-chunk")
    firsts = [message.data["traceparent"].split("-")[2] for message in chunks if message.data["seq"] == 0]
    assert set(firsts) == {f"{id_of(spans.one(name)):016x}" for name in ("handle Answer", "handle Spell")}
    assert all("traceparent" not in message.data for message in chunks if message.data["seq"])


@skipping
async def test_a_task_inherits_nothing_of_the_trace_of_the_one_before() -> None:
    async with desk() as around:
        boss = around.hub.links["boss"]
        await boss.publish("tasks/helper.1", offer("t0", Hold()))
        await around.running["helper.1"].agent.begun.wait()
        await boss.publish("tasks/helper.1", replace(offer("t1", Tell()), traceparent=TRACEPARENT))
        await boss.publish("tasks/helper.1", offer("t2", Tell()))
        around.running["helper.1"].agent.gate.set()
        first = (await around.hub.heard("task-result", taskId="t1")).data["result"]
        second = (await around.hub.heard("task-result", taskId="t2")).data["result"]
    assert first == f"{TRACEPARENT} " + str([("task_id", "t1"), ("trace_id", TRACE)])
    assert second == "None " + str([("task_id", "t2")])
