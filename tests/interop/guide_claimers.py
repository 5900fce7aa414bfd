"""Our members of a team in which a program claims by messages alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestrator import StreamTask, Team, agent, task


class Claim(StreamTask[str]):
    """Seconds for which what is won is held, and behind a space items, all claimed at once."""

    prompt: str


class Try(StreamTask[str]):
    """The same for the program, which knows no seconds."""

    prompt: str


@agent
class Member:
    desk: Team

    @task
    async def claim(self, ask: Claim) -> AsyncIterator[str]:
        """Answer with what was won, and after the time that it is held with an empty line."""
        seconds, *items = ask.prompt.split()
        won: asyncio.Queue[str | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as claiming:
            for item in items:
                claiming.create_task(self._hold(item, float(seconds), won))
            verdicts = [await won.get() for _ in items]
            yield " ".join(item for item in verdicts if item is not None) + "\n"

    async def _hold(self, item: str, seconds: float, won: asyncio.Queue[str | None]) -> None:
        async with self.desk.claim(item) as claim:
            won.put_nowait(None if claim is None else item)
            if claim is not None:
                await asyncio.sleep(seconds)
