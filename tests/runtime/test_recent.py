"""What a run keeps of what was said: bounded in every way, in its order, and passed on to followers without a gap."""

from __future__ import annotations

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.lanes import OVERHEAD
from orchestrator.runtime.recent import MAX_UNREAD, Recent
from orchestrator.runtime.records import RUN, Record, Source

A1, A2, B = Source("a.1", "a", 1), Source("a.2", "a", 2), Source("b", "b", 1)
SECONDS = 10


def record(event: str) -> Record:
    return Record(0.0, "info", event)


def events(found: tuple[tuple[Source, Record], ...]) -> list[str]:
    return [record.event for _, record in found]


def test_the_last_of_each_source_are_kept_and_the_oldest_go_first() -> None:
    recent = Recent(max_records=3)
    for number in range(10):
        recent.put(A1, record(f"a{number}"))
    recent.put(B, record("b"))
    assert events(recent.tail((), 100)) == ["a7", "a8", "a9", "b"]
    assert events(recent.tail((), 2)) == ["a9", "b"]
    assert events(recent.tail((), 0)) == []


def test_agents_and_replicas_are_both_names() -> None:
    recent = Recent()
    for source in (A1, A2, B, RUN):
        recent.put(source, record(source.name))
    assert events(recent.tail(["a"], 9)) == ["a.1", "a.2"]
    assert events(recent.tail(["a.2", "run"], 9)) == ["a.2", "run"]


def test_long_texts_take_the_place_of_many() -> None:
    recent = Recent(max_text=1_000)
    for number in range(10):
        recent.put(A1, Record(0.0, "info", str(number), {"blob": ["x" * 300]}, "y" * 100))
    assert events(recent.tail((), 100)) == ["8", "9"]


def test_one_that_is_longer_than_all_may_be_is_cut() -> None:
    recent = Recent(max_text=1_000)
    recent.put(A1, record("short"))
    recent.put(A1, record("x" * 5_000))
    short, long = events(recent.tail((), 9))
    assert short == "short"
    assert long == "x" * 250 + "… (5,000 characters)"


@given(
    st.lists(st.tuples(st.sampled_from([A1, A2, B]), st.integers(0, 3_000)), max_size=60),
    st.integers(1, 10),
    st.integers(500, 4_000),
    st.integers(4_000, 12_000),
)
def test_whatever_is_said_the_bounds_hold_and_the_newest_is_there(
    said: list[tuple[Source, int]], max_records: int, max_text: int, max_weight: int
) -> None:
    recent = Recent(max_records=max_records, max_text=max_text, max_weight=max_weight)
    for number, (source, size) in enumerate(said):
        recent.put(source, Record(float(number), "info", "x" * size))
        kept = recent.tail((), 1_000)
        assert kept[-1][1].time == number
        times = [each.time for _, each in kept]
        assert times == sorted(times)
        if len(kept) > 1:
            assert sum(len(each.event) + OVERHEAD for _, each in kept) <= max_weight
        for one in (A1, A2, B):
            own = recent.tail([one.name], 1_000)
            assert len(own) <= max_records
            assert sum(len(each.event) for _, each in own) <= max_text


async def test_a_follower_is_given_the_last_and_then_each_as_it_comes() -> None:
    recent = Recent()
    recent.put(A1, record("1"))
    recent.put(A1, record("2"))
    with recent.follow(["a"], 1) as follower:
        async with asyncio.timeout(SECONDS):
            assert events((await follower.next()).records) == ["2"]
            recent.put(B, record("not asked for"))
            recent.put(A2, record("3"))
            assert events((await follower.next()).records) == ["3"]
    recent.put(A1, record("after"))
    assert follower.now().records == ()


async def test_what_other_threads_say_is_passed_on_too() -> None:
    recent = Recent()
    total = 4_000
    with recent.follow() as follower:

        def say(source: Source) -> None:
            for number in range(total // 2):
                recent.put(source, record(str(number)))

        threads = [threading.Thread(target=say, args=(source,)) for source in (A1, B)]
        for thread in threads:
            thread.start()
        found: list[tuple[Source, Record]] = []
        async with asyncio.timeout(SECONDS):
            while len(found) < total:
                heard = await follower.next()
                assert heard.missed == 0
                found += heard.records
        for thread in threads:
            thread.join()
    for source in (A1, B):
        assert [each.event for who, each in found if who == source] == [str(number) for number in range(total // 2)]


async def test_a_follower_that_does_not_read_misses_the_oldest_and_is_told_how_many() -> None:
    recent = Recent()
    with recent.follow() as follower:
        for number in range(MAX_UNREAD + 7):
            recent.put(A1, record(str(number)))
        heard = follower.now()
        assert heard.missed == 7
        assert len(heard.records) == MAX_UNREAD
        assert heard.records[0][1].event == "7"
        assert follower.now().missed == 0
