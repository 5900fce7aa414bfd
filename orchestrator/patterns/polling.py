"""When a worker asks the store for tasks: when it is told of some, when some fall due, and now and then in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS: Final = 10.0
"""The longest that a task waits for a free worker which was never told of it."""
FIRST_PAUSE: Final = 0.25
"""Seconds after a first request without an answer, doubled with each one up to `POLL_SECONDS`."""


class Polling:
    """The time of the next request. Times are seconds of one clock of the caller's, one that never goes back."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        """`uniform` draws a number between two."""
        self._uniform = uniform
        self.due = float("-inf")
        """When to ask, as soon as there is room for a task."""
        self._told = False
        self._failures = 0

    def told(self, now: float) -> None:
        """Somebody says that there is work."""
        self.due = min(self.due, now)
        self._told = True

    def asked(self) -> None:
        """A request goes out: what is told from now on may be of something that it does not see."""
        self._told = False

    def answered(self, next_due: float | None, now: float) -> None:
        """The store has given what there was. `next_due` = in how many seconds there will be more, if that is known."""
        self._failures = 0
        wait = POLL_SECONDS if next_due is None else min(next_due, POLL_SECONDS)
        self.due = now if self._told else now + wait

    def failed(self, now: float) -> None:
        """There was no answer. Whoever tells of work meanwhile changes nothing about that."""
        longest = min(FIRST_PAUSE * 2.0 ** min(self._failures, 16), POLL_SECONDS)
        self._failures += 1
        self.due = now + self._uniform(longest / 2, longest)
