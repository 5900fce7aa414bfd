"""How much memory this process may have: that of the machine, or less where somebody has set a limit."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUPS: Final = Path("/sys/fs/cgroup")
_UNLIMITED: Final = 1 << 60
"""What the first version of control groups shows where there is no limit is a number beyond this."""


def available_memory() -> int | None:
    """Return the bytes that this process may have; `None` where the system does not say."""
    limits = [limit for limit in (_of_machine(), _of_process(), *_of_groups()) if limit is not None]
    return min(limits, default=None)


def _of_machine() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no such call, and others no such names
        return None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _of_groups() -> Iterator[int | None]:
    try:
        membership = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return
    for file in group_files(membership, _CGROUPS):
        try:
            yield limit_of(file.read_text(encoding="ascii"))
        except OSError:
            continue


def group_files(membership: str, root: Path) -> Iterator[Path]:
    """Name the files that hold the memory limits of a process: of its control groups, and of all those around them.

    `membership` is what /proc/PID/cgroup says.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for one in (group, *group.parents):
            yield folder / str(one).lstrip("/") / name


def limit_of(text: str) -> int | None:
    """Return the limit in such a file; `None` = there is none."""
    shown = text.strip()
    if not shown.isdigit() or int(shown) >= _UNLIMITED:
        return None
    return int(shown)
