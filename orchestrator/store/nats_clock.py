"""What time it is at the servers, as far as that is known here: they tell it only when they are asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

SKEW: Final = 0.5
"""Seconds by which the clocks of the servers of one cluster may differ. Leases are kept for so much longer before somebody
else may have what was held, so that it makes no difference which server leads."""
FRESH: Final = 10.0
"""Seconds after which the time is asked for again."""


class StoreClock(Protocol):
    """Unix seconds, by the clock of the store."""

    def now(self) -> float:
        """Return a time that is not ahead of the store's: what is over by it is over."""
        ...

    def end(self, seconds: float) -> float:
        """Return the time at which a lease of so many seconds that is asked for now is over, and not before its holder
        thinks so, whenever the request arrives."""
        ...

    def left(self, end: float) -> float:
        """Return how long the holder of a lease with this end may still count on it."""
        ...


class ServerClock:
    """The time of whichever server leads, between two bounds: an answer was written after it was asked for and before it was heard.

    It rests on two assumptions: that clocks run equally fast while an answer is `FRESH`, and that those of the servers are
    within `SKEW` of each other.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self.steady = steady
        self._behind: float | None = None
        self._ahead = 0.0
        self._heard = 0.0
        self._doubted = True

    @property
    def is_fresh(self) -> bool:
        return not self._doubted and self.steady() - self._heard < FRESH

    def forget(self) -> None:
        """Ask again before the next request: another server may lead now."""
        self._doubted = True

    def learn(self, asked: float, heard: float, told: float) -> None:
        """Take in the server's time out of an answer, asked for and heard at these steady times."""
        behind, ahead = told - heard, told - asked
        if self._doubted or self._behind is None or max(behind, self._behind) > min(ahead, self._ahead):
            self._behind, self._ahead = behind, ahead
        else:
            self._behind, self._ahead = max(behind, self._behind), min(ahead, self._ahead)
        self._heard, self._doubted = heard, False

    def now(self) -> float:
        assert self._behind is not None, "asked for before the servers had told it"
        return self.steady() + self._behind

    def end(self, seconds: float) -> float:
        assert self._behind is not None, "asked for before the servers had told it"
        return self.steady() + self._ahead + seconds + SKEW

    def left(self, end: float) -> float:
        assert self._behind is not None, "asked for before the servers had told it"
        return max(end - SKEW - self.steady() - self._ahead, 0.0)


class SetClock:
    """A clock that is given, and exact."""

    is_fresh = True

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.steady = time.monotonic

    def forget(self) -> None:
        """It is never unknown."""

    def learn(self, asked: float, heard: float, told: float) -> None:
        """It knows better."""

    def end(self, seconds: float) -> float:
        return self.now() + seconds

    def left(self, end: float) -> float:
        return max(end - self.now(), 0.0)
