"""The hub on a real loop: its outboxes written once per turn, its deadlines kept by one timer."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from orchestrator.hub.core import Hub

_log: Final = logging.getLogger("orchestrator.hub")


class Driver:
    """After every call into `hub`, call `settle`."""

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = hub
        self.loop = loop
        self.clock = time.monotonic
        self.wall = time.time
        self.flushing = False
        """What is dirty will be written, which settles again."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def settle(self) -> None:
        """See to it that what the hub wants written is written this turn, and that it is called when it wants."""
        if self.flushing:
            return
        if self.hub.turn.dirty or self.hub.turn.owed:
            self.flushing = True
            self.loop.call_soon(self._flush)
            return
        deadline = self.hub.next_deadline
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            self._arm(deadline)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_later(max(0.0, deadline - self.clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.hub.tick(self.clock())
        self.settle()

    def _flush(self) -> None:
        """Write every outbox once; what this leads to is written in the next turn."""
        self.flushing = False
        turn = self.hub.turn
        if turn.owed and self.hub.cluster is not None:
            self.hub.cluster.speak()
        dirty, turn.dirty = turn.dirty, []
        now = self.clock()
        for outbox in dirty:
            outbox.cleaned()
            if outbox.owner is None:
                continue
            try:
                outbox.owner.flush(now)
            except Exception:  # noqa: BLE001  # a fault with one socket ends it, and keeps nothing from the others
                _log.exception("an outbox could not be written")
                outbox.abort()
        self.settle()
