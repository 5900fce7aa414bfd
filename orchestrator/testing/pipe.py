"""One direction of a connection within one process: in order, late by as much as it is told, and held back on request."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_AT_ONCE: Final = 1e-9
"""Seconds by which a timer may be early, as those of an event loop are."""


class Pipe(Generic[T]):
    """Belongs to the event loop that is running when it is made."""

    def __init__(self, delay: Callable[[], float], out: Callable[[T], bool]) -> None:
        """`delay` gives the seconds that the next item takes. `out` is called with each item that is due, and tells
        whether somebody is to have a turn first: what else is due then waits for the next turn of the event loop.
        """
        self._delay, self._out = delay, out
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, T]] = deque()
        self._next: asyncio.Handle | None = None
        self._held = False

    def put(self, item: T) -> None:
        """Send an item on its way: it comes after everything before it."""
        due = self._loop.time() + self._delay()
        if self._under_way:
            due = max(due, self._under_way[-1][0])
        self._under_way.append((due, item))
        self._arm()

    def hold(self, on: bool) -> None:
        """Hold everything back, or let it go on."""
        self._held = on
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._arm()

    def clear(self) -> None:
        """Lose what is under way."""
        self._under_way.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _arm(self) -> None:
        if self._next is None and self._under_way and not self._held:
            self._next = self._loop.call_at(self._under_way[0][0], self._pass)

    def _pass(self) -> None:
        self._next = None
        while self._under_way and not self._held and self._under_way[0][0] <= self._loop.time() + _AT_ONCE:
            if self._out(self._under_way.popleft()[1]):
                break
        self._arm()
