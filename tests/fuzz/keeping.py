"""Which inputs are worth keeping: those that take a way through the package that none of the kept ones takes."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import orchestrator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

_PACKAGE = orchestrator.__file__.removesuffix("__init__.py")
Step = tuple[str, int, int]
"""A file, a line, and the line that was run after it."""


def keep(target: Callable[[bytes], None], kept: Path, found: Path) -> int:
    """Copy what is new in `found` to `kept`, small inputs first; return how many there were."""
    known: set[Step] = set()
    for path in sorted(kept.iterdir()):
        known |= steps(target, path.read_bytes())
    count = 0
    for path in sorted(found.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        taken = steps(target, data)
        if not taken <= known:
            known |= taken
            (kept / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            count += 1
    return count


def steps(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return every pair of successive lines of the package that `target` runs on `data`."""
    taken: set[Step] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE):
            return None
        if event == "line":
            taken.add((file, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return taken
