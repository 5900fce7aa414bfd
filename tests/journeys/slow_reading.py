"""An agent that produces as fast as it may, and says how far it has come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator import StreamTask, Task, agent, task


class Pour(StreamTask[str]):
    """Endless tokens, each beginning with its number."""

    size: int


class Poured(Task[int]):
    """How many tokens there have been so far."""


@agent
class Pourer:
    count: int = 0

    @task
    async def pour(self, asked: Pour) -> AsyncIterator[str]:
        while True:
            self.count += 1
            yield f"{self.count - 1} ".ljust(asked.size, ".")

    @task(idempotent=True)
    async def poured(self, asked: Poured) -> int:
        return self.count
