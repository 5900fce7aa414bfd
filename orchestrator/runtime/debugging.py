"""A debugger in a process whose output is taken down line by line: it speaks to the terminal itself."""

from __future__ import annotations

import os
import pdb  # noqa: T100 - what `breakpoint()` opens in a handler
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_DEBUGGERS: Final = frozenset({"bdb", "cmd", "pdb"})


def debugs(frame: FrameType) -> bool:
    """Tell whether what is written by `frame` is said by a debugger, or by code that is stepped through in one."""
    return sys.gettrace() is not None or frame.f_globals.get("__name__") in _DEBUGGERS


def is_stopped(frame: FrameType | None) -> bool:
    """Tell whether a stack ends in a debugger that waits for its user."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name in ("bdb", "pdb") or "pydevd" in name:
            return True
        frame = frame.f_back
    return False


@contextmanager
def at_terminal(settle: Callable[[], object]) -> Iterator[None]:
    """While entered, `breakpoint()` opens pdb on the terminal, whatever becomes of what others print.

    `settle` is called before, to have shown what was said until then. A debugger that PYTHONBREAKPOINT names is opened
    as ever.
    """
    out, err, hook = sys.stdout, sys.stderr, sys.breakpointhook

    def stop(*args: Any, **options: Any) -> Any:
        settle()
        if os.environ.get("PYTHONBREAKPOINT") or hook is not sys.__breakpointhook__:
            return hook(*args, **options)
        terminal = next((file for file in (out, err) if file.isatty()), out)
        # Ctrl-C stays the run's: pdb would keep it for itself from its first `continue` on.
        debugger = pdb.Pdb(stdin=sys.stdin, stdout=terminal, nosigint=True)
        debugger.use_rawinput = terminal is out and out.isatty()  # which lets the line be edited
        debugger.set_trace(sys._getframe(1))
        return None

    sys.breakpointhook = stop
    try:
        yield
    finally:
        sys.breakpointhook = hook
