from __future__ import annotations

import random

import pytest

from orchestrator.client.policy import ReconnectPolicy


class Ceiling(random.Random):
    """Always draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Floor(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


def test_84_the_upper_end_of_delays_doubles_up_to_the_cap() -> None:
    policy = ReconnectPolicy()
    drawn = [policy.delay(attempt, Ceiling()) for attempt in (1, 2, 3, 4, 5, 6, 7, 8, 10_000)]
    assert drawn == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_84_delays_are_drawn_from_zero_on() -> None:
    assert ReconnectPolicy().delay(6, Floor()) == 0.0
    rng = random.Random(7)
    drawn = [ReconnectPolicy().delay(6, rng) for _ in range(2_000)]
    assert 0 <= min(drawn) < 1 and 15 < max(drawn) <= 16
    assert sum(drawn) / len(drawn) == pytest.approx(8, rel=0.1)


def test_83_a_slow_floor_gives_24_to_36_seconds() -> None:
    rng = random.Random(7)
    drawn = [ReconnectPolicy().delay(attempt, rng, slow_floor=30.0) for attempt in range(1, 200)]
    assert 24 <= min(drawn) < 25 and 35 < max(drawn) <= 36


def test_96_what_the_hub_asked_for_is_a_floor_and_the_spread_comes_on_top() -> None:
    rng = random.Random(7)
    drawn = {ReconnectPolicy().delay(1, rng, retry_after=2.0) for _ in range(100)}
    assert min(drawn) >= 2.0 and max(drawn) <= 2.5
    assert len(drawn) == 100


def test_attempts_are_limited_or_not() -> None:
    assert not ReconnectPolicy(max_attempts=3).exhausted(2)
    assert ReconnectPolicy(max_attempts=3).exhausted(3)
    assert not ReconnectPolicy(max_attempts=None).exhausted(10**9)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ({"initial": -1.0}, "initial"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"cap": float("nan")}, "cap"),
        ({"stable_after": float("inf")}, "stable_after"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(mistake: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ReconnectPolicy(**mistake)  # type: ignore[arg-type]
