"""How many tests run at once where `-n auto` leaves it to the machine."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: a third of the time of these tests is waiting for processes and timers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores, cores * 3 // 2)
