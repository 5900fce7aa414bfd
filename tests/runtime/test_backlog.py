"""What waits to be written: in its order while it is little, by turns when it is much, and never more than it may be."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.backlog import MAX_WAITING, Backlog
from orchestrator.runtime.lanes import OVERHEAD
from orchestrator.runtime.records import Record, Source

LOUD, QUIET, OTHER = (Source(name, name) for name in ("loud", "quiet", "other"))
LOST = "log lines were dropped"


def record(event: str, time: float = 0.0) -> Record:
    return Record(time, "info", event)


def taken(backlog: Backlog) -> list[tuple[Source, Record]]:
    found = []
    while (item := backlog.take()) is not None:
        found.append(item)
    return found


def test_a_little_is_taken_in_the_order_in_which_it_came() -> None:
    backlog = Backlog()
    sources = [LOUD, LOUD, LOUD, QUIET, LOUD, QUIET]
    for source in sources:
        backlog.add(source, record("x"))
    assert [source for source, _ in taken(backlog)] == sources


def test_whoever_says_little_is_not_kept_waiting_by_whoever_says_much() -> None:
    backlog = Backlog()
    for number in range(9_000):
        backlog.add(LOUD, record(str(number)))
    backlog.add(QUIET, record("still heard"))
    backlog.add(OTHER, record("so am i"))
    first = {source for source, _ in (backlog.take() or (LOUD, record("")) for _ in range(3))}
    assert first == {LOUD, QUIET, OTHER}


def test_turns_are_taken() -> None:
    backlog = Backlog()
    for source in (LOUD, OTHER):
        for number in range(500):
            backlog.add(source, record(str(number)))
    first = [source for source, _ in taken(backlog)][:800]
    assert first == [LOUD, OTHER] * 400


def test_in_all_it_is_bounded_and_the_loudest_loses() -> None:
    limit = 100 * OVERHEAD + 100_000
    backlog = Backlog(limit)
    for number in range(500):
        backlog.add(LOUD, record("x" * 1_000, number))
    for number in range(10):
        backlog.add(QUIET, record("x" * 1_000, number))
    found = taken(backlog)
    told = {source: each.fields["count"] for source, each in found if each.event == LOST}
    assert sum(1 for source, _ in found if source == QUIET) == 10
    assert set(told) == {LOUD}
    assert sum(1 for source, each in found if source == LOUD and each.event != LOST) + told[LOUD] == 500


@given(
    st.lists(st.tuples(st.sampled_from([LOUD, QUIET, OTHER]), st.integers(0, 4_000)) | st.none(), max_size=80),
    st.integers(OVERHEAD + 4_100, 20_000),
)
def test_everything_is_written_or_counted_and_each_source_keeps_its_order(
    steps: list[tuple[Source, int] | None], limit: int
) -> None:
    """`None` in the steps: something is taken."""
    backlog = Backlog(limit)
    added: Counter[Source] = Counter()
    found: list[tuple[Source, Record]] = []
    for step in steps:
        if step is None:
            item = backlog.take()
            found += [] if item is None else [item]
        else:
            source, size = step
            added[source] += 1
            backlog.add(source, record("x" * size, added[source]))
    found += taken(backlog)
    assert len(backlog) == 0
    for source in (LOUD, QUIET, OTHER):
        own = [each for who, each in found if who == source]
        lost = sum(each.fields["count"] for each in own if each.event == LOST)
        times = [each.time for each in own if each.event != LOST]
        assert len(times) + lost == added[source]
        assert times == sorted(times)


def test_of_one_source_not_more_waits_than_may() -> None:
    backlog = Backlog()
    for _ in range(MAX_WAITING + 5):
        backlog.add(LOUD, record("x"))
    found = taken(backlog)
    assert len(found) == MAX_WAITING + 1
    assert [each.fields["count"] for _, each in found if each.event == LOST] == [5]
