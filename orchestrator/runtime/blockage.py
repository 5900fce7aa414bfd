"""Notices from another thread that the event loop of this process does not go round any more, and says where it stands."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

from orchestrator.runtime.debugging import is_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

BEATS: Final = 4
"""Signs of life within the time that the loop may be blocked."""
LONGEST_BEAT: Final = 5.0
MAX_FRAMES: Final = 20
"""Of the place where the loop stands, how many frames are told: the innermost."""


class BlockageWatch:
    """Calls `report`, in a thread, once for each time that the loop is blocked too long; one that a debugger has stopped
    is not blocked. Starts when it is first given a patience."""

    def __init__(
        self,
        patience_of: Callable[[asyncio.Task[object] | None], float | None],
        report: Callable[[asyncio.Task[object] | None, float, str], None],
    ) -> None:
        """`patience_of` says how many seconds a task may block the loop that runs now; `report` is given the task that
        does, if it is one, the seconds so far, and the stack."""
        self._loop, self._home = asyncio.get_running_loop(), threading.get_ident()
        self._patience_of, self._report = patience_of, report
        self._due = time.monotonic()
        """When the loop is to give the next sign of life."""
        self._interval = LONGEST_BEAT
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, patience: float | None) -> None:
        """Look often enough to notice a blockage of so many seconds; `None` = of any length."""
        if patience is None:
            return
        self._interval = min(self._interval, patience / BEATS)
        self._beat()
        self._woken.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="blockage", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over = True
        self._woken.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = time.monotonic() + self._interval
        self._timer = self._loop.call_later(self._interval, self._beat)

    def _look(self) -> None:
        reported = 0.0
        while not self._over:
            self._woken.wait(self._interval)
            self._woken.clear()
            due = self._due
            late = time.monotonic() - due
            if late <= 0 or due == reported:
                continue
            frame = sys._current_frames().get(self._home)
            if is_stopped(frame):
                continue
            task = asyncio.current_task(self._loop)
            patience = self._patience_of(task)
            if patience is not None and late >= patience and self._due == due:
                reported = due
                self._report(task, late, "".join(traceback.format_stack(frame, MAX_FRAMES)))
