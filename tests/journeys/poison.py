"""Agents of which one measures how long small tasks take while others kill whoever begins with them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Final

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import TaskFailed

PAUSE: Final = 0.02
"""Seconds between two tasks that are handed out, whatever became of those before."""


class Sip(Task[int]):
    """Answered by the number of the attempt."""


class Poison(Task[int]):
    number: int


class Taste(StreamTask[str]):
    """So many sips, and so many poisons among them: ``100 and 2``. The first chunk is a JSON array of the seconds and the
    attempt of each sip, the others are what was said of the poisons."""

    prompt: str


@agent
class Host:
    workers: Workers

    @task
    async def taste(self, ask: Taste) -> AsyncIterator[str]:
        sips, poisons = map(int, ask.prompt.split(" and "))
        async with asyncio.TaskGroup() as group:
            tasted, died = [], []
            for number in range(sips):
                if number * poisons % sips < poisons:
                    died.append(group.create_task(self._poison(number)))
                tasted.append(group.create_task(self._sip()))
                await asyncio.sleep(PAUSE)
        yield json.dumps([sip.result() for sip in tasted])
        for poison in died:
            yield f"\n{poison.result()}"

    async def _sip(self) -> tuple[float, int]:
        began = asyncio.get_running_loop().time()
        attempt = await self.workers.run(Sip())
        return asyncio.get_running_loop().time() - began, attempt

    async def _poison(self, number: int) -> str:
        try:
            return f"survived attempt {await self.workers.run(Poison(number=number))}"
        except TaskFailed as error:
            return str(error)


@agent
class Guest:
    @task
    async def sip(self, _job: Sip, ctx: Context) -> int:
        await asyncio.sleep(0.005)
        return ctx.attempt

    @task
    async def drink(self, _job: Poison) -> int:
        os._exit(66)
