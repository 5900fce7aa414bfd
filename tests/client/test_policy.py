from __future__ import annotations

import random
from collections import Counter

import pytest

from orchestrator.client.policy import ReconnectPolicy


class Ceiling(random.Random):
    """Always draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Floor(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


def test_84_the_upper_end_of_delays_grows_up_to_the_cap() -> None:
    drawn = [ReconnectPolicy().delay(attempt, Ceiling()) for attempt in (1, 2, 3, 13, 14, 10_000)]
    assert drawn == [1.0, 1.3, pytest.approx(1.69), pytest.approx(1.3**12), 30, 30]
    assert ReconnectPolicy(initial=0.5, multiplier=2).delay(6, Ceiling()) == 16


def test_84_delays_are_drawn_from_a_third_of_the_upper_end_on() -> None:
    policy = ReconnectPolicy(initial=1, multiplier=2)
    assert policy.delay(3, Floor()) == pytest.approx(4 / 3)
    rng = random.Random(7)
    drawn = [policy.delay(3, rng) for _ in range(2_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(8 / 3, rel=0.05)


def test_hazard_4_a_storm_of_a_thousand_is_spread_and_short() -> None:
    """All are cut at once, and whoever comes back within three seconds is refused."""
    for seed in range(10):
        rng = random.Random(seed)
        attempts: list[float] = []
        back: list[float] = []
        for _ in range(1_000):
            now, attempt = 0.0, 0
            while now < 3.0:
                attempt += 1
                now += ReconnectPolicy().delay(attempt, rng)
                attempts.append(now)
            back.append(now)
        first = min(attempts)
        bins = Counter(int((when - first) * 10) for when in attempts)
        mean = len(attempts) / (int((max(attempts) - first) * 10) + 1)
        assert max(bins.values()) <= 3 * mean
        assert max(back) <= 8


def test_83_a_slow_floor_gives_24_to_36_seconds() -> None:
    rng = random.Random(7)
    drawn = [ReconnectPolicy().delay(attempt, rng, slow_floor=30.0) for attempt in range(1, 200)]
    assert 24 <= min(drawn) < 25 and 35 < max(drawn) <= 36


def test_96_what_the_hub_asked_for_is_a_floor_and_the_spread_comes_on_top() -> None:
    rng = random.Random(7)
    drawn = {ReconnectPolicy().delay(1, rng, retry_after=2.0) for _ in range(100)}
    assert min(drawn) >= 2.0 and max(drawn) <= 3.0
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
        ({"per_minute": 0}, "per_minute"),
        ({"stable_after": float("inf")}, "stable_after"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(mistake: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ReconnectPolicy(**mistake)  # type: ignore[arg-type]
