"""How late the event loop comes to what is due: looked at only as long as somebody reads it."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds."""
_STEP: Final = 0.5
_KEPT: Final = 300.0
"""Seconds without a reader, after which nobody looks any more."""


class LoopLag:
    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    def read(self, loop: asyncio.AbstractEventLoop) -> tuple[tuple[int, ...], float]:
        """Return how often it was late by up to each of `BOUNDS` and by more, and by how much in all; and go on looking."""
        self._until = loop.time() + _KEPT
        if self._timer is None:
            self._look_later(loop)
        return tuple(self.counts), self.total

    @property
    def looks(self) -> bool:
        return self._timer is not None

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _STEP
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        late = max(0.0, loop.time() - due)
        self.counts[bisect_left(BOUNDS, late)] += 1
        self.total += late
        self._timer = None
        if loop.time() < self._until:
            self._look_later(loop)
