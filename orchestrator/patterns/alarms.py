"""Times at which tasks want to be looked at, in order; setting one is cheap, and stale ones do no harm."""

from __future__ import annotations

import heapq
from collections.abc import Container
from typing import Final

STALE_ALARMS: Final = 1_024
"""Alarms of tasks that have ended, kept before they are swept out."""


class Alarms:
    """A heap of times and the ids that they are for; an empty id is for nobody, and wakes all the same."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._sweep_above = STALE_ALARMS

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, when: float, task_id: str = "") -> None:
        heapq.heappush(self._heap, (when, task_id))

    def due(self, now: float) -> list[str]:
        """Take out whatever is due, and return whom it is for, earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[1])
        return found

    def next(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def sweep(self, alive: Container[str]) -> None:
        """Let go of the alarms of tasks that have ended, before they outnumber the others."""
        if len(self._heap) > self._sweep_above:
            self._heap = [alarm for alarm in self._heap if not alarm[1] or alarm[1] in alive]
            heapq.heapify(self._heap)
            self._sweep_above = 2 * len(self._heap) + STALE_ALARMS
