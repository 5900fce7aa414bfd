"""How many files and sockets the hub may have open, and whether there is room for one more."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Final

MANY: Final = 65_536
"""What is enough where the system sets no limit."""
RESERVED: Final = 8
"""That connections leave free: for the key file when it changes, say."""


def allow_many() -> None:
    """Have this process be allowed as many as the system lets it: only for one that starts no program of somebody else's."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS has another limit beyond that one
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY if hard == resource.RLIM_INFINITY else hard, hard))


def most() -> int:
    """Return the number from which on a descriptor is one of the last: systems give out the lowest that is free."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (MANY if soft == resource.RLIM_INFINITY else soft) - RESERVED


def is_room(descriptor: int) -> bool:
    """Tell whether the next descriptor is none of the last; `descriptor` is any that is open."""
    try:
        lowest_free = os.dup(descriptor)
    except OSError:
        return False
    os.close(lowest_free)
    return lowest_free < most()
