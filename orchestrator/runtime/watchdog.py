"""Notices an event loop in another process that does not go round any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND_LOOK: Final = 0.5
"""Seconds between the end of the patience and the verdict: if it was our own loop that was held up, what the other has
said meanwhile is read first."""
LAST_WORDS: Final = 2.0
"""Seconds that a blocked process has to say where it stands."""


class Watchdog:
    """Expects `beat` at least every `patience` seconds; else calls `blocked`, and later `kill`, once each."""

    def __init__(self, patience: float, blocked: Callable[[], None], kill: Callable[[], None]) -> None:
        self._patience, self._blocked, self._kill = patience, blocked, kill
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def beat(self) -> None:
        if not self._over:
            self._later(self._patience, self._look_again)

    def stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)

    def _look_again(self) -> None:
        self._later(SECOND_LOOK, self._bite)

    def _bite(self) -> None:
        self._over = True
        self._blocked()
        self._later(LAST_WORDS, self._kill)
