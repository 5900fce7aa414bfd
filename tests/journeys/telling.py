"""An agent that tells numbers, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestrator import StreamTask, agent, task


class Tell(StreamTask[int]):
    count: int


@agent
class Teller:
    @task
    async def tell(self, wish: Tell) -> AsyncIterator[int]:
        for number in range(wish.count):
            yield number
            await asyncio.sleep(0.02)
