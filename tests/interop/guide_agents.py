"""Our agents in the topologies of the guide's programs: they dispatch to them, work for them and stream to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from orchestrator import Context, StreamTask, Task, Workers, agent, task
from orchestrator.errors import DispatchError


class Summary(BaseModel):
    by: str
    text: str


class Draft(Task[Summary]):
    """Done by programs."""

    prompt: str


class Errand(Task[Summary]):
    """Done by a program that somebody else starts."""

    prompt: str


class Gamble(Task[Summary]):
    """Done by a program that is not started again."""

    prompt: str


class Summarize(Task[Summary]):
    """Done by programs and by `Clerk`."""

    prompt: str


class Edit(StreamTask[str]):
    """A task type, the seconds that each task may take, and behind a space their prompts, a line each."""

    prompt: str


class Tell(StreamTask[str]):
    """How many chunks to tell."""

    prompt: str


KINDS: dict[str, type[Draft | Errand | Gamble | Summarize]] = {
    kind.__name__: kind for kind in (Draft, Errand, Gamble, Summarize)
}


@agent
class Editor:
    workers: Workers

    @task
    async def edit(self, ask: Edit) -> AsyncIterator[str]:
        kind, seconds, prompts = ask.prompt.split(" ", 2)
        tasks = [KINDS[kind](prompt=prompt) for prompt in prompts.split("\n")]
        try:
            async for summary in self.workers.map(tasks, timeout=float(seconds)):
                yield f"{summary.by}: {summary.text}\n"
        except DispatchError as error:
            yield f"{type(error).__name__}: {error}\n"


@agent
class Clerk:
    @task
    async def summarize(self, job: Summarize, ctx: Context) -> Summary:
        """Do what `working.mjs` does."""
        ctx.log.info("summarizing", prompt=job.prompt)
        verb, _, rest = job.prompt.partition(" ")
        if verb == "fail":
            raise RuntimeError(f"cannot do {rest}")
        if verb != "hold":
            return Summary(by="clerk", text=job.prompt.upper())
        taken = Path(f"{rest}.taken")
        try:
            await asyncio.to_thread(Path(rest).rename, taken)
        except FileNotFoundError:
            return Summary(by="clerk", text="at once")  # somebody else was first, and holds it
        ctx.log.info(f"holding {os.getpid()}")
        await asyncio.to_thread(taken.read_bytes)
        return Summary(by="clerk", text="held")


@agent
class Teller:
    @task
    async def tell(self, ask: Tell) -> AsyncIterator[str]:
        for number in range(int(ask.prompt)):
            yield f"{number} "
