"""A task that a user hands out by its name, and whose payload and answer are JSON."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.patterns.jobs import Order
    from orchestrator.runtime.dispatching import Desk


class Handed:
    """One such task, which begins with `chunks` or `taken`; one of the two is called, once."""

    def __init__(self, desk: Desk, order: Order, others: dict[str, Handed]) -> None:
        """`others`: all that one user has under way, among which this is until it ends."""
        self.id = order.id
        self._desk, self._order, self._others = desk, order, others
        self._taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def chunks(self) -> AsyncIterator[Any]:
        """Yield the chunks of the answer, or its reply as the only one; leaving cancels the task.

        Raises the `DispatchError` that it ends with.
        """
        try:
            async with aclosing(self._desk.stream(self._order)) as chunks:
                async for chunk in chunks:
                    yield msgspec.json.decode(chunk)
        finally:
            self._others.pop(self.id, None)

    async def taken(self) -> str:
        """Return who has taken the task, as soon as somebody has; nobody waits for what comes of it.

        A worker goes on with it for half a minute, and to its end if it is done by then. Raises the `DispatchError` of a
        task that nobody takes, or that fails at once.
        """
        over = self._desk.submit(self._order)
        try:
            either: set[asyncio.Future[Any]] = {self._taken, over}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                over.result()
            return await self._taken
        except asyncio.CancelledError:
            self._desk.cancel(self.id)
            raise
        finally:
            self._others.pop(self.id, None)
            self._desk.forget(self.id)

    def taken_by(self, peer: str) -> None:
        if not self._taken.done():
            self._taken.set_result(peer)
