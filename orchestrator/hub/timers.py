"""Everything that is to happen later, in one heap: the hub says when it wants to be called next."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """Callbacks by due time, in monotonic seconds; equal times run in the order they were set.

    There is no cancelling: a callback looks whether what it is for still stands. All but the few callbacks of a
    connection run within a ping interval, so those of closed connections do not pile up.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def at(self, when: float, callback: Callable[[float], None]) -> None:
        """Call `callback` with the time then, at `when` or as soon after it as `run` is called."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, callback))

    @property
    def next(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Run what is due; what is set meanwhile for a time not after `now` runs too."""
        while self._heap and self._heap[0][0] <= now:
            _, _, callback = heapq.heappop(self._heap)
            callback(now)
