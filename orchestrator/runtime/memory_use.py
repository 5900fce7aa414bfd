"""What the processes of a run take of their machine, as far as the system tells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROC: Final = Path("/proc")


class Use(NamedTuple):
    """What a process takes; zeros where that is not known."""

    memory: int = 0
    """Bytes that are resident."""
    cpu: float = 0.0
    """Seconds of processor time since it began."""


def memory_of(pid: int) -> int:
    """Return the bytes of a process that are resident; 0 = it is gone, or the system does not tell."""
    try:
        pages = (_PROC / str(pid) / "statm").read_bytes().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cpu_of(pid: int) -> float:
    """Return the seconds of processor time that a process has taken; 0 = it is gone, or the system does not tell."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def uses(pids: Iterable[int]) -> dict[int, Use]:
    return {pid: Use(memory_of(pid), cpu_of(pid)) for pid in dict.fromkeys(pids)}
