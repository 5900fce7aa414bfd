"""How a measurement is run."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.hub.serve import run_fast

if TYPE_CHECKING:
    from collections.abc import Coroutine


def run(main: Coroutine[Any, Any, None], *, fast: bool = True) -> None:
    """Run `main`, on the fastest loop or, where a client of ours is in it, on the one that agents have.

    A SIGTERM ends it like Ctrl-C, so that the processes it started are stopped.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (run_fast if fast else asyncio.run)(main)


def cpu_seconds(pid: int) -> float | None:
    """Return the processor time that a process has taken; `None` where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
