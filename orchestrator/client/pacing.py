"""Requests wait for their turn where the connection's message budget is used up, in the order in which they were made."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.budget import Budget


class Pacing:
    """The callers whose requests are still to be written. Each waits for itself, so their number bounds the queue."""

    def __init__(self, budget: Callable[[], Budget | None]) -> None:
        """`budget` is that of the connection there is; `None` = there is none."""
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._woken = 0
        """Callers that have their turn, and have not run since: nobody gets ahead of them."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def short(self) -> bool:
        budget = self._budget()
        if budget is None or budget.unlimited:
            return bool(self._waiting)
        return bool(self._waiting) or budget.short(self._loop.time())

    def taken(self) -> bool:
        """Take a frame from the budget, if nobody waits for one; without a connection there is nothing to wait for."""
        budget = self._budget()
        if budget is None or budget.unlimited:
            return True
        if self._waiting or self._woken or budget.wait(self._loop.time()):
            return False
        budget.spend(self._loop.time())
        return True

    async def turn(self) -> None:
        """Take a frame from the budget, or wait for one."""
        if self.taken():
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._arm()
        try:
            await turn
        finally:
            if turn.done() and not turn.cancelled():
                self._woken -= 1
            elif turn in self._waiting:
                self._waiting.remove(turn)
            self._arm()

    def released(self) -> None:
        """Let everybody go on: the connection has ended, or another one has begun."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake(len(self._waiting))

    def _arm(self) -> None:
        budget = self._budget()
        if self._waiting and self._timer is None and budget is not None:
            self._timer = self._loop.call_later(budget.wait(self._loop.time()), self._due)

    def _due(self) -> None:
        self._timer = None
        budget = self._budget()
        if budget is None:
            return
        now = self._loop.time()
        while self._waiting and not budget.wait(now):
            budget.spend(now)
            self._wake(1)
        self._arm()

    def _wake(self, count: int) -> None:
        for _ in range(count):
            turn = self._waiting.popleft()
            if not turn.done():
                self._woken += 1
                turn.set_result(None)
