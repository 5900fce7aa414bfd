"""Agents that enter numbers into a sink, each once, whoever is killed meanwhile; what the store took is noted in a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator import Context, Task, Workers, agent, every, task
from orchestrator.errors import OrchestratorError, StoreUnavailable
from tests.journeys.sink import Till

AT_ONCE: Final = 400
"""Numbers whose ends the chief waits for at the same time."""
NOTES, COUNT, GATE = "LEDGER_NOTES", "LEDGER_COUNT", "LEDGER_GATE"
"""The variables that say where the chief writes, up to which number it counts, and what each entry waits for."""


class Entry(Task[str]):
    number: int
    gate: str = ""
    """Where to wait between the effect and the end."""


@dataclass
class Notes:
    """What the chief was told, of each number: it outlives the chief, and only one chief at a time writes to it."""

    stored: dict[int, str] = field(default_factory=dict)
    """The ids of tasks that the store has acknowledged."""
    done: dict[int, str] = field(default_factory=dict)
    """Replies."""
    other: list[str] = field(default_factory=list)
    """Whatever must not be."""
    _descriptor: int = -1

    @classmethod
    def read(cls, file: Path) -> Notes:
        notes = cls()
        for line in file.read_text().splitlines() if file.exists() else []:
            notes._take(*line.split(" ", 2))
        return notes

    @classmethod
    @contextmanager
    def writing(cls, file: Path) -> Iterator[Notes]:
        notes = cls.read(file)
        notes._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            yield notes
        finally:
            os.close(notes._descriptor)

    def say(self, what: str, number: int, more: str) -> None:
        """Add a line in one write, which a SIGKILL cannot divide."""
        os.write(self._descriptor, f"{what} {number} {more}\n".encode())
        self._take(what, str(number), more)

    def _take(self, what: str, number: str, more: str) -> None:
        known = {"stored": self.stored, "done": self.done}.get(what)
        if known is None or known.setdefault(int(number), more) != more:
            self.other.append(f"{what} {number} {more}")


@agent
class Chief:
    workers: Workers
    over: bool = field(default=False, init=False)

    @every("50ms")
    async def hand_out(self, ctx: Context) -> None:
        """Go on where the process before this one was killed."""
        if self.over:
            return
        with Notes.writing(Path(os.environ[NOTES])) as notes:
            numbers = iter([number for number in range(int(os.environ[COUNT])) if number not in notes.done])
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._lane(numbers, notes))
        self.over = True
        ctx.log.info("all is entered")

    async def _lane(self, numbers: Iterable[int], notes: Notes) -> None:
        for number in numbers:
            try:
                await self._enter(number, notes)
            except OrchestratorError as error:
                notes.say("failed", number, f"{type(error).__name__}: {error}")

    async def _enter(self, number: int, notes: Notes) -> None:
        """Have a number entered, however often the store gives no answer."""
        while number not in notes.done:
            with suppress(StoreUnavailable):
                if number in notes.stored:
                    handle = self.workers.attach(notes.stored[number], Entry)
                else:
                    entry = Entry(number=number, gate=os.environ.get(GATE, ""))
                    handle = await self.workers.submit(entry, idempotency_key=str(number))
                    notes.say("stored", number, handle.id)
                notes.say("done", number, await handle.result())


@agent
class Clerk:
    till: Till = field(init=False)

    async def setup(self) -> None:
        self.till = await Till.reached()
        await self.till.pass_gate("door")

    async def teardown(self) -> None:
        self.till.close()

    @task
    async def enter(self, job: Entry, ctx: Context) -> str:
        once = await ctx.once(f"entry {job.number}")
        await self.till.book(f"entry {job.number}", once.task_id, once.fence)
        if job.gate:
            await self.till.pass_gate(job.gate, job.number, ctx.attempt)
        return f"{job.number} is entered"
