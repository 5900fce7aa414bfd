"""What tests of processes ask the system about pids that they know to be of their own making."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.runtime.nursery import Nursery, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.runtime.process import ChildProcess, Hear

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""In which children find the modules of these tests."""


async def spawn(
    module: str, hear: Hear, environment: Mapping[str, str], descriptors: Sequence[int] = ()
) -> ChildProcess:
    """Start ``python -m MODULE 3`` under a guardian of its own, which ends when the child is closed."""
    nursery = Nursery(ENVIRONMENT, lambda _stream, line: print(line.decode()))
    try:
        child = await nursery.start(Program(module), hear, environment, descriptors)
    except BaseException:
        await nursery.close()
        raise
    close = child.close

    async def close_both() -> None:
        await close()
        await nursery.close()

    child.close = close_both  # type: ignore[method-assign]
    return child


def runs(pid: int) -> bool:
    """Tell whether a process exists and is more than an entry that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return Path("/proc/self").exists() is False


async def gone(pid: int) -> None:
    """Return once a process of somebody else's has ended."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
