"""What a replica counts, and what it tells of it: nothing is lost between two reports, and nothing is told twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator import Event, StreamTask, Task, Team, Workers, agent, task
from orchestrator.errors import StreamBroken
from orchestrator.patterns.effects import Publish, Send
from orchestrator.protocol import payloads
from orchestrator.protocol.payloads import (
    AnyPayload,
    Ask,
    CompletionChunk,
    EventNotice,
    TaskAccepted,
    TaskCancel,
    TaskOffer,
    TaskResult,
)
from orchestrator.runtime.control import BUCKETS, Figures, TaskNews
from orchestrator.runtime.courier import Courier
from orchestrator.runtime.ending import STOPPED, Ending, Fate
from orchestrator.runtime.figures import (
    _KINDS,
    EVERY,
    EVERY_WATCHED,
    MAX_ERROR,
    MAX_NEWS,
    MAX_SERIES,
    MAX_TOLD,
    OTHERS,
    SOON,
    Recorder,
    Reporting,
)
from orchestrator.testing.clock import virtual
from tests.runtime.in_memory import Neighbourhood, skipping

SILENT = {
    "TaskAccepted",
    "TaskRefused",
    "TaskProgress",
    "TaskCancel",
    "Wake",
    "StreamResume",
    "StreamAck",
}
"""What belongs to the conversation of no two people, and is not counted as a flow."""


def taken(recorder: Recorder) -> Figures:
    figures = recorder.take()
    assert figures is not None
    return figures


def states(figures: Figures) -> list[tuple[str, str]]:
    return [(news.id, news.state) for news in figures.tasks]


# -- tasks


def test_a_task_is_told_when_it_begins_and_when_it_ends() -> None:
    recorder = Recorder(capacity=4)
    recorder.loaded(1)
    recorder.began("t1", "Research", "editor", 2, True, now=10.0, wall=1_000.0)
    began = TaskNews("t1", "Research", "running", 1_000.0, "editor", 2, kept=True)
    assert taken(recorder) == Figures(1, 4, tasks=(began,))
    recorder.loaded(0)
    recorder.ended("t1", "failed", now=10.3, wall=1_000.3, error="ValueError: no such topic")
    figures = taken(recorder)
    [news] = figures.tasks
    assert (news.id, news.state, news.time, news.error) == ("t1", "failed", 1_000.3, "ValueError: no such topic")
    assert news.seconds == pytest.approx(0.3)
    assert figures.counts == {"tasks/Research/failed": 1}
    assert figures.seconds == {"Research": tuple(int(step == BUCKETS.index(0.5)) for step in range(len(BUCKETS) + 1))}
    assert recorder.take() is None


def test_one_that_ends_before_anybody_heard_of_it_is_told_once() -> None:
    recorder = Recorder()
    recorder.began("t1", "Research", "editor", 1, False, 0.0, 0.0)
    recorder.ended("t1", "done", 500.0, 500.0)
    figures = taken(recorder)
    assert states(figures) == [("t1", "done")]
    assert figures.seconds["Research"][-1] == 1, "longer than all steps"


def test_of_many_ends_the_failures_are_told_and_the_others_counted() -> None:
    recorder = Recorder()
    for number in range(100):
        recorder.began(f"t{number}", "Work", "boss", 1, False, 0.0, 0.0)
        recorder.ended(f"t{number}", "failed" if number % 5 == 4 else "done", 1.0, 1.0)
    figures = taken(recorder)
    told = [state for _, state in states(figures)]
    assert told == ["failed"] * 20 + ["done"] * (MAX_NEWS - 20)
    assert figures.missed == 100 - MAX_NEWS
    assert figures.counts == {"tasks/Work/done": 80, "tasks/Work/failed": 20}


def test_who_was_told_that_a_task_runs_is_told_of_its_end_however_many_end() -> None:
    recorder = Recorder()
    running: set[str] = set()
    for number in range(200):
        recorder.began(f"t{number}", "Work", "boss", 1, False, 0.0, 0.0)
    while (figures := recorder.take()) is not None:
        running |= {news.id for news in figures.tasks}
    assert len(running) == 200
    for number in range(200):
        recorder.ended(f"t{number}", "done", 1.0, 1.0)
    missed = 0
    while (figures := recorder.take()) is not None:
        assert len(figures.tasks) <= MAX_NEWS
        running -= {news.id for news in figures.tasks}
        missed += figures.missed
    assert (running, missed) == (set(), 0)


def test_an_error_is_shortened() -> None:
    recorder = Recorder()
    recorder.began("t1", "Work", "boss", 1, False, 0.0, 0.0)
    recorder.ended("t1", "failed", 1.0, 1.0, "x" * 1_000)
    [news] = taken(recorder).tasks
    assert (len(news.error), news.error[-1]) == (MAX_ERROR, "…")


def test_series_are_bounded() -> None:
    recorder = Recorder()
    for number in range(2 * MAX_SERIES):
        recorder.began("t", f"Task{number}", "boss", 1, False, 0.0, 0.0)
        recorder.ended("t", "done", 0.0, 0.0)
        recorder.carried(TaskResult("t"), f"agent{number}.1")
    figures = taken(recorder)
    assert len(figures.counts) + len(figures.flows) <= MAX_SERIES + 2
    assert figures.counts[f"tasks/{OTHERS}/done"] > MAX_SERIES


NAMES = st.sampled_from(["Research", "Write", "Count"])
FATES = st.sampled_from(get_args(Fate))
TIMES = st.floats(0.0, 1_000.0)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), NAMES, TIMES),
        st.tuples(st.just("end"), st.integers(0, 200), FATES, TIMES),
        st.tuples(st.just("send"), st.sampled_from(["editor", "writer.3", "reader/alice"]), st.integers(1, 5)),
        st.tuples(st.just("claim"), st.sampled_from(["won", "lost"])),
        st.tuples(st.just("take")),
    ),
    max_size=200,
)


@given(STEPS)
def test_the_differences_add_up_to_what_was_done(steps: list[tuple[Any, ...]]) -> None:
    recorder, told = Recorder(), list[Figures]()
    counts, flows, ends = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    running: dict[str, str] = {}
    begun = 0

    def take() -> None:
        figures = recorder.take()
        if figures is not None:
            told.append(figures)

    for step in steps:
        match step:
            case ("begin", name, now):
                begun += 1
                running[f"t{begun}"] = name
                recorder.began(f"t{begun}", name, "boss", 1, False, now, now)
            case ("end", number, fate, now) if running:
                task_id = [*running][number % len(running)]
                name = running.pop(task_id)
                counts[f"tasks/{name}/{fate}"] += 1
                ends[name] += 1
                recorder.ended(task_id, fate, now, now)
            case ("send", peer, count):
                recorder.carried(CompletionChunk("s", 0, more=(Raw(b"1"),) * (count - 1)), peer)
                counts["chunks"] += count
                flows[peer.partition("/")[0].partition(".")[0], "chunk"] += 1
            case ("claim", outcome):
                recorder.claim(outcome)
                counts[f"claims/{outcome}"] += 1
            case ("take",):
                take()
    while len(told) < 1_000 and recorder._stirred:
        take()
    summed, flown, took = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for figures in told:
        assert len(figures.tasks) <= MAX_NEWS
        summed.update(figures.counts)
        flown.update({(to, kind): count for to, kind, count in figures.flows})
        took.update({name: sum(taken) for name, taken in figures.seconds.items()})
    assert (summed, flown, took) == (counts, flows, ends)
    known: dict[str, str] = {}
    for news in (news for figures in told for news in figures.tasks):
        assert known.get(news.id, "running") == "running", "nothing is told of a task behind its end"
        assert not (news.state == "running" and news.id in known), "nor twice that it runs"
        known[news.id] = news.state
    assert {task_id for task_id, state in known.items() if state == "running"} == set(running)
    assert sum(state != "running" for state in known.values()) + sum(figures.missed for figures in told) == sum(
        ends.values()
    )


def test_of_more_that_run_than_are_followed_only_the_end_is_told() -> None:
    recorder = Recorder()
    for number in range(MAX_TOLD + 10):
        recorder.began(f"t{number}", "Work", "boss", 1, False, 0.0, 0.0)
    told = 0
    while (figures := recorder.take()) is not None:
        told += len(figures.tasks)
    assert told == MAX_TOLD
    recorder.ended(f"t{MAX_TOLD + 5}", "done", 1.0, 1.0)
    assert states(taken(recorder)) == [(f"t{MAX_TOLD + 5}", "done")]


# -- messages


def test_every_payload_is_a_kind_of_flow_or_none_on_purpose() -> None:
    known = {kind.__name__ for kind in _KINDS}
    assert known | SILENT == {kind.__name__ for kind in get_args(AnyPayload)}
    assert known & SILENT == set()
    assert payloads.Part not in _KINDS, "the whole is counted, not its parts"


def test_receivers_are_agents_kinds_of_users_and_teams() -> None:
    recorder = Recorder()
    recorder.team("desk", "team_42/state")
    recorder.published(TaskOffer("t", "editor", "Work"), "tasks/worker.12")
    recorder.carried(TaskOffer("t", "editor", "Work"), "worker.3")
    recorder.carried(TaskResult("t"), "editor")
    recorder.carried(TaskAccepted("t", 1), "editor")
    recorder.carried(CompletionChunk("s", 1, done=True), "reader/alice")
    recorder.carried(Ask("hi"), "writer")
    recorder.published(EventNotice("Opened"), "team_42/state")
    figures = taken(recorder)
    assert figures.flows == (
        ("worker", "task", 2),
        ("editor", "result", 1),
        ("reader", "chunk", 1),
        ("writer", "ask", 1),
        ("team/desk", "event", 1),
    )
    assert figures.counts == {}, "the end of a stream holds no chunk"


def test_what_users_give_is_counted_since_they_tell_nothing_themselves() -> None:
    recorder = Recorder()
    for sender in ("reader/alice", "reader/bob", "cli/dashboard-1", "editor"):
        recorder.asked(sender)
    assert taken(recorder).counts == {"asks/reader": 2, "asks/cli": 1}


# -- how tasks end


@pytest.mark.parametrize(
    ("end", "stopped", "lost", "fate"),
    [
        (Ending(None), "", "", ("done", "")),
        (Ending(payloads.Failure("ValueError", "no")), "", "", ("failed", "ValueError: no")),
        (Ending(), "cancelled by its caller", "", ("cancelled", "cancelled by its caller")),
        (Ending(), "", "", ("cancelled", STOPPED.message)),
        (Ending(), "its deadline passed", "", ("failed", "TaskTimeout: its deadline passed")),
        (Ending(None), "", "its lease has ended", ("lost", "its lease has ended")),
    ],
)
def test_what_becomes_of_a_task_has_a_name(end: Ending, stopped: str, lost: str, fate: tuple[str, str]) -> None:
    assert end.fate(stopped, lost) == fate


# -- reports


@virtual
async def test_reports_come_soon_then_seldom_and_never_while_nothing_is_done() -> None:
    recorder, heard = Recorder(), list[tuple[float, Figures]]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    reporting = Reporting(recorder, lambda figures: heard.append((loop.time() - began, figures)))
    recorder.reconnected()
    recorder.reconnected()
    await asyncio.sleep(0.2)
    recorder.claim("won")
    await asyncio.sleep(60)
    times = [round(at, 3) for at, _ in heard]
    assert times == [SOON, SOON + EVERY]
    assert [figures.counts for _, figures in heard] == [{"reconnects": 2}, {"claims/won": 1}]
    reporting.watched(True)
    recorder.claim("lost")
    recorder.claim("lost")
    await asyncio.sleep(0.1)
    recorder.claim("won")
    reporting.watched(True)
    await asyncio.sleep(60)
    first, second = (at for at, _ in heard[2:])
    assert round(second - first, 3) == EVERY_WATCHED
    recorder.reconnected()
    reporting.close()
    recorder.reconnected()
    await asyncio.sleep(60)
    assert [figures.counts for _, figures in heard[4:]] == [{"reconnects": 1}]


# -- in a replica


TEAM = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2, concurrency: 2}
teams:
  desk: {members: [helper]}
"""


class Divide(Task[int]):
    by: int


class Count(StreamTask[int]):
    prompt: str


class Opened(Event):
    name: str


@agent
class Boss:
    workers: Workers

    @task
    async def count(self, ask: Count) -> AsyncIterator[int]:
        async for part in self.workers.map([Divide(by=number) for number in (1, 2, 4)]):
            yield part
        yield await self.workers.run(Divide(by=0))


@agent
class Helper:
    desk: Team

    @task
    async def divide(self, job: Divide) -> int:
        async with self.desk.claim(str(job.by)):
            await self.desk.publish(Opened(name="it"))
            return 100 // job.by


@skipping
async def test_a_replica_counts_what_it_does() -> None:
    async with Neighbourhood.of(TEAM, Boss=Boss, Helper=Helper) as around, around.user() as user:
        with pytest.raises(StreamBroken):
            [chunk async for chunk in user.stream("boss", "count")]
        boss = taken(around.running["boss"].recorder)
        helpers = [taken(around.running[f"helper.{number}"].recorder) for number in (1, 2)]
    assert boss.counts == {"asks/reader": 1, "chunks": 3, "tasks/Count/failed": 1}
    assert ("helper", "task", 4) in boss.flows
    assert sum(count for to, kind, count in boss.flows if (to, kind) == ("reader", "chunk")) == 4
    [news] = boss.tasks
    assert (news.task, news.state, news.origin) == ("Count", "failed", "reader/alice")
    assert "ZeroDivisionError" in news.error
    counts, flows = Counter[str](), Counter[tuple[str, str]]()
    for figures in helpers:
        assert (figures.inflight, figures.capacity) == (0, 2)
        counts.update(figures.counts)
        flows.update({(to, kind): count for to, kind, count in figures.flows})
    assert counts == {"tasks/Divide/done": 3, "tasks/Divide/failed": 1, "claims/won": 4}
    assert flows["boss", "result"] == 4
    assert flows["team/desk", "event"] == 4
    assert flows["team/desk", "claim"] >= 4


class Cut:
    """A connection that takes everything and answers nothing."""

    max_message_size = 65_536
    short_of_messages = False

    def publish_now(self, _channel: str, _data: object) -> asyncio.Future[int | None]:
        return asyncio.get_running_loop().create_future()

    send_now = publish_now


async def test_a_courier_counts_what_it_carries() -> None:
    recorder = Recorder()
    courier = Courier(Cut(), recorder)  # type: ignore[arg-type]
    courier.deliver(Send("boss", TaskResult("t")))
    courier.deliver(Publish("tasks/helper.1", TaskOffer("t", "boss", "Work")))
    courier.deliver(Send("helper.1", TaskCancel("t")))
    assert taken(recorder).flows == (("boss", "result", 1), ("helper", "task", 1))
