"""How a measurement is run."""

from __future__ import annotations

import asyncio
import signal
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
