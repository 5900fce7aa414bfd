"""What a topology says about coming back: of processes that end, and of connections that break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a process that ended is started again, and when it is given up. Times are in seconds."""

    condition: Literal["always", "on-failure", "never"] = "on-failure"
    first_delay: float = 0.25
    """Before the first restart after a quiet time: a single crash should not be felt for long."""
    delay: float = 1.0
    """Before the second restart; it doubles with each further one."""
    max_delay: float = 60.0
    max_attempts: int | None = 5
    """Restarts within `window` after which the process has failed for good; `None` = never."""
    window: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectRule:
    """How stubbornly an agent returns to its hub."""

    max_attempts: int | None = None
    """Attempts without success after which it gives up; `None` = never."""
    max_delay: float = 60.0
    """Seconds between two attempts at most."""
