"""A store in memory that does what it is asked for, but keeps the answers back until the test lets them go."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from orchestrator.store.clock import steady_time
from orchestrator.store.memory_tasks import MemoryTasks
from orchestrator.store.opening import MemoryStore


class Gate:
    def __init__(self) -> None:
        self.reached = 0
        """Requests that came to it."""
        self._open = asyncio.Event()
        self._come = asyncio.Condition()

    async def passed(self) -> None:
        self.reached += 1
        async with self._come:
            self._come.notify_all()
        await self._open.wait()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10), self._come:
            await self._come.wait_for(lambda: self.reached >= count)

    def open(self) -> None:
        self._open.set()


class GatedTasks(MemoryTasks):
    def __init__(self, gate: Gate, *methods: str) -> None:
        super().__init__(steady_time(), random.Random(1))
        for name in methods:
            setattr(self, name, self._behind(gate, getattr(self, name)))

    def _behind(self, gate: Gate, method: Any) -> Any:
        async def late(*args: Any, **more: Any) -> Any:
            answer = await method(*args, **more)
            await gate.passed()
            return answer

        return late


class GatedStore(MemoryStore):
    def __init__(self, gate: Gate, *methods: str) -> None:
        super().__init__(steady_time(), random.Random(1))
        self.tasks = GatedTasks(gate, *methods)
