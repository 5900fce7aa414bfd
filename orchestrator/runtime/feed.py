"""What arrives for one reader: kept up to a limit, counted beyond it, and ended with the connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from orchestrator.errors import ConnectionProblem, SubscriberTooSlow

T = TypeVar("T")


class Room(Enum):
    """How a reader stands after another item has come."""

    LEFT = "left"
    FULL = "full"
    """The item took the last place: let the reader have its turn."""
    OVERRUN = "overrun"
    """The item is the first that is missed."""
    NONE = "none"
    """The item is missed, like the one before it."""


class Source(Protocol):
    """Where a feed is filled from. `closed` is called once for each `opened` that did not raise."""

    async def opened(self, feed: Any) -> None: ...
    async def closed(self, feed: Any) -> None: ...


class Feed(Generic[T]):
    """One reader's items, in the order in which they came.

    Read it with ``async with … as feed: async for item in feed``, or with ``async for`` alone, which enters it at the
    first step and leaves it with the loop. It ends (`StopAsyncIteration`) when it is left or its user is closed, also
    for whoever waits in it at that moment; when the connection ends for good, what was kept is still read and then
    the `ConnectionProblem` that ended it is raised. A reader that is too slow gets `SubscriberTooSlow` where items are
    missing; one that has entered its feed may go on, while ``async for`` alone is left by it.
    """

    def __init__(self, source: Source, subject: str, limit: int) -> None:
        """`subject` names the feed in errors; at most `limit` items wait to be read."""
        if limit < 1:
            raise ValueError(f"buffer is a number of items of at least 1, not {limit!r}")
        self._source, self._subject, self._limit = source, subject, limit
        self._kept: deque[T] = deque()
        self._missed = 0
        self._news = asyncio.Event()
        self._entered = self._over = False
        self._failure: ConnectionProblem | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._subject}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{self._subject} was entered before: ask the user for another one")
        self._entered = True
        try:
            await self._source.opened(self)
        except BaseException:
            self.end(None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.clear()
        self._missed = 0
        self.end(None)
        await self._source.closed(self)

    def __aiter__(self) -> AsyncIterator[T]:
        return self if self._entered else self._alone()

    async def __anext__(self) -> T:
        if not self._entered:
            raise RuntimeError(f"{self._subject} is not open: enter it with `async with` before calling anext()")
        while not self._kept:
            if self._missed:
                missed, self._missed = self._missed, 0
                raise SubscriberTooSlow(self._subject, missed, self._limit)
            if self._over:
                if self._failure is None:
                    raise StopAsyncIteration
                raise self._failure.with_traceback(None)
            self._news.clear()
            await self._news.wait()
        return self._kept.popleft()

    async def _alone(self) -> AsyncIterator[T]:
        async with self:
            async for item in self:
                yield item

    # -- what its source says

    def put(self, item: T) -> Room:
        """Keep an item if there is room.

        Once there was no room nothing is kept until the reader has come to that place: it meets one hole, not many.
        """
        if self._over:
            return Room.LEFT
        if self._missed or len(self._kept) >= self._limit:
            self._missed += 1
            return Room.OVERRUN if self._missed == 1 else Room.NONE
        self._kept.append(item)
        self._news.set()
        return Room.LEFT if len(self._kept) < self._limit else Room.FULL

    def end(self, failure: ConnectionProblem | None) -> None:
        """Let nothing more in; the reader ends after what is kept, with `failure` if there is one."""
        if not self._over:
            self._over, self._failure = True, failure
            self._news.set()


class Listeners(Generic[T]):
    """Feeds that are all told the same."""

    def __init__(self, check: Callable[[], None]) -> None:
        """`check` raises where nothing can be listened to any more."""
        self._check = check
        self._feeds: dict[Feed[T], None] = {}

    async def opened(self, feed: Feed[T]) -> None:
        self._check()
        self._feeds[feed] = None

    async def closed(self, feed: Feed[T]) -> None:
        self._feeds.pop(feed, None)

    def __len__(self) -> int:
        return len(self._feeds)

    def tell(self, item: T) -> bool:
        """Give an item to every feed; tell whether one of them is full now, and its reader is to have a turn."""
        return Room.FULL in [feed.put(item) for feed in self._feeds]

    def end(self, failure: ConnectionProblem | None) -> None:
        for feed in self._feeds:
            feed.end(failure)
