"""A measurement under way: for how long, what it counted, and what it cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a measurement."""

    seconds: float
    operations: int
    generator_cpu: float
    server_cpu: float | None
    """Seconds of the processor; `None` where nobody looked."""

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0


class LoadRun:
    """Ends early when it is told to, or when a connection is lost. `server_cpu` returns the processor time so far."""

    def __init__(self, server_cpu: Callable[[], float | None] = lambda: None) -> None:
        self.server_cpu = server_cpu
        self.problem: ConnectionProblem | None = None
        """Why it cannot go on."""
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def stopped(self) -> bool:
        return self._over.done()

    def stop(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def lost(self, why: str) -> None:
        if not self._over.done():
            self.problem = ConnectionProblem(why)
            self._over.set_exception(self.problem)
            self._over.exception()  # whoever waits raises it, and nobody has to wait

    async def last(self, seconds: float) -> None:
        """Wait for so long, or until the run is stopped. Raises `ConnectionProblem` when a connection was lost."""
        await asyncio.wait([self._over], timeout=seconds)
        if self._over.done():
            self._over.result()

    async def measured(
        self, warm: float, seconds: float, count: Callable[[], int], begin: Callable[[], None] = lambda: None
    ) -> Span:
        """Count for so many seconds, after `warm` of them; `begin` is called in between."""
        await self.last(warm)
        begin()
        counted, own, server, at = count(), time.process_time(), self.server_cpu(), time.perf_counter()
        await self.last(seconds)
        elapsed, counted = time.perf_counter() - at, count() - counted
        own, after = time.process_time() - own, self.server_cpu()
        return Span(elapsed, counted, own, None if server is None or after is None else after - server)
