"""What a run tells its dashboards: each thing once, all of it to newcomers, and never more than is bearable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.dashboard import RunUpdate
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.limits import MAX_JOINED_SIZE
from orchestrator.runtime.control import BUCKETS, Figures, TaskNews
from orchestrator.runtime.operator_wire import ReplicaView
from orchestrator.runtime.records import Record, Source
from orchestrator.runtime.run_feed import LOAD_EVERY, MAX_LOG, MAX_TASKS, MAX_TEXT, RunFeed, quantile

MIB = 1_048_576


def replica(peer: str, state: Any = "ready", **more: Any) -> ReplicaView:
    return ReplicaView(peer.partition(".")[0], peer, "here", state, **more)


def news(number: int, state: Any = "done", **more: Any) -> TaskNews:
    return TaskNews(f"t{number}", "Research", state, 100.0, **more)


def taken(feed: RunFeed, now: float = 0.0) -> RunUpdate:
    update = feed.take(now, 1_790_000_000.0)
    assert update is not None
    return update


def test_what_has_not_changed_is_not_told_again() -> None:
    feed = RunFeed()
    feed.stands([replica("a.1"), replica("a.2")])
    assert [each.peer for each in taken(feed).replicas] == ["a.1", "a.2"]
    feed.stands([replica("a.1"), replica("a.2", "waiting", restarts=1)])
    assert [(each.peer, each.state) for each in taken(feed, 1.0).replicas] == [("a.2", "waiting")]
    feed.stands([replica("a.1"), replica("a.2", "waiting", restarts=1)])
    assert feed.take(2.0, 0.0) is None


def test_one_that_is_no_part_of_the_run_any_more_is_gone_and_may_come_back() -> None:
    feed = RunFeed()
    feed.stands([replica("a.1"), replica("a.2")])
    feed.take(0.0, 0.0)
    feed.stands([replica("a.1")])
    assert taken(feed, 1.0).gone == ("a.2",)
    feed.stands([])
    feed.stands([replica("a.1")])  # within one update
    update = taken(feed, 2.0)
    assert (update.gone, [each.peer for each in update.replicas]) == ((), ["a.1"])


def test_memory_that_breathes_is_not_worth_an_update() -> None:
    feed = RunFeed()
    feed.stands([replica("a.1", memory=50 * MIB)])
    feed.take(0.0, 0.0)
    feed.stands([replica("a.1", memory=51 * MIB)])
    assert feed.take(1.0, 0.0) is None
    feed.stands([replica("a.1", memory=60 * MIB)])
    assert taken(feed, 2.0).replicas[0].memory == 60 * MIB


def test_messages_are_counted_by_their_two_ends_and_kind() -> None:
    feed = RunFeed()
    feed.heard("lead", "lead", Figures(flows=(("reviewer", "task", 2),)))
    feed.heard("lead", "lead", Figures(flows=(("reviewer", "task", 3), ("team/desk", "event", 1))))
    feed.heard("reviewer.1", "reviewer", Figures(flows=(("lead", "result", 4),)))
    feed.heard("lead", "lead", Figures(counts={"asks/cli": 2}))
    assert set(taken(feed).flows) == {
        ("lead", "reviewer", "task", 5),
        ("lead", "team/desk", "event", 1),
        ("reviewer", "lead", "result", 4),
        ("cli", "lead", "ask", 2),
    }
    assert feed.take(0.1, 0.0) is None


def test_load_is_told_of_those_that_work_and_once_more_when_they_rest() -> None:
    feed = RunFeed()
    feed.stands([replica("a.1", inflight=2, capacity=4), replica("a.2", capacity=4), replica("b.1", capacity=1)])
    steps = (0,) * 4 + (10,) + (0,) * (len(BUCKETS) - 4)
    feed.heard("a.1", "a", Figures(2, 4, {"tasks/R/done": 9, "tasks/R/failed": 1, "chunks": 7}, {"R": steps}))
    (load,) = taken(feed).load
    assert (load.agent, load.inflight, load.capacity, load.ended, load.failed) == ("a", 2, 8, 10, 1)
    assert load.p50 is not None
    assert BUCKETS[3] < load.p50 < BUCKETS[4]
    feed.stands([replica("a.1", capacity=4), replica("a.2", capacity=4), replica("b.1", capacity=1)])
    assert taken(feed, LOAD_EVERY / 2).load == ()
    assert feed.owes_load
    (rest,) = taken(feed, LOAD_EVERY).load
    assert (rest.agent, rest.inflight, rest.ended, rest.p50) == ("a", 0, 0, None)
    assert not feed.owes_load


def test_a_newcomer_is_told_everything_and_takes_nothing_from_the_others() -> None:
    feed = RunFeed()
    feed.stands([replica("a.1"), replica("a.2", "failed", last_error="exit 1", detail="exit 1")])
    said = [(Source("a.1", "a", 1), Record(5.0, "error", "it broke", {"why": "x"}, "Traceback"))]
    whole = feed.whole(7.0, [("a.1", news(1, "failed", error="ValueError: no"))], said)
    assert whole.whole
    assert [(each.peer, each.detail) for each in whole.replicas] == [("a.1", ""), ("a.2", "exit 1")]
    assert [(each.peer, each.error) for each in whole.tasks] == [("a.1", "ValueError: no")]
    assert (whole.log[0].event, whole.log[0].exception) == ("it broke", "Traceback")
    assert len(taken(feed).replicas) == 2


def test_what_is_too_much_is_counted() -> None:
    feed = RunFeed()
    record = Record(1.0, "info", "said")
    feed.said([(Source("a.1", "a", 1), record)] * (MAX_LOG + 5), missed=2)
    feed.heard("a.1", "a", Figures(tasks=tuple(map(news, range(MAX_TASKS + 3))), missed=4))
    update = taken(feed)
    assert (len(update.log), len(update.tasks), update.missed) == (MAX_LOG, MAX_TASKS, 5 + 2 + 3 + 4)
    assert update.tasks[-1].id == f"t{MAX_TASKS + 2}"


def test_a_line_is_cut_to_what_people_read_and_numbers_that_pages_cannot_hold_are_text() -> None:
    feed = RunFeed()
    fields = {"long": "x" * 99_999, "big": 2**60, "list": [1, 2], "none": None, "yes": True}
    feed.said([(Source("a.1", "a", 1), Record(1.0, "info", "y" * 99_999, fields, "z" * 99_999))])
    (line,) = taken(feed).log
    assert len(line.event) < MAX_TEXT + 40
    assert len(line.exception) < MAX_TEXT + 40
    assert len(line.fields["long"]) < MAX_TEXT + 40
    assert {name: line.fields[name] for name in ("big", "list", "none", "yes")} == {
        "big": str(2**60),
        "list": "[1, 2]",
        "none": None,
        "yes": True,
    }


STEPS = st.lists(st.integers(0, 50), min_size=len(BUCKETS) + 1, max_size=len(BUCKETS) + 1)


@given(STEPS, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_step_that_its_rank_falls_into(steps: list[int], share: float) -> None:
    found = quantile(steps, share)
    total = sum(steps)
    if not total:
        assert found is None
        return
    assert found is not None
    rank, below = share * total, 0
    for number, count in enumerate(steps):
        if below + count >= rank - 1e-9:
            low = 0.0 if number == 0 else BUCKETS[number - 1]
            high = BUCKETS[min(number, len(BUCKETS) - 1)]
            assert low - 1e-9 <= found <= high + 1e-9
            return
        below += count


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_of_no_tasks_there_is_no_quantile(share: float) -> None:
    assert quantile([0] * (len(BUCKETS) + 1), share) is None


def test_whatever_is_said_one_update_has_room_for_the_last_of_it() -> None:
    feed, nul = RunFeed(), "\0" * MAX_TEXT
    lines = [
        (Source("a.1", "a", 1), Record(float(n), "info", f"{n}{nul}", {str(m): nul for m in range(40)}, nul))
        for n in range(MAX_LOG)
    ]
    tasks = [("a.1", news(n, "failed", error=nul)) for n in range(MAX_TASKS)]
    feed.stands([replica(f"a.{n}", "failed", detail=nul) for n in range(500)])
    feed.said(lines)
    feed.heard("a.1", "a", Figures(tasks=tuple(task for _, task in tasks)))
    whole = feed.whole(0.0, tasks, lines)
    update = taken(feed)
    for told in (whole, update):
        assert len(encode_json(told)) < MAX_JOINED_SIZE
        assert told.log[-1].event.startswith(str(MAX_LOG - 1))
        assert told.tasks[-1].id == f"t{MAX_TASKS - 1}"
    assert update.missed == MAX_LOG - len(update.log) + MAX_TASKS - len(update.tasks)
