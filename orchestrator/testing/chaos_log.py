"""What a proxy saw and did, as a bounded list of facts to look at and to wait for."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.testing.faults import Direction

What: TypeAlias = Literal[
    "accepted", "connected", "unreachable", "passed", "frame", "dropped", "delayed", "duplicated", "cut off",
    "unreadable", "eof", "closed", "reset", "added", "removed", "refusing", "accepting", "accepting to close",
    "partitioned", "healed",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProxyEvent:
    """One thing that happened. It holds no bytes of what passed, and so no credential."""

    number: int
    """From 1, in the order of happening."""
    time: float
    """On the event loop's clock."""
    what: What
    connection: int = 0
    """Counted from 1 in the order of accepting; 0 = no single one."""
    direction: Direction | None = None
    size: int = 0
    """Bytes that were passed on, or of the whole frame."""
    opcode: str | None = None
    """Of a frame."""
    type: str | None = None
    """Of a text frame that is a JSON object; at most 64 characters of it."""
    detail: str = ""
    """Why, in words."""


class ProxyLog:
    """Keeps the latest `size` events, and tells each one to whoever waits for it."""

    def __init__(self, size: int, now: Callable[[], float]) -> None:
        self.events: deque[ProxyEvent] = deque(maxlen=size)
        self._now = now
        self._count = 0
        self._closed = False
        self._waiting: dict[asyncio.Future[ProxyEvent], Callable[[ProxyEvent], bool]] = {}

    def note(
        self,
        what: What,
        connection: int = 0,
        direction: Direction | None = None,
        size: int = 0,
        *,
        opcode: str | None = None,
        frame_type: str | None = None,
        detail: str = "",
    ) -> None:
        self._count += 1
        event = ProxyEvent(self._count, self._now(), what, connection, direction, size, opcode, frame_type, detail)
        self.events.append(event)
        for future, wanted in list(self._waiting.items()):
            if future.done():
                continue
            try:
                if wanted(event):
                    future.set_result(event)
            except Exception as error:  # noqa: BLE001  # the caller's own question failed: it is theirs to see
                future.set_exception(error)

    async def seen(self, wanted: Callable[[ProxyEvent], bool], after: ProxyEvent | None) -> ProxyEvent:
        """Return the first kept event since `after` for which `wanted` is true, or wait for it."""
        since = 0 if after is None else after.number
        for event in self.events:
            if event.number > since and wanted(event):
                return event
        return await self._next(wanted)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return once `fact` is true; it is looked at whenever anything happens."""
        if not fact():
            await self._next(lambda _event: fact())

    async def _next(self, wanted: Callable[[ProxyEvent], bool]) -> ProxyEvent:
        if self._closed:
            raise RuntimeError("the proxy is closed: nothing more will happen to wait for")
        future: asyncio.Future[ProxyEvent] = asyncio.get_running_loop().create_future()
        self._waiting[future] = wanted
        try:
            return await future
        finally:
            del self._waiting[future]

    def close(self) -> None:
        """Fail everybody who still waits, with `RuntimeError`."""
        self._closed = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(RuntimeError("the proxy was closed before that happened"))
