"""Messages of one sender: so many under way at a time, and each waited for by everybody who gets it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.budget import Budget


class Flow:
    """Sends whenever fewer than `window` messages are under way: not acked yet, or not delivered `copies` times.

    `cast` returns the frames of `count` messages from number `first` on. A budget that is used up makes it wait.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        cast: Callable[[int, int], bytes],
        *,
        window: int,
        copies: int,
        budget: Budget,
    ) -> None:
        self._write, self._cast, self._window, self._copies = write, cast, window, copies
        self._budget = None if budget.unlimited else budget
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self.sent = self.acked = self.delivered = 0
        self._ending = False
        self.done: asyncio.Future[None] = self._loop.create_future()
        """When it has been told to end, and everything that was sent has arrived."""

    def on_acks(self, count: int, _frames: bytes) -> None:
        self.acked += count
        self.pump()

    def on_delivered(self, count: int, _frames: bytes) -> None:
        before = self.delivered
        self.delivered = before + count
        if self.delivered // self._copies != before // self._copies:
            self.pump()

    def pump(self) -> None:
        """Send as much as may be under way."""
        if self._ending:
            self._notice_end()
            return
        room = self._window - self.sent + min(self.acked, self.delivered // self._copies)
        if self._budget is not None:
            room = self._afforded(self._budget, room)
        if room > 0:
            first = self.sent
            self.sent = first + room
            self._write(self._cast(first, room))

    def end(self) -> None:
        """Send nothing more."""
        self._ending = True
        if self._later is not None:
            self._later.cancel()
        self._notice_end()

    @property
    def lost(self) -> int:
        """Deliveries that have not come."""
        return self.sent * self._copies - self.delivered

    def _notice_end(self) -> None:
        if not self.lost and self.acked == self.sent and not self.done.done():
            self.done.set_result(None)

    def _afforded(self, budget: Budget, room: int) -> int:
        now, afforded = time.monotonic(), 0
        while afforded < room and not (wait := budget.wait(now)):
            budget.spend(now)
            afforded += 1
        if afforded < room and self._later is None:
            self._later = self._loop.call_later(wait, self._go_on)
        return afforded

    def _go_on(self) -> None:
        self._later = None
        self.pump()
