"""The adapters of tasks that the suite runs over, each with a clock that the test sets."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from orchestrator.store.memory_tasks import MemoryTasks
from orchestrator.store.opening import MemoryStore
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import Claimed, Failure, Hold, Leased, NewTask, Tasks
from tests.store.nats_stores import opened as nats_store
from tests.store.redis_stores import opened as redis_store
from tests.store.serving import remote


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Setting:
    """One store for one test."""

    tasks: Tasks
    clock: Clock

    async def claim(self, worker: str = "helper.1", *able: str, queue: str = "helper", limit: int = 1) -> Claimed:
        return await self.tasks.claim(queue, worker, able, limit=limit, lease=30)

    async def leased(self, worker: str = "helper.1", *able: str, queue: str = "helper") -> Leased:
        """Return the one task that is due."""
        (leased,) = (await self.claim(worker, *able, queue=queue)).tasks
        return leased

    async def claimed_ids(self, *able: str, limit: int = 100) -> list[str]:
        return [leased.hold.id for leased in (await self.claim("helper.1", *able, limit=limit)).tasks]

    async def stored(self, task_id: str = "t1", **more: Any) -> str:
        """Store a task, and return its id."""
        (stored,) = await self.tasks.enqueue([new(task_id, **more)])
        return stored.id

    async def held(self, task_id: str = "t1", worker: str = "helper.1", **more: Any) -> Hold:
        """Store a task that is claimed at once."""
        await self.stored(task_id, **more)
        return (await self.leased(worker)).hold


def new(task_id: str = "t1", **more: Any) -> NewTask:
    return NewTask(**{"id": task_id, "queue": "helper", "type": "Research", "payload": b"{}", "caller": "boss", **more})


WORDS: Final = ["extend", "complete", "fail", "release", "once"]
"""What a worker may say of a task that it holds."""


async def say(store: Setting, word: str, hold: Hold) -> None:
    if word == "extend":
        await store.tasks.extend(hold, 30)
    elif word == "complete":
        await store.tasks.complete(hold, b"1")
    elif word == "fail":
        await store.tasks.fail(hold, Failure("ValueError", "boom"))
    elif word == "release":
        await store.tasks.release(hold)
    else:
        await store.tasks.once(hold, "charge")


Opened: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Setting]]


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    yield Setting(MemoryTasks(clock, random.Random(1)), clock)


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    async with SqliteStore(folder / "tasks.db", clock=clock, rng=random.Random(1)) as store:
        yield Setting(store.tasks, clock)


@asynccontextmanager
async def remote_memory(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    async with remote(MemoryStore(clock, random.Random(1))) as store:
        yield Setting(store.tasks, clock)


@asynccontextmanager
async def remote_sqlite(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    async with SqliteStore(folder / "tasks.db", clock=clock, rng=random.Random(1)) as behind, remote(behind) as store:
        yield Setting(store.tasks, clock)


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    async with redis_store(clock) as store:
        yield Setting(store.tasks, clock)


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[Setting]:
    clock = Clock()
    async with nats_store(clock) as store:
        yield Setting(store.tasks, clock)


ADAPTERS: Final[dict[str, Opened]] = {
    "memory": memory,
    "sqlite": sqlite,
    "remote memory": remote_memory,
    "remote sqlite": remote_sqlite,
    "redis": redis,
    "nats": nats,
}
