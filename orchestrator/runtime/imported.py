"""Which files of a handler's own project a process has imported."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.runtime.importing import is_users

if TYPE_CHECKING:
    from collections.abc import Iterable

_ours = 0


def pass_over_loaded() -> None:
    """Count all modules that are loaded by now as ours."""
    global _ours
    _ours = len(sys.modules)


def imported_files(roots: Iterable[Path]) -> dict[str, int]:
    """Return the source files of all modules that lie in one of `roots`, with their times of change in nanoseconds."""
    found: dict[str, int] = {}
    below = tuple(roots)
    # The newest first, and none of those that were loaded before a fork: a look at each would copy the memory it is in.
    for name in islice(reversed(sys.modules), len(sys.modules) - _ours):
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_users(file, below):
            try:
                found[file] = Path(file).stat().st_mtime_ns
            except OSError:
                continue
    return found
