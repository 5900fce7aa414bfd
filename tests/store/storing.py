"""A program that stores, claims and completes tasks until it is killed, and tells of each only what was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from orchestrator.store.sqlite import SqliteStore
from tests.store.task_stores import new


async def caller(store: SqliteStore, name: str) -> None:
    number = 0
    while True:
        task = new(f"{name}.{number}", payload=name.encode() * 50)
        await store.tasks.enqueue([task])
        print("stored", task.id, flush=True)
        for leased in (await store.tasks.claim("helper", name)).tasks:
            await store.tasks.complete(leased.hold, leased.hold.id.encode())
            print("done", leased.hold.id, flush=True)
        number += 1


async def main() -> None:
    async with SqliteStore(Path(sys.argv[1]), log_pages=50) as store, asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(caller(store, f"{sys.argv[2]}.{number}"))


if __name__ == "__main__":
    asyncio.run(main())
