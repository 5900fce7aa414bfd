"""The time at the servers is known between two bounds: who holds a lease never counts on it for longer than others see it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.nats_clock import FRESH, SKEW, ServerClock

DELAY = st.floats(0, 2)


class Steady:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(DELAY, DELAY, DELAY), min_size=1, max_size=8), st.floats(-1e3, 1e9), st.floats(0.1, 60))
def test_the_time_that_is_known_is_not_ahead_and_no_lease_ends_before_its_holder_thinks_so(
    answers: list[tuple[float, float, float]], offset: float, ttl: float
) -> None:
    steady = Steady()
    clock = ServerClock(steady)
    for there, back, pause in answers:
        asked = steady.now
        steady.now += there
        told = steady.now + offset
        steady.now += back
        clock.learn(asked, steady.now, told)
        steady.now += pause
    true = steady.now + offset
    assert clock.now() <= true + 1e-6
    end = clock.end(ttl)
    assert end >= true + ttl + SKEW - 1e-6
    assert clock.left(end) <= ttl + 1e-6


def test_it_is_asked_again_after_a_while_and_when_another_server_may_lead() -> None:
    steady = Steady()
    clock = ServerClock(steady)
    fresh = [clock.is_fresh]
    clock.learn(100, 100, 5_000)
    fresh.append(clock.is_fresh)
    steady.now += FRESH
    fresh.append(clock.is_fresh)
    clock.learn(steady.now, steady.now, 5_010)
    fresh.append(clock.is_fresh)
    clock.forget()
    fresh.append(clock.is_fresh)
    clock.learn(steady.now, steady.now, 9_000)
    assert fresh == [False, True, False, True, False]
    assert clock.now() == 9_000


def test_a_clock_that_was_set_is_followed() -> None:
    steady = Steady()
    clock = ServerClock(steady)
    clock.learn(100, 100.5, 5_000)
    clock.learn(100, 100.5, 4_000)
    assert clock.now() == steady.now + 4_000 - 100.5
