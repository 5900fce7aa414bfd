"""The spans of tasks that are kept in a store: each attempt is a part of what gave the task out, however long ago."""

from __future__ import annotations

from opentelemetry.trace import SpanKind, StatusCode

from orchestrator.testing import FakeClock, TestHub
from tests.runtime.kept_agents import Boss, Effects, Lines, Work, hub
from tests.runtime.traced import Spans, id_of, parent_of, said, tracing


def boss_of(world: TestHub) -> Boss:
    boss = world.agent("boss")
    assert isinstance(boss, Boss)
    return boss


def attempts(spans: Spans) -> list[tuple[object, object]]:
    """The attempts that have ended, all of them children of the one that gave the task out."""
    [given] = [span for span in spans.all if span.kind is SpanKind.PRODUCER]
    handled = [span for span in spans.all if span.kind is SpanKind.CONSUMER]
    assert {parent_of(span) for span in handled} == {id_of(given)}
    assert len(spans.traces()) == 1
    assert {said(span)["task_id"] for span in (given, *handled)} == {said(given)["task_id"]}
    return [(said(span)["attempt"], said(span)["outcome"]) for span in handled]


def test_a_task_that_is_tried_again_is_one_trace_with_a_span_for_each_attempt() -> None:
    async def play() -> None:
        with tracing() as spans:
            async with hub() as world:
                handle = await boss_of(world).put(Work(number=1, fails=1))
                assert [span.name for span in spans.all] == ["dispatch Work"], "it is stored: who gave it out may go"
                assert await handle.result() == 2
        assert attempts(spans) == [(1, "failed"), (2, "done")]
        failed, done = spans.named("handle Work")
        assert (failed.status.status_code, said(failed)["error.type"]) == (StatusCode.ERROR, "ValueError")
        assert done.status.status_code is StatusCode.UNSET
        assert said(done)["delivery"] == said(spans.one("dispatch Work"))["delivery"] == "at-least-once"

    FakeClock.run(play())


def test_what_a_killed_worker_had_begun_goes_on_in_the_same_trace() -> None:
    async def play() -> None:
        with tracing() as spans:
            async with hub(concurrency=1) as world:
                handle = await boss_of(world).put(Work(number=1, seconds=5))
                while not Effects.begun:
                    await world.advance(0.01)
                await world.kill(Effects.begun[0][0])
                assert await handle.result() == 2
        assert attempts(spans)[-1] == (2, "done")

    FakeClock.run(play())


def test_a_stored_stream_is_a_part_of_its_attempt() -> None:
    async def play() -> None:
        with tracing() as spans:
            async with hub() as world:
                chunks = [chunk async for chunk in boss_of(world).workers.stream(Lines(count=3))]
        assert len(chunks) == 3
        assert attempts(spans) == [(1, "done")]
        streamed = spans.one("stream Lines")
        assert parent_of(streamed) == id_of(spans.one("handle Lines"))
        assert [event.name for event in streamed.events] == ["first chunk", "last chunk"]
        assert said(streamed)["chunks"] == 3

    FakeClock.run(play())
