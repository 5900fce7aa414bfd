"""What a run knows of what its replicas did, whatever becomes of their processes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.control import Figures, ReplicaFigures, TaskNews
from orchestrator.runtime.gathered import MAX_ENDED, MAX_RUNNING, MAX_SERIES, OTHER, Gathered, Work

PEER = "helper.1"


def news(task_id: str, state: str = "done", at: float = 5.0) -> TaskNews:
    return TaskNews(task_id, "Work", state, at, "boss")  # type: ignore[arg-type]


def test_differences_become_totals() -> None:
    gathered = Gathered()
    gathered.began(PEER, "helper", 4)
    assert gathered.totals() == (ReplicaFigures("helper", PEER, capacity=4),)
    told = Figures(2, 4, {"tasks/Work/done": 3, "chunks": 7}, {"Work": (1, 2)}, {"Work": 0.5})
    gathered.heard(PEER, "helper", told)
    gathered.heard(PEER, "helper", Figures(1, 4, {"tasks/Work/failed": 1}, {"Work": (0, 1)}, {"Work": 1.0}))
    gathered.restarts = Counter({PEER: 2})
    counts = {"tasks/Work/done": 3, "chunks": 7, "tasks/Work/failed": 1}
    assert gathered.totals() == (
        ReplicaFigures("helper", PEER, 2, 1, 4, counts, {"Work": (1, 3)}, {"Work": 1.5}),
    )  # fmt: skip
    assert gathered.standing(PEER) == Work(1, 4, 3, 1)
    assert gathered.standing("nobody") == Work(0, 0, 0, 0)


def test_a_new_process_begins_anew_and_its_totals_do_not() -> None:
    gathered = Gathered()
    gathered.began(PEER, "helper", 4)
    gathered.heard(PEER, "helper", Figures(2, 4, {"tasks/Work/done": 3}))
    gathered.ended(PEER, 9.0)
    assert gathered.standing(PEER) == Work(0, 4, 3, 0), "the last process is still of interest"
    gathered.began(PEER, "helper", 4)
    assert gathered.standing(PEER) == Work(0, 4, 0, 0)
    assert gathered.totals()[0].counts == {"tasks/Work/done": 3}


def test_what_a_process_had_under_way_is_lost_with_it() -> None:
    gathered, heard = Gathered(), list[tuple[str, Figures]]()
    gathered.began(PEER, "helper", 4)
    gathered.heard(PEER, "helper", Figures(2, 4, tasks=(news("a", "running"), news("b", "running"), news("c"))))
    gathered.heard("helper.2", "helper", Figures(1, 4, tasks=(news("a", "running"),)))
    leave = gathered.listen(lambda peer, figures: heard.append((peer, figures)))
    gathered.ended(PEER, 8.0)
    [(peer, figures)] = heard
    assert (peer, figures.inflight, figures.counts) == (PEER, 0, {"tasks/Work/lost": 2})
    assert [(each.id, each.state, each.time, each.seconds) for each in figures.tasks] == [
        ("a", "lost", 8.0, 3.0),
        ("b", "lost", 8.0, 3.0),
    ]
    assert [(where, each.id, each.state) for where, each in gathered.recent_tasks()] == [
        (PEER, "c", "done"),
        (PEER, "a", "lost"),
        (PEER, "b", "lost"),
        ("helper.2", "a", "running"),
    ]
    leave()
    gathered.heard(PEER, "helper", Figures(1, 4))
    gathered.ended(PEER, 9.0)
    gathered.ended("nobody", 9.0)
    assert len(heard) == 1


def test_a_listener_may_leave_while_it_is_told() -> None:
    gathered, heard = Gathered(), list[str]()

    def once(peer: str, _figures: Figures) -> None:
        heard.append(peer)
        leave()

    leave = gathered.listen(once)
    gathered.listen(lambda peer, _figures: heard.append(peer))
    gathered.heard("a", "a", Figures())
    gathered.heard("b", "b", Figures())
    assert heard == ["a", "a", "b"]


def test_tasks_are_bounded() -> None:
    gathered = Gathered()
    for number in range(MAX_RUNNING + 100):
        gathered.heard(PEER, "helper", Figures(tasks=(news(f"r{number}", "running"), news(f"e{number}"))))
    found = gathered.recent_tasks()
    assert len(found) == MAX_RUNNING + MAX_ENDED
    assert found[MAX_ENDED - 1][1].id == f"e{MAX_RUNNING + 99}"


REPORTS = st.lists(
    st.one_of(
        st.sampled_from(["a", "b"]).map(lambda peer: (peer, None)),
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.dictionaries(st.sampled_from(["tasks/Work/done", "tasks/Work/failed", "chunks"]), st.integers(0, 9)),
        ),
    )
)


@given(REPORTS)
def test_no_count_ever_falls(reports: list[tuple[str, dict[str, int] | None]]) -> None:
    gathered = Gathered()
    total: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
    for peer, counts in reports:
        if counts is None:
            gathered.ended(peer, 1.0)
            gathered.began(peer, peer, 1)
        else:
            gathered.heard(peer, peer, Figures(counts=counts))
            total[peer].update(counts)
    for figures in gathered.totals():
        assert figures.counts == dict(total[figures.peer])


def test_no_process_can_have_ever_more_names_counted() -> None:
    gathered = Gathered()
    for start in range(3):
        names = [f"x{start}-{number}" for number in range(MAX_SERIES)]
        gathered.heard(PEER, "helper", Figures(0, 1, dict.fromkeys(names, 1), dict.fromkeys(names, (1,))))
    (told,) = gathered.totals()
    assert len(told.counts) == len(told.seconds) == MAX_SERIES + 1
    assert told.counts[OTHER] == 2 * MAX_SERIES
    assert told.seconds[OTHER] == (2 * MAX_SERIES,)
