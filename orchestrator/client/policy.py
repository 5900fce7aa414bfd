"""How long to stay away after a connection ended, and when to stop coming back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenacity import RetryCallState, Retrying
from tenacity.stop import stop_after_attempt, stop_never
from tenacity.wait import wait_base, wait_exponential, wait_fixed

if TYPE_CHECKING:
    import random

_RETRYING: Final = Retrying()


LEAST_SHARE: Final = 1 / 3
"""Of the ceiling, below which no delay is drawn.

Drawn from zero on, a peer that draws short again and again makes 20 attempts within a minute, and one that draws long
stretches a storm: of 1,000 peers cut for 3 s the busiest 100 ms then sees 3 to 20 times the mean, whatever the initial
delay and the multiplier are. With a third of the ceiling and the defaults below it is 2.3 to 2.6 times, everybody is
back after 6 s, and whoever is cut once returns after two thirds of a second on average.
"""


class Jitter(wait_base):
    """Wait for a uniformly drawn part of what another strategy says, so that peers cut together spread out."""

    def __init__(self, ceiling: wait_base, rng: random.Random) -> None:
        self._ceiling, self._rng = ceiling, rng

    def __call__(self, retry_state: RetryCallState) -> float:
        ceiling = self._ceiling(retry_state)
        return self._rng.uniform(ceiling * LEAST_SHARE, ceiling)


class AtLeast(wait_base):
    """Wait for as long as another strategy says, but no less than about `floor` seconds (±20 %)."""

    def __init__(self, strategy: wait_base, floor: float, rng: random.Random) -> None:
        self._strategy, self._floor, self._rng = strategy, floor, rng

    def __call__(self, retry_state: RetryCallState) -> float:
        return max(self._strategy(retry_state), self._floor * self._rng.uniform(0.8, 1.2))


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Exponential backoff with jitter. Attempts are counted from 1, anew after each stable connection."""

    initial: float = 1.0
    """Seconds up to which the first delay is drawn."""
    multiplier: float = 1.3
    cap: float = 30.0
    """Seconds that no drawn delay exceeds."""
    max_attempts: int | None = 100
    """Consecutive attempts after which the client gives up; `None` = never."""
    stable_after: float = 30.0
    """Seconds after which a connection counts as stable: one that ends sooner continues the count."""
    per_minute: int | None = 12
    """Attempts within any 60 seconds, which a run of short draws does not exceed; `None` = as the draws fall."""

    def __post_init__(self) -> None:
        for name, least in (("initial", 0.0), ("multiplier", 1.0), ("cap", 0.0), ("stable_after", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"reconnect policy: {name} is a number of at least {least:g}, not {value!r}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"reconnect policy: max_attempts is at least 1, or None, not {self.max_attempts!r}")
        if self.per_minute is not None and self.per_minute < 1:
            raise ValueError(f"reconnect policy: per_minute is at least 1, or None, not {self.per_minute!r}")

    def exhausted(self, attempt: int) -> bool:
        """Tell whether attempt number `attempt`, which has failed, was the last one allowed."""
        stop = stop_never if self.max_attempts is None else stop_after_attempt(self.max_attempts)
        return stop(_before(attempt))

    def delay(self, attempt: int, rng: random.Random, *, retry_after: float = 0.0, slow_floor: float = 0.0) -> float:
        """Return the seconds to wait before attempt number `attempt`.

        `retry_after` is what the hub asked for: the drawn delay comes on top, so that those who were told the same do
        not return together. `slow_floor` is what the close code asks for.
        """
        ceiling = wait_exponential(multiplier=self.initial, exp_base=self.multiplier, max=self.cap)
        strategy: wait_base = wait_fixed(retry_after) + Jitter(ceiling, rng)
        if slow_floor:
            strategy = AtLeast(strategy, slow_floor, rng)
        return strategy(_before(attempt))


def _before(attempt: int) -> RetryCallState:
    """Return what tenacity's strategies are asked with; its clock fields are not used."""
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = attempt
    return state
