"""A dashboard that looks on, and what it has not been told yet: bounded, and without a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BEHIND: Final = 20
"""Updates that wait for one dashboard; with more it is told everything anew once it has caught up."""


class Watcher:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.task: asyncio.Task[None]
        """Tells it."""
        self.anew = False
        """It is to be told everything."""
        self.outlined: object = None
        """What it was told that the run consists of."""
        self.news = asyncio.Event()
        """There is something to take."""
        self._waiting: deque[bytes] = deque()

    def start_over(self) -> None:
        self.anew = True
        self._waiting.clear()
        self.news.set()

    def put(self, message: bytes) -> None:
        """Have it told something, unless it is about to be told everything."""
        if self.anew:
            return
        if len(self._waiting) >= MAX_BEHIND:
            self.start_over()
            return
        self._waiting.append(message)
        self.news.set()

    def take(self, beginning: Callable[[Watcher], list[bytes]]) -> list[bytes]:
        """Return what waits, or what `beginning` makes for somebody who knows nothing; whatever is put meanwhile is in that."""
        self.news.clear()
        if self.anew:
            told = beginning(self)
            self.anew = False
            return told
        told = list(self._waiting)
        self._waiting.clear()
        return told
