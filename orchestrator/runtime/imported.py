"""Which files of a handler's own project a process has imported, and which of them have changed since."""

from __future__ import annotations

import importlib
import linecache
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.runtime.importing import is_users

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ours = 0
_times: dict[str, int] = {}
"""When files were changed that agents of this process have imported, in nanoseconds."""


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


def remember(files: Mapping[str, int]) -> None:
    """Take down when files were changed, for the next `forget_changed`; what is known of one already stays."""
    for file, changed in files.items():
        _times.setdefault(file, changed)


def forget_changed(roots: Iterable[Path]) -> None:
    """Have the next import run the files of all modules in `roots` again, if one of them is no more as it was.

    Whoever has such a module goes on with the one that it has.
    """
    below = tuple(roots)
    known = {file: changed for file, changed in _times.items() if is_users(file, below)}
    if all(_changed(file) == changed for file, changed in known.items()):
        return
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in known and name.partition(".")[0] not in ("__main__", "orchestrator"):
            del sys.modules[name]
    for file in known:
        del _times[file]
    importlib.invalidate_caches()
    linecache.checkcache()


def _changed(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return None
