"""What `ps` and `top` call a process that was forked, and would else be known by its parent's command line."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Final

_PR_SET_NAME: Final = 15
_MAX_NAME: Final = 15
_ARGUMENTS: Final = slice(47, 49)
"""Where `/proc/self/stat` says from where to where the command line lies in memory (fields 48 and 49)."""


def entitle(title: str) -> None:
    """Have lists of processes show `title`. Does nothing where that cannot be done: it is for people's eyes only."""
    if sys.platform != "linux" or not title:
        return
    text = title.encode()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, text[:_MAX_NAME], 0, 0, 0)
    try:
        words = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = (int(word) for word in ([b"", b"", *words])[_ARGUMENTS])
    except (OSError, ValueError, IndexError):
        return
    if 0 < start < end:
        shown = b"orchestrator: " + text
        size = end - start
        ctypes.memmove(start, shown[: size - 1].ljust(size, b"\0"), size)
