"""When a worker asks the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.patterns.polling import FIRST_PAUSE, POLL_SECONDS, Polling


def longest(_low: float, high: float) -> float:
    return high


def test_it_asks_at_once_and_then_when_something_falls_due() -> None:
    polling = Polling(longest)
    assert polling.due < 0
    polling.asked()
    polling.answered(3.0, now=10.0)
    assert polling.due == 13.0


def test_however_late_the_next_task_it_asks_every_ten_seconds() -> None:
    polling = Polling(longest)
    for next_due in (None, 3_600.0):
        polling.asked()
        polling.answered(next_due, now=10.0)
        assert polling.due == 10.0 + POLL_SECONDS


def test_a_word_while_the_store_is_being_asked_is_not_lost() -> None:
    polling = Polling(longest)
    polling.asked()
    polling.told(now=10.1)  # of a task that the request under way may not see
    polling.answered(None, now=10.2)
    assert polling.due <= 10.2


def test_a_store_that_is_silent_is_asked_less_and_less_often() -> None:
    polling = Polling(longest)
    pauses = []
    for _ in range(8):
        polling.asked()
        polling.failed(now=100.0)
        pauses.append(polling.due - 100.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    polling.answered(None, now=100.0)
    polling.failed(now=100.0)
    assert polling.due == 100.0 + FIRST_PAUSE


STEPS = st.lists(
    st.one_of(st.just(("told",)), st.just(("failed",)), st.tuples(st.just("answered"), st.none() | st.floats(0, 1e6))),
    max_size=40,
)


@given(STEPS, st.floats(0, 1))
def test_it_never_waits_longer_than_the_net(steps: list[tuple[object, ...]], share: float) -> None:
    polling, now = Polling(lambda low, high: low + share * (high - low)), 0.0
    for step in steps:
        now += 0.5
        if step[0] == "told":
            polling.told(now)
            assert polling.due <= now
        elif step[0] == "failed":
            polling.asked()
            polling.failed(now)
            assert now < polling.due <= now + POLL_SECONDS
        else:
            polling.asked()
            polling.answered(step[1], now)  # type: ignore[arg-type]
            assert now <= polling.due <= now + POLL_SECONDS
