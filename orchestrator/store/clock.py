"""The time that a store counts leases in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def steady_time() -> Callable[[], float]:
    """Return a clock of Unix seconds that starts right and then takes no part in what is done to the system's clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset
