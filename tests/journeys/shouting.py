"""A coordinator whose worker is a program of its own: it puts one task for each word of a question."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator import StreamTask, Task, Workers, agent, task
from orchestrator.errors import DispatchError


class Shout(Task[str]):
    text: str


class Say(StreamTask[str]):
    prompt: str


@agent
class Speaker:
    workers: Workers

    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        for word in ask.prompt.split():
            try:
                yield f"{await self.workers.run(Shout(text=word))} "
            except DispatchError as error:
                yield f"{type(error).__name__}: {error} "
