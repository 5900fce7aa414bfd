"""All that a process has started, directly or not: found and ended, also what has left its session and its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_REAL_TIME: Final = 15
"""Linux's limit on how many microseconds a process of a real-time class may hold a processor without a wait."""
_NEVER: Final = 1 << 62
"""Of such microseconds: 146,000 years."""


def adopt_orphans() -> None:
    """Have descendants whose parent ends become children of this process, not of the system's first.

    Does nothing where there is no such service: only Linux has it.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have the kernel send this process a SIGTERM when `parent`, which has just forked it, dies.

    SIGTERM rather than SIGKILL, because what this process will have started has to go as well. Outlives an `exec`.
    Exits at once when the parent is gone already, which the kernel would not report any more.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


def mark(number: int) -> None:
    """Mark this process, and all that it will ever start, with a number above 0.

    The mark is a limit that nobody reaches, since nothing else is kept by everybody: sessions, parents, environments and
    open files are left behind by those who want to be on their own. Does nothing where it cannot be done.
    """
    unmarked = _unmarked()
    if unmarked is not None:
        try:
            resource.setrlimit(_REAL_TIME, (unmarked - number, unmarked - number))
        except (OSError, ValueError):  # a sandbox that does not know of it
            return


def mark_of(pid: int) -> int | None:
    """Return the number that a process was marked with, below this one; `None` = it was not, or is gone."""
    unmarked = _unmarked()
    if unmarked is None:
        return None
    try:
        number = unmarked - resource.prlimit(pid, _REAL_TIME)[1]
    except (OSError, ValueError):
        return None
    return number if 0 < number < unmarked else None


def _unmarked() -> int | None:
    """Return the limit from which marks are counted down: that of this process, which may have a mark itself."""
    if sys.platform != "linux":
        return None
    hard = resource.getrlimit(_REAL_TIME)[1]
    return _NEVER if hard == resource.RLIM_INFINITY else hard


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def children_of(pid: int) -> set[int]:
    """Return the pids of its children, zombies among them. Empty where the system does not tell."""
    threads = Path(f"/proc/{pid}/task")
    try:
        return {int(child) for thread in threads.iterdir() for child in (thread / "children").read_bytes().split()}
    except OSError:
        return _children_by_parents(pid)


def _children_by_parents(pid: int) -> set[int]:
    """Return the same where the kernel keeps no lists of children."""
    try:
        others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return set()
    return {other for other in others if _parent_of(other) == pid}


def _parent_of(pid: int) -> int | None:
    try:
        # The name, in parentheses, may hold anything; state and parent are the two words after its end.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def descendants_of(pid: int, spared: Container[int] = ()) -> set[int]:
    """Return its children and theirs; those that are `spared` are left out with all that is below them."""
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for each in new for child in children_of(each) if child not in spared} - found
        found |= new
    return found


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def send_to_group(leader: int, number: int) -> None:
    """Send a signal to a process group, if anybody is left in it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # nobody left, or, on macOS, nobody but the dead
        return


def environment_holds(pid: int, item: bytes) -> bool:
    """Tell whether a process was started with this ``NAME=VALUE`` in its environment."""
    try:
        return item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
